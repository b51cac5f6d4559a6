"""Build checks that need nothing but the parsed file; names and wording are BuildKit's (docs.docker.com/build-checks).

Checks that need values (undefined variables, base images, ignored files) belong to the solver, which has them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from builder.dockerfile import lint_extra
from builder.dockerfile.lint_base import Check, Finding, LintWarning, Stage, finding, named, names_of, stages
from builder.dockerfile.parser import Dockerfile, Instruction, parse_trigger
from builder.dockerfile.suggest import did_you_mean
from builder.dockerfile.words import is_legacy_form, split_words
from builder.errors import DockerfileError, Span
from cache.values import dataclass, replace

RESERVED_STAGE_NAMES = ("context", "scratch")
EXPERIMENTAL = ("InvalidDefinitionDescription",)  # off until `# check=experimental=` names them
ONCE_PER_STAGE = ("CMD", "ENTRYPOINT", "HEALTHCHECK")
TARGET_PLATFORM = re.compile(r"\$(TARGETPLATFORM|\{TARGETPLATFORM\})")
SECRET = re.compile(r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE)
NOT_SECRET = re.compile(r"(?:^|_)(?:public|file|version)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What `# check=` asks for. `skip` and `experimental` name rules, or all of them by "all"."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> CheckOptions:
        """Read `skip=A,B;error=true;experimental=C`; raises DockerfileError without a span."""
        names: dict[str, frozenset[str]] = {}
        error = False
        for clause in filter(str.strip, text.split(";")):
            key, equals, value = (part.strip() for part in clause.partition("="))
            if key == "error" and value.lower() in _BOOLEANS:
                error = _BOOLEANS[value.lower()]
            elif key in ("skip", "experimental") and equals:
                names[key] = frozenset(name.strip() for name in value.split(",") if name.strip())
            else:
                raise DockerfileError(
                    f'invalid check option "{clause.strip()}"',
                    remedy=did_you_mean(key, ("skip", "error", "experimental"))
                    or "write skip=RULE,… or error=true or experimental=RULE,… with ; between them",
                )
        return cls(
            skip=names.get("skip", frozenset()), experimental=names.get("experimental", frozenset()), error=error
        )

    def skips(self, rule: str) -> bool:
        return bool(self.skip & {rule, "all"})


_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def check_options(dockerfile: Dockerfile, override: str | None = None) -> CheckOptions:
    """The options of the file, or `override` in their place (BUILDKIT_DOCKERFILE_CHECK). Raises DockerfileError."""
    if override is not None:
        return CheckOptions.parse(override)
    if dockerfile.check is None:
        return CheckOptions()
    try:
        return CheckOptions.parse(dockerfile.check.value)
    except DockerfileError as exc:
        exc.span = dockerfile.check.span
        raise


def lint(dockerfile: Dockerfile, options: CheckOptions) -> tuple[LintWarning, ...]:
    """All findings that are not skipped, in the order of lines."""
    found = [
        warning
        for check in CHECKS
        for instruction, warning in check(dockerfile)
        if not (options.skips(warning.rule) or _skipped_above(instruction, warning.rule))
        and (warning.rule not in EXPERIMENTAL or options.experimental & {warning.rule, "all"})
    ]
    return tuple(sorted(found, key=lambda warning: warning.span.first_line))


def filtered(dockerfile: Dockerfile, options: CheckOptions, found: Iterable[LintWarning]) -> tuple[LintWarning, ...]:
    """Those of `found` (by checks that need values) that neither the options nor a comment skips, each once."""
    nodes = {node.span: node for node in dockerfile.instructions}
    return tuple(
        warning
        for warning in dict.fromkeys(found)
        if not options.skips(warning.rule)
        and not (warning.span in nodes and _skipped_above(nodes[warning.span], warning.rule))
    )


def _skipped_above(instruction: Instruction, rule: str) -> bool:
    """Whether a comment `# check=skip=RULE` stands directly above the instruction."""
    for comment in instruction.comments:
        match = re.fullmatch(r"check\s*=\s*(.+)", comment, re.IGNORECASE)
        if match:
            try:
                if CheckOptions.parse(match[1]).skips(rule):
                    return True
            except DockerfileError:
                continue  # a comment like any other
    return False


def stage_name_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        if stage.name != stage.name.lower():
            yield finding(stage.head, "StageNameCasing", f"Stage name '{stage.name}' should be lowercase")


def from_as_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        written = stage.head.written
        keyword = stage.words[1] if len(stage.words) == 3 else ""
        differs = (written.islower() and not keyword.islower()) or (written.isupper() and not keyword.isupper())
        if keyword and differs:
            message = f"'{keyword}' and '{written}' keywords' casing do not match"
            yield finding(stage.head, "FromAsCasing", message)


def no_empty_continuation(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in dockerfile.instructions:
        if line := node.empty_until:  # BuildKit tells the end of the continuation, once
            span = Span(file=node.span.file, first_line=line, last_line=line)
            yield node, LintWarning(rule="NoEmptyContinuation", message="Empty continuation line", span=span)


def consistent_instruction_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    written = [node.written for node in dockerfile.instructions]
    most_lower = sum(word.islower() for word in written) > sum(word.isupper() for word in written)
    casing = "lowercase" if most_lower else "uppercase"
    for node in dockerfile.instructions:
        if node.written != (node.written.lower() if most_lower else node.written.upper()):
            message = f"Command '{node.written}' should match the case of the command majority ({casing})"
            yield finding(node, "ConsistentInstructionCasing", message)


def duplicate_stage_name(dockerfile: Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in stages(dockerfile):
        name = stage.name.lower()
        if name and name in seen:
            message = f'Duplicate stage name "{name}", stage names should be unique'
            yield finding(stage.head, "DuplicateStageName", message)
        seen.add(name)


def reserved_stage_name(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        if stage.name.lower() in RESERVED_STAGE_NAMES:
            message = f"'{stage.name.lower()}' is reserved and should not be used as a stage name"
            yield finding(stage.head, "ReservedStageName", message)


def json_args_recommended(dockerfile: Dockerfile) -> Iterator[Finding]:
    with_shell: set[str] = set()  # stages that set SHELL, or stand on one that does
    for stage in stages(dockerfile):
        if any(named(stage.body, "SHELL")) or _base(stage) in with_shell:
            with_shell |= {stage.name.lower()} - {""}
            continue
        for node in named(stage.body, "CMD", "ENTRYPOINT"):
            if node.json is None and node.value:
                message = f"JSON arguments recommended for {node.keyword} to prevent unintended behavior related to OS signals"
                yield finding(node, "JSONArgsRecommended", message)


def maintainer_deprecated(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(dockerfile.instructions, "MAINTAINER"):
        message = "Maintainer instruction is deprecated in favor of using label"
        yield finding(node, "MaintainerDeprecated", message)


def workdir_relative_path(dockerfile: Dockerfile) -> Iterator[Finding]:
    absolute: set[str] = set()  # stages that have an absolute WORKDIR, or stand on one that has
    for stage in stages(dockerfile):
        is_set = _base(stage) in absolute
        for node in named(stage.body, "WORKDIR"):
            path = node.value.strip("\"'")
            if path.startswith("/"):
                is_set = True
            elif path and not is_set and not path.startswith("$"):  # what a variable holds is not known here
                message = f'Relative workdir "{node.value}" can have unexpected results if the base image changes'
                yield finding(node, "WorkdirRelativePath", message)
        if is_set and stage.name:
            absolute.add(stage.name.lower())


def multiple_instructions_disallowed(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        left = Counter(node.keyword for node in named(stage.body, *ONCE_PER_STAGE))
        for node in named(stage.body, *ONCE_PER_STAGE):
            left[node.keyword] -= 1
            if left[node.keyword]:
                message = (
                    f"Multiple {node.keyword} instructions should not be used in the same stage "
                    "because only the last one will be used"
                )
                yield finding(node, "MultipleInstructionsDisallowed", message)


def legacy_key_value_format(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(_with_triggers(dockerfile), "ENV", "LABEL"):
        if is_legacy_form(node.value, node.escape):
            message = f'"{node.keyword} key=value" should be used instead of legacy "{node.keyword} key value" format'
            yield finding(node, "LegacyKeyValueFormat", message)


def secrets_used_in_arg_or_env(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(_with_triggers(dockerfile), "ARG", "ENV"):
        for name in names_of(node):
            if SECRET.search(name) and not NOT_SECRET.search(name):
                message = f'Do not use ARG or ENV instructions for sensitive data ({node.keyword} "{name}")'
                yield finding(node, "SecretsUsedInArgOrEnv", message)


def from_platform_flag(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        for flag in stage.head.flags:
            if flag.name != "platform" or not flag.value:
                continue
            if TARGET_PLATFORM.fullmatch(flag.value):
                message = (
                    f"Setting platform to predefined {flag.value} in FROM is redundant as this is the default behavior"
                )
                yield finding(stage.head, "RedundantTargetPlatform", message)
            elif "$" not in flag.value and not _is_named_for(stage, flag.value):
                message = f'FROM --platform flag should not use constant value "{flag.value}"'
                yield finding(stage.head, "FromPlatformFlagConstDisallowed", message)


def expose_format(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(_with_triggers(dockerfile), "EXPOSE"):
        for word in split_words(node.value, node.escape):
            if "$" in word:
                continue
            ports, _, protocol = word.partition("/")
            if protocol != protocol.lower():
                message = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
                yield finding(node, "ExposeProtoCasing", message)
            if ":" in ports:
                message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                yield finding(node, "ExposeInvalidFormat", message)


CHECKS: Sequence[Check] = (
    stage_name_casing,
    from_as_casing,
    no_empty_continuation,
    consistent_instruction_casing,
    duplicate_stage_name,
    reserved_stage_name,
    json_args_recommended,
    maintainer_deprecated,
    workdir_relative_path,
    multiple_instructions_disallowed,
    legacy_key_value_format,
    secrets_used_in_arg_or_env,
    from_platform_flag,
    expose_format,
    *lint_extra.CHECKS,
)


def _base(stage: Stage) -> str:
    return stage.words[0].lower() if stage.words else ""


def _is_named_for(stage: Stage, platform: str) -> bool:
    """Whether the stage's name tells that it is for one platform, by its system or architecture."""
    return any(part in stage.name.lower() for part in platform.lower().split("/") if part)


def _with_triggers(dockerfile: Dockerfile) -> Iterator[Instruction]:
    """All instructions, those after ONBUILD in place of the ONBUILD."""
    for node in dockerfile.instructions:
        if node.keyword == "ONBUILD" and node.raw:
            trigger = parse_trigger(node.raw_with_heredocs, node.span.file, node.span, escape=node.escape)
            yield replace(trigger, comments=node.comments)
        else:
            yield node

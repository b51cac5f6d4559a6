"""Build checks that need nothing but the parsed file; names and wording are BuildKit's (docs.docker.com/build-checks).

Checks that need values are found while planning: `instructions.findings`, `solver.global_args`, and ignored files by
`solver.checks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tiffin.builder.dockerfile import lint_extra
from tiffin.builder.dockerfile.lint_base import Check, Finding, LintWarning, finding, named, stages
from tiffin.builder.dockerfile.parser import Dockerfile, Instruction
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import DockerfileError
from tiffin.cache.foundation.frozen import dataclass, replace

RESERVED_STAGE_NAMES = ("context", "scratch")
EXPERIMENTAL = ("InvalidDefinitionDescription",)  # off until `# check=experimental=` names them


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
    """Return the options of the file, or `override` in their place (BUILDKIT_DOCKERFILE_CHECK).

    Raises DockerfileError.
    """
    if override is not None:
        return CheckOptions.parse(override)
    if dockerfile.check is None:
        return CheckOptions()
    try:
        return CheckOptions.parse(dockerfile.check.value)
    except DockerfileError as exc:
        exc.locate(dockerfile.check.span)
        raise


def lint(dockerfile: Dockerfile, options: CheckOptions) -> tuple[LintWarning, ...]:
    """Return all findings that are not skipped, in the order of lines."""
    found = [
        warning
        for check in CHECKS
        for instruction, warning in check(dockerfile)
        if not (options.skips(warning.rule) or _skipped_above(instruction, warning.rule))
        and (warning.rule not in EXPERIMENTAL or options.experimental & {warning.rule, "all"})
    ]
    return tuple(sorted(found, key=lambda warning: warning.span.first_line))


def filtered(dockerfile: Dockerfile, options: CheckOptions, found: Iterable[LintWarning]) -> tuple[LintWarning, ...]:
    """Return those of `found` (by checks that need values) that neither the options nor a comment skips, each once."""
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
            span = replace(node.span, first_line=line, last_line=line, text="")
            yield node, LintWarning(rule="NoEmptyContinuation", message="Empty continuation line", span=span)


def consistent_instruction_casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    nodes = [node for stage in stages(dockerfile) for node in (stage.head, *stage.body)]
    most_lower = sum(node.written.islower() for node in nodes) > sum(node.written.isupper() for node in nodes)
    casing = "lowercase" if most_lower else "uppercase"
    for node in nodes:
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
            message = f'Stage name should not use the same name as reserved stage "{stage.name.lower()}"'
            yield finding(stage.head, "ReservedStageName", message)


def maintainer_deprecated(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(dockerfile.instructions, "MAINTAINER"):
        message = "Maintainer instruction is deprecated in favor of using label"
        yield finding(node, "MaintainerDeprecated", message)


CHECKS: Sequence[Check] = (
    stage_name_casing,
    from_as_casing,
    no_empty_continuation,
    consistent_instruction_casing,
    duplicate_stage_name,
    reserved_stage_name,
    maintainer_deprecated,
    *lint_extra.CHECKS,
)

"""--check and --call: what a Dockerfile says, without building it. The JSON shapes are buildx's."""

from __future__ import annotations

import json
from collections.abc import Sequence

from builder.cli.console import say
from builder.cli.plain_text import size_text
from builder.dockerfile.lint_base import LintWarning, Stage, stages
from builder.dockerfile.parser import Dockerfile
from builder.dockerfile.suggest import did_you_mean
from builder.errors import DockerfileError, DockerfileErrors, Span, UsageError
from builder.instructions.ops import CacheMount, RunOp, SecretMount, SshMount
from builder.solver.planned import Plan
from builder.solver.report import Report

CALLS = ("build", "check", "explain", "outline", "targets")
DOCS = "https://docs.docker.com/go/dockerfile/rule/"
OWN = ("AptListsLeft", "CopyAllBeforeInstall", "ArgShadowsEnv", "DoubleStarInCopySource")
DESCRIPTIONS = {
    "StageNameCasing": "The name of a stage is in lower case",
    "FromAsCasing": "FROM and AS are in the same case",
    "NoEmptyContinuation": "A continued instruction has no empty line inside",
    "ConsistentInstructionCasing": "The keywords of all instructions are in the same case",
    "DuplicateStageName": "The names of stages are unique",
    "ReservedStageName": "No stage has a reserved name",
    "JSONArgsRecommended": "CMD and ENTRYPOINT are in JSON form, so that signals reach the program",
    "MaintainerDeprecated": "MAINTAINER is deprecated in favour of a label",
    "UndefinedArgInFrom": "FROM uses declared ARGs only",
    "WorkdirRelativePath": "A relative WORKDIR follows an absolute one, as the base image may change",
    "UndefinedVar": "A variable is defined before its use",
    "MultipleInstructionsDisallowed": "A stage has one CMD, ENTRYPOINT and HEALTHCHECK, as only the last is used",
    "LegacyKeyValueFormat": "Names and values are separated by an equals sign",
    "InvalidBaseImagePlatform": "The base image is for the platform that is built",
    "RedundantTargetPlatform": "FROM does not set the platform that is its default",
    "SecretsUsedInArgOrEnv": "ARG and ENV hold no secrets",
    "InvalidDefaultArgInFrom": "FROM has a valid name with the defaults of its ARGs",
    "FromPlatformFlagConstDisallowed": "The platform of FROM is not a constant",
    "CopyIgnoredFile": "COPY and ADD name no file that .dockerignore excludes",
    "InvalidDefinitionDescription": "The comment above a stage or an ARG begins with its name",
    "ExposeProtoCasing": "The protocol in EXPOSE is in lower case",
    "ExposeInvalidFormat": "EXPOSE has neither an address nor a port of the host",
    "AptListsLeft": "The package lists of apt-get are removed in the step that fetched them",
    "CopyAllBeforeInstall": "Dependencies are installed before the whole context is copied",
    "ArgShadowsEnv": "No ARG follows an ENV of the same name",
    "DoubleStarInCopySource": "A source with ** has --parents, as it is like * without",
}
CONTEXT_LINES = 2


def parse_call(text: str) -> tuple[str, bool]:
    """--call NAME[,format=json|text]: the name, and whether JSON is wanted. Raises UsageError."""
    name, *options = text.split(",")
    if name not in CALLS:
        raise UsageError(f'--call "{name}" is unknown', remedy=did_you_mean(name, CALLS) or f"use {', '.join(CALLS)}")
    form = "text"
    for option in options:
        key, _, value = option.partition("=")
        if key != "format" or value not in ("json", "text"):
            raise UsageError(f'--call "{text}": "{option}" is unknown', remedy="use format=json or format=text")
        form = value
    return name, form == "json"


def show_report(report: Report) -> None:
    """Print what a build would do."""
    for line in report.lines(size_text):
        say(line)


def show_check(
    found: Sequence[LintWarning], dockerfile: bytes, *, as_json: bool, error: DockerfileError | None = None
) -> None:
    """Print the findings of build checks; JSON also has the error that ended them."""
    text = dockerfile.decode("utf-8", "replace").splitlines()
    if as_json:
        warnings = [
            {
                "ruleName": item.rule,
                "description": DESCRIPTIONS[item.rule],
                "url": _url(item.rule),
                "detail": item.message,
                "location": _location(item.span),
            }
            for item in found
        ]
        faults = _spans(error) if error else []
        files = dict.fromkeys(span.file for span in [*(item.span for item in found), *faults])
        document: dict[str, object] = {"warnings": warnings, "sources": [{"filename": name} for name in files]}
        if error:
            document["buildError"] = {"message": str(error), "location": _location(*faults)}
        say(json.dumps(document, indent=2))
        return
    count = len(found)
    if not count:
        say("Check complete, no warnings found.")
        return
    say(f"Check complete, {count} warning{'s have' if count > 1 else ' has'} been found!")
    for item in found:
        url = _url(item.rule)
        say(f"\nWARNING: {item.rule}{f' - {url}' if url else ''}\n{item.message}\n{excerpt(item.span, text)}")


def excerpt(span: Span, lines: Sequence[str]) -> str:
    """The lines of `span` marked with >>> and some around them."""
    first, last = max(1, span.first_line - CONTEXT_LINES), min(len(lines), span.last_line + CONTEXT_LINES)
    rule = "-" * 20
    shown = [
        f"{number:4} | {'>>>' if span.first_line <= number <= span.last_line else '   '} {lines[number - 1]}"
        for number in range(first, last + 1)
    ]
    return "\n".join([f"{span.file}:{span.first_line}", rule, *shown, rule])


def show_targets(dockerfile: Dockerfile, *, as_json: bool) -> None:
    """Print the stages that can be built."""
    every = list(stages(dockerfile))
    rows = [
        {
            "name": stage.name.lower(),
            "default": stage is every[-1],
            "description": _description(stage),
            "base": stage.words[0] if stage.words else "",
            "platform": next((flag.value or "" for flag in stage.head.flags if flag.name == "platform"), ""),
            "location": _location(stage.head.span),
        }
        for stage in every
    ]
    if as_json:
        say(json.dumps({"targets": rows, "sources": [dockerfile.file]}, indent=2))
        return
    _table(("TARGET", "DESCRIPTION"), [(_target_text(row), str(row["description"])) for row in rows])


def show_outline(dockerfile: Dockerfile, plan: Plan, *, as_json: bool) -> None:
    """Print the arguments, secrets, ssh agents and caches that the target uses."""
    target = plan.stages[plan.target]
    descriptions = {
        name: " ".join(line.split(None, 1)[1:])
        for node in dockerfile.instructions
        if node.keyword == "ARG"
        for line in node.comments
        if (name := line.partition(" ")[0])
    }
    args = [
        {"name": name, "description": descriptions.get(name, ""), "value": value or ""}
        for name, value in {name: value for stage in plan.stages.values() for name, value in stage.args.items()}.items()
    ]
    mounts = [
        mount
        for stage in plan.stages.values()
        for step in stage.steps
        if isinstance(step.op, RunOp)
        for mount in step.op.mounts
    ]
    secrets = _needed([mount for mount in mounts if isinstance(mount, SecretMount)])
    ssh = _needed([mount for mount in mounts if isinstance(mount, SshMount)])
    caches = sorted({mount.id for mount in mounts if isinstance(mount, CacheMount)})
    if as_json:
        document = {
            "name": target.name,
            "args": args,
            "secrets": secrets,
            "ssh": ssh,
            "cache": [{"ID": name} for name in caches],
        }
        say(json.dumps(document, indent=2))
        return
    say(f"TARGET: {target.name or 'default'}\n")
    _table(("BUILD ARG", "VALUE", "DESCRIPTION"), [(a["name"], a["value"], a["description"]) for a in args])
    for title, rows in (("SECRET", secrets), ("SSH", ssh)):
        _table((title, "REQUIRED"), [(str(row["name"]), "true" if row["required"] else "") for row in rows])
    _table(("CACHE",), [(name,) for name in caches])


def _needed(mounts: Sequence[SecretMount | SshMount]) -> list[dict[str, object]]:
    found: dict[str, bool] = {}
    for mount in mounts:
        found[mount.id] = found.get(mount.id, False) or mount.required
    return [{"name": name, "required": required} for name, required in sorted(found.items())]


def _description(stage: Stage) -> str:
    """A comment directly above the stage that begins with its name."""
    for line in stage.head.comments:
        first, _, rest = line.partition(" ")
        if stage.name and first.lower() == stage.name.lower():
            return rest.strip()
    return ""


def _target_text(row: dict[str, object]) -> str:
    name = str(row["name"]) or "(no name)"
    return f"{name} (default)" if row["default"] else name


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(str(row[column])) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        say("   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    say("")


def _url(rule: str) -> str:
    """BuildKit's page of a rule; ours have docs/checks.md."""
    if rule in OWN:
        return ""
    words = "".join(f"-{char.lower()}" if char.isupper() else char for char in rule).lstrip("-")
    return f"{DOCS}{words.replace('j-s-o-n', 'json')}/"


def _spans(error: DockerfileError) -> list[Span]:
    every = error.errors if isinstance(error, DockerfileErrors) else (error,)
    return [item.span for item in every if item.span is not None]


def _location(*spans: Span) -> dict[str, object]:
    ranges = [
        {"start": {"line": span.first_line, "character": 0}, "end": {"line": span.last_line, "character": 0}}
        for span in spans
    ]
    return {"sourceIndex": 0, "ranges": ranges}

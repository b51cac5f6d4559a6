"""--check and --call: what a Dockerfile says, without building it. The JSON shapes are buildx's."""

from __future__ import annotations

import binascii
import json
from collections.abc import Sequence

from tiffin.builder.api import subrequests
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.session import Session
from tiffin.builder.api.subrequests import Checked, Need, Target, TargetOutline
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.errors import BuildError, DockerfileError, DockerfileErrors, Span, TiffinError
from tiffin.builder.events import Sink

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


def show(call: str, options: BuildOptions, session: Session, sink: Sink, *, as_json: bool) -> None:
    """Print the answer to a call other than `build`.

    Raises TiffinError, and SystemExit where a check found something.
    """
    match call:
        case "explain":
            for line in subrequests.explain(options, session, sink):
                print_result(line)
        case "targets":
            show_targets(*subrequests.list_targets(options, session, sink), as_json=as_json)
        case "outline":
            show_outline(subrequests.outline(options, session, sink), as_json=as_json)
        case _:
            checked = subrequests.check(options, session, sink)
            show_check(checked, as_json=as_json)
            if checked.error is not None:
                raise checked.error
            if checked.findings:
                raise SystemExit(1)


def answer(call: str, options: BuildOptions, session: Session, sink: Sink) -> tuple[dict[str, object], bool]:
    """Return the document of a call, and whether a check found nothing. Raises TiffinError."""
    match call:
        case "targets":
            return targets_document(*subrequests.list_targets(options, session, sink)), True
        case "outline":
            return outline_document(subrequests.outline(options, session, sink)), True
    checked = subrequests.check(options, session, sink)
    document = _check_document(checked.findings, checked.source, checked.error)
    return document, not checked.findings and checked.error is None


def show_check(checked: Checked, *, as_json: bool) -> None:
    """Print the findings of build checks; JSON also has the error that ended them."""
    found, error, dockerfile = checked.findings, checked.error, checked.source
    if as_json:
        print_result(json.dumps(_check_document(found, dockerfile, error), indent=2))
        return
    text = dockerfile.decode("utf-8", "replace").splitlines()
    count = len(found)
    if count:
        print_result(f"Check complete, {count} warning{'s have' if count > 1 else ' has'} been found!")
    elif error is None:
        print_result("Check complete, no warnings found.")
    for item in found:
        url = _url(item.rule)
        print_result(f"\nWARNING: {item.rule}{f' - {url}' if url else ''}\n{item.message}\n{excerpt(item.span, text)}")


def _check_document(found: Sequence[LintWarning], dockerfile: bytes, error: TiffinError | None) -> dict[str, object]:
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
    spans = _spans(error) if error else []
    files = dict.fromkeys(span.file for span in [*(item.span for item in found), *spans]) or ["Dockerfile"]
    sources = [{"filename": name, "data": _base64(dockerfile), "language": "Dockerfile"} for name in files]
    document: dict[str, object] = {"warnings": warnings, "sources": sources}
    if error:
        document["buildError"] = {"message": str(error), "location": _location(*spans)}
    return document


def excerpt(span: Span, lines: Sequence[str]) -> str:
    """Return the lines of `span` marked with >>> and some around them."""
    first, last = max(1, span.first_line - CONTEXT_LINES), min(len(lines), span.last_line + CONTEXT_LINES)
    rule = "-" * 20
    shown = [
        f"{number:4} | {'>>>' if span.first_line <= number <= span.last_line else '   '} {lines[number - 1]}"
        for number in range(first, last + 1)
    ]
    return "\n".join([f"{span.file}:{span.first_line}", rule, *shown, rule])


def show_targets(targets: Sequence[Target], source: bytes, *, as_json: bool) -> None:
    """Print the stages that can be built."""
    if as_json:
        print_result(json.dumps(targets_document(targets, source), indent=2))
        return
    rows = _target_rows(targets)
    _table(("TARGET", "DESCRIPTION"), [(_target_text(row), str(row["description"])) for row in rows])


def targets_document(targets: Sequence[Target], source: bytes) -> dict[str, object]:
    """Return the stages that can be built, as JSON has them."""
    return {"targets": [_given(**row) for row in _target_rows(targets)], "sources": [_base64(source)]}


def _target_rows(targets: Sequence[Target]) -> list[dict[str, object]]:
    return [
        {
            "name": target.name,
            "default": target.is_default,
            "description": target.description,
            "base": target.base,
            "platform": target.platform,
            "location": _location(target.span),
        }
        for target in targets
    ]


def show_outline(target: TargetOutline, *, as_json: bool) -> None:
    """Print the arguments, secrets, ssh agents and caches that a target uses."""
    outline, name, description = target.outline, target.name, target.description
    if as_json:
        print_result(json.dumps(outline_document(target), indent=2))
        return
    if name:
        print_result(f"TARGET: {name}" + (f"\nDESCRIPTION: {description}" if description else "") + "\n")
    _table(("BUILD ARG", "VALUE", "DESCRIPTION"), [(arg.name, arg.value, arg.description) for arg in outline.args])
    for title, needs in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        _table((title, "REQUIRED"), [(need.name, "true" if need.required else "") for need in needs])
    _table(("CACHE",), [(need.name,) for need in outline.caches])


def outline_document(target: TargetOutline) -> dict[str, object]:
    """Return what a target uses, as JSON has it."""
    outline = target.outline
    return _given(
        name=target.name,
        description=target.description,
        args=[
            _given(name=arg.name, description=arg.description, value=arg.value, location=_location(arg.span))
            for arg in outline.args
        ],
        secrets=[_need(need) for need in outline.secrets],
        ssh=[_need(need) for need in outline.ssh],
        cache=[{"ID": need.name, "location": _location(need.span)} for need in outline.caches],
        sources=[_base64(target.source)],
    )


def _need(need: Need) -> dict[str, object]:
    return _given(name=need.name, required=need.required, location=_location(need.span))


def _given(**fields: object) -> dict[str, object]:
    """Return the fields that say something: buildx leaves out the others."""
    return {name: value for name, value in fields.items() if value}


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _target_text(row: dict[str, object]) -> str:
    name = str(row["name"]) or "(no name)"
    return f"{name} (default)" if row["default"] else name


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(str(row[column])) for row in (titles, *rows)) for column in range(len(titles))]
    for row in (titles, *rows):
        print_result("   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print_result("")


def _url(rule: str) -> str:
    """Return the address of BuildKit's page about a rule; tiffin's own rules are in docs/checks.md."""
    if rule in OWN:
        return ""
    words = "".join(f"-{char.lower()}" if char.isupper() else char for char in rule).lstrip("-")
    return f"{DOCS}{words.replace('j-s-o-n', 'json')}/"


def _spans(error: TiffinError) -> list[Span]:
    every = error.errors if isinstance(error, DockerfileErrors) else (error,)
    return [item.span for item in every if isinstance(item, (DockerfileError, BuildError)) and item.span is not None]


def _location(*spans: Span) -> dict[str, object]:
    """Return a range for each line."""
    lines = sorted({line for span in spans for line in range(span.first_line, span.last_line + 1)})
    return _given(ranges=[{"start": {"line": line}, "end": {"line": line}} for line in lines])

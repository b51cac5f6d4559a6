"""tiffin buildx history ls | inspect | logs | export | rm: what builds ran."""

from __future__ import annotations

import time

from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.buildx.history import BuildRecord
    from tiffin.builder.api.session import Session

HEADINGS = {
    "BuildID": "BUILD ID", "Name": "NAME", "Status": "STATUS", "CreatedAt": "CREATED AT", "Duration": "DURATION",
}  # fmt: skip
WIDTH = 20  # of the names of members
SHORT_NAME = 24
FILTERS = ("ref", "status")


class HistoryArguments(Arguments):
    """Of all of these commands."""

    builder = Many("--builder", effect=WITHOUT_EFFECT)


class LsArguments(ListArguments, HistoryArguments):
    """What may stand on the line."""

    filters = Many("--filter", metavar="ref=REF|status=STATUS", help="Only such builds; repeatable.")
    no_trunc = Flag("--no-trunc", help="Do not truncate.")
    local = Flag("--local", help="Only builds whose context is the working directory.")


class InspectArguments(HistoryArguments):
    """What may stand on the line."""

    ref = Word("[REF]", "")
    form = Text("--format", metavar="pretty|json|TEMPLATE", default="pretty", help="Go template.")


class LogsArguments(HistoryArguments):
    """What may stand on the line."""

    ref = Word("[REF]", "")
    progress = Text("--progress", choices=("plain", "rawjson", "json", "tty"), default="plain", help="Its form.")


class ExportArguments(HistoryArguments):
    """What may stand on the line."""

    refs = Words("[REF]...")
    output = Text("-o", "--output", metavar="FILE", default="-", help="File to write (default: stdout).")
    everything = Flag("--all", help="All builds.")
    finalize = Flag("--finalize", effect=WITHOUT_EFFECT)


class RmArguments(HistoryArguments):
    """What may stand on the line."""

    refs = Words("[REF]...")
    everything = Flag("--all", help="All builds.")


def ls(session: Session, line: LsArguments) -> None:
    """List builds, the newest first."""
    from pathlib import Path

    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.cli.output.lists import filters_of, show_rows

    wanted = filters_of(line.filters, FILTERS)
    rows = []
    for record in History(session).records():
        fits = {"ref": {record.id, record.ref}, "status": {record.status.lower(), record.status}}
        if all(fits[name] & set(values) for name, values in wanted.items()) and (
            not line.local or Path(record.context).resolve() == Path.cwd()
        ):
            rows.append(_row(record, whole=line.no_trunc))
    show_rows(rows, line.form, tuple(HEADINGS), HEADINGS)


def _row(record: BuildRecord, *, whole: bool) -> dict[str, object]:
    from tiffin.builder.plain_text import duration_text

    name = record.name if whole or len(record.name) <= SHORT_NAME else f"{record.name[: SHORT_NAME - 1]}…"
    return {
        "BuildID": record.id,
        "Ref": record.ref,
        "Name": name,
        "Status": record.status,
        "CreatedAt": f"{duration_text(time.time() - record.started)} ago",
        "Duration": f"{record.seconds:.1f}s",
    }


def inspect(session: Session, line: InspectArguments) -> None:
    """Show what a build was."""
    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.cli.output.template_values import to_json

    document = _document(History(session).find(line.ref))
    if line.form == "json":
        import json

        print_result(json.dumps(document, indent=2))
    elif line.form != "pretty":
        from tiffin.builder.cli.output.template import Template

        print_result(Template(line.form).render(document))
    else:
        shown = {name: value for name, value in document.items() if value not in ("", [], 0)}
        for name, value in shown.items():
            text = value if isinstance(value, str) else ", ".join(value) if isinstance(value, list) else to_json(value)
            print_result(f"{name + ':':<{WIDTH}}{text}")


def _document(record: BuildRecord) -> dict[str, object]:
    """Return a record by buildx's names."""
    from tiffin.builder.plain_text import rfc3339

    return {
        "Name": record.name,
        "Ref": record.ref,
        "Context": record.context,
        "Dockerfile": record.dockerfile,
        "Target": record.target,
        "Platform": list(record.platforms),
        "BuildArgs": list(record.build_args),
        "StartedAt": rfc3339(record.started),
        "CompletedAt": rfc3339(record.finished),
        "Duration": f"{record.seconds:.1f}s",
        "Status": record.status.lower(),
        "Error": record.error,
        "NumCompletedSteps": record.steps,
        "NumCachedSteps": record.cached_steps,
        "Images": list(record.names),
        "Digest": record.digest,
        "Size": record.size_bytes,
    }


def logs(session: Session, line: LogsArguments) -> None:
    """Print the log of a build, as it was."""
    import sys

    from tiffin.builder.api.buildx.history import History

    lines = History(session).events(line.ref)
    if line.progress in ("json", "rawjson"):
        sys.stdout.writelines(lines)
        return
    from tiffin.builder.cli.output.plain.replay import replay

    replay(lines, sys.stdout)


def export(session: Session, line: ExportArguments) -> None:
    """Write records and logs of builds as a compressed archive."""
    import sys

    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.history_export import export_builds
    from tiffin.builder.cli.output.console import refuse_terminal

    history = History(session)
    refs = tuple(record.id for record in history.records()) if line.everything else line.refs or ("",)
    refuse_terminal(line.output)
    export_builds(history, refs, line.output, sys.stdout.buffer)


def rm(session: Session, line: RmArguments) -> None:
    """Forget builds."""
    from tiffin.builder.api.buildx.history import History

    history = History(session)
    if not line.refs and not line.everything:
        raise UsageError("rm requires either --all or at least one argument", remedy="name a build, or give --all")
    each([record.id for record in history.records()] if line.everything else line.refs, history.remove)


COMMANDS = (
    Group("buildx history", about="Builds that ran.", section=BUILDS),
    Command(
        "buildx history ls",
        LsArguments,
        ls,
        about="List builds that ran.",
        help="List builds that ran, the newest first. The last 50 are kept; $TIFFIN_BUILD_HISTORY says how many.",
        section=BUILDS,
        examples=("tiffin buildx history ls", "tiffin buildx history ls --filter status=error"),
    ),
    Command(
        "buildx history inspect",
        InspectArguments,
        inspect,
        about="Show what a build was.",
        help="Show the last build, one by its id, or ^N for the Nth before the last.",
        section=BUILDS,
        examples=("tiffin buildx history inspect ^1",),
    ),
    Command(
        "buildx history logs",
        LogsArguments,
        logs,
        about="Print the log of a build.",
        section=BUILDS,
        examples=("tiffin buildx history logs",),
    ),
    Command(
        "buildx history export",
        ExportArguments,
        export,
        about="Write records and logs of builds to an archive.",
        help="Write a tar.gz with record.json and events.jsonl of each build. Docker Desktop does not read it.",
        section=BUILDS,
        examples=("tiffin buildx history export --all -o builds.tar.gz",),
    ),
    Command(
        "buildx history rm",
        RmArguments,
        rm,
        about="Forget builds.",
        section=BUILDS,
        examples=("tiffin buildx history rm --all",),
    ),
)

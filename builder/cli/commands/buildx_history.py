"""tiffin buildx history ls | inspect | diff | logs | export | import | rm: what builds ran."""

from __future__ import annotations

import time

from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import as_refused, each, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.history_steps import StepRun
    from tiffin.builder.api.buildx.recorder import BuildRecord
    from tiffin.builder.api.session import Session

HEADINGS = {
    "BuildID": "BUILD ID", "Name": "NAME", "Status": "STATUS", "CreatedAt": "CREATED AT", "Duration": "DURATION",
}  # fmt: skip
WIDTH = 20  # of the names of members
SHORT_NAME = 24
RESULT_WIDTH = 8  # of "CANCELED"
ATTACHMENT = "attachment"  # of buildx: inspect attachment [REF] [DIGEST]


class HistoryArguments(Arguments):
    """Of all of these commands."""

    builder = Many("--builder", effect=WITHOUT_EFFECT)
    debug = Flag("-D", "--debug", effect=WITHOUT_EFFECT)


class LsArguments(ListArguments, HistoryArguments):
    """What may stand on the line."""

    filters = Many("--filter", metavar="NAME=VALUE|NAME>TIME", help="Only such builds; repeatable.")
    no_trunc = Flag("--no-trunc", help="Do not truncate.")
    local = Flag("--local", help="Only builds whose context is the working directory.")


class InspectArguments(HistoryArguments):
    """What may stand on the line."""

    refs = Words("[REF]")
    form = Text("--format", metavar="pretty|json|TEMPLATE", default="pretty", help="Go template.")


class DiffArguments(HistoryArguments):
    """What may stand on the line."""

    refs = Words("[REF [REF]]")
    form = Text("--format", choices=("pretty", "json"), default="pretty", help="How to write it.")


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


class ImportArguments(HistoryArguments):
    """What may stand on the line."""

    source = Word("[-]", "-", choices=("-",))
    file = Text("-f", "--file", metavar="FILE", default="-", help="Archive to read (default: stdin).")


class RmArguments(HistoryArguments):
    """What may stand on the line."""

    refs = Words("[REF]...")
    everything = Flag("--all", help="All builds.")


def ls(session: Session, line: LsArguments) -> None:
    """List builds, the newest first."""
    from pathlib import Path

    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.history_filters import filters_of
    from tiffin.builder.cli.output.lists import show_rows

    with as_refused():
        wanted = filters_of(line.filters)
    rows = []
    for record in History(session).records():
        is_here = not line.local or Path(record.context).resolve() == Path.cwd()
        if is_here and all(fits(record) for fits in wanted):
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

    if line.refs[:1] == (ATTACHMENT,):
        raise UsageError(
            "attestations are beside the image, and not in the history", remedy="see tiffin buildx imagetools inspect"
        )
    if len(line.refs) > 1:
        raise UsageError("inspect shows one build", remedy="name one")
    history, ref = History(session), "".join(line.refs)
    document = {**_document(history.find(ref)), "Steps": [_step(run) for run in _runs(history, ref)]}
    if line.form == "json":
        import json

        print_result(json.dumps(document, indent=2))
    elif line.form != "pretty":
        from tiffin.builder.cli.output.template import Template

        print_result(Template(line.form).render(document))
    else:
        steps = _runs(history, ref)
        shown = {name: value for name, value in document.items() if value not in ("", [], 0) and name != "Steps"}
        for name, value in shown.items():
            text = value if isinstance(value, str) else ", ".join(value) if isinstance(value, list) else to_json(value)
            print_result(f"{name + ':':<{WIDTH}}{text}")
        if steps:
            print_result("\nSteps:")
            for run in steps:
                print_result(f"  {run.result:>{RESULT_WIDTH}}  {run.name}")


def diff(session: Session, line: DiffArguments) -> None:
    """Show what differs between two builds: the last two, a build and the last, or two that are named."""
    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.history_steps import compare, differing
    from tiffin.builder.cli.output.template_values import to_json

    if len(line.refs) > 2:
        raise UsageError("diff compares two builds", remedy="name one or two")
    first, second = (*line.refs, "") if len(line.refs) == 1 else line.refs or ("^1", "")
    history = History(session)
    before, after = history.find(first), history.find(second)
    rows = compare(_runs(history, before.ref), _runs(history, after.ref))
    changed = differing(before, after)
    if line.form == "json":
        import json

        steps = [
            {"Change": row.mark, "Before": row.before and _step(row.before), "After": row.after and _step(row.after)}
            for row in rows
        ]
        document = {"Before": before.ref, "After": after.ref, "Changed": changed, "Steps": steps}
        print_result(json.dumps(document, indent=2))
        return
    print_result(f"{before.ref}  {before.seconds:.1f}s\n{after.ref}  {after.seconds:.1f}s")
    for name, (old, new) in changed.items():
        texts = [value if isinstance(value, str) else to_json(value) for value in (old, new)]
        print_result(f"{name + ':':<{WIDTH}}{texts[0] or '-'} -> {texts[1] or '-'}")
    for row in rows:
        results = [run.result if run else "" for run in (row.before, row.after)]
        print_result(f"{row.mark} {results[0]:>{RESULT_WIDTH}} {results[1]:>{RESULT_WIDTH}}  {row.name}")


def _runs(history: History, ref: str) -> list[StepRun]:
    from tiffin.builder.api.buildx.history_steps import steps_of

    return steps_of(history.events(ref))


def _step(run: StepRun) -> dict[str, object]:
    """Return a step as JSON shows it."""
    return {
        "Name": run.name,
        "Status": run.status.lower(),
        "Duration": f"{run.seconds:.1f}s",
        "Source": run.source,
        "OutputBytes": run.output_bytes,
    }


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


def import_(session: Session, line: ImportArguments) -> None:
    """Take over builds of an archive, and print their references."""
    import sys
    from pathlib import Path

    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.history_export import import_builds

    if line.file == "-" and sys.stdin.isatty():
        raise UsageError("nothing to import", remedy="use -f FILE, or redirect stdin")
    path = None if line.file == "-" else Path(line.file)
    for ref in import_builds(History(session), path, sys.stdin.buffer):
        print_result(ref)


def rm(session: Session, line: RmArguments) -> None:
    """Forget builds."""
    from tiffin.builder.api.buildx.history import History

    history = History(session)
    if not line.refs and not line.everything:
        raise UsageError("rm requires either --all or at least one argument", remedy="name a build, or give --all")
    each([record.id for record in history.records()] if line.everything else line.refs, history.remove)


COMMANDS = (
    Group("buildx history", about="Builds that ran; tiffin build history does the same.", section=BUILDS),
    Command(
        "buildx history ls",
        LsArguments,
        ls,
        about="List builds that ran.",
        help="List builds that ran, the newest first. The last 50 are kept; $TIFFIN_BUILD_HISTORY says how many. "
        "Filters are ref, repository and status with = and !=, startedAt, completedAt and duration with <, <=, > and "
        ">=: a time, or a duration, which for the first two is that before now.",
        section=BUILDS,
        examples=("tiffin buildx history ls", "tiffin buildx history ls --filter 'duration>30s'"),
    ),
    Command(
        "buildx history inspect",
        InspectArguments,
        inspect,
        about="Show what a build was.",
        help="Show the last build, one by its id, or ^N for the Nth before the last.",
        section=BUILDS,
        examples=("tiffin buildx history inspect ^1",),
        aliases=("buildx history show",),
    ),
    Command(
        "buildx history diff",
        DiffArguments,
        diff,
        about="Show what differs between two builds.",
        help="Show what differs between two builds, of which the last is one if it is not said otherwise: what was "
        "asked for and what came of it, and each step with its time in both, or CACHED, ERROR, CANCELED. A step that "
        "only one has is marked + or -, one that only one ran with ~.",
        section=BUILDS,
        examples=("tiffin buildx history diff", "tiffin buildx history diff ^3 ^1"),
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
        "buildx history import",
        ImportArguments,
        import_,
        about="Take over builds of an archive.",
        help="Take over the builds of an archive of history export, of another machine maybe: ls, inspect, diff, logs "
        "and tiffin report know them then. Those that are here already stay. Docker's .dockerbuild files are not read.",
        section=BUILDS,
        examples=("tiffin buildx history import -f builds.tar.gz",),
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

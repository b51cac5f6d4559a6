"""tiffin step run | logs | diff | files | export: one step of a build."""

from __future__ import annotations

import time

from tiffin.builder.cli.options.command import BUILDS, EXIT_OF_CONTAINERS, Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import show_rows
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.api.steps.kept_steps import KeptStep

HEADINGS = {"Mode": "MODE", "Owner": "OWNER", "Size": "SIZE", "Modified": "MODIFIED", "Name": "NAME"}


class StepArguments(Arguments):
    """Of all of these commands."""

    step = Word("STEP")
    build = Text("--build", metavar="BUILD|IMAGE", help="A build by its id or ^N, or the one that made an image.")


class StateArguments(StepArguments):
    """Of those that look before or after a step."""

    before = Flag("--before", off="--after", help="Before the step (default: after it).")


class RunArguments(StateArguments):
    """What may stand on the line."""

    ends_options = True
    step = Word("STEP")  # words of a class come before those of its bases
    words = Words("[COMMAND [ARG]...]")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|env=NAME]", help="A secret of the step, given again.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="An SSH agent of the step, given again.")


class FilesArguments(StateArguments):
    """What may stand on the line."""

    step = Word("STEP")
    path = Word("[PATH]", "/")
    form = Text("--format", metavar="table|json|TEMPLATE", default="table", help="Form of a list.")


class ExportArguments(StateArguments):
    """What may stand on the line."""

    output = Text("-o", "--output", metavar="FILE", default="-", help="File to write (default: stdout).")


def run(session: Session, line: RunArguments) -> int:
    """Run a command in a step; return its exit code. Raises TiffinError."""
    from tiffin.builder.cli.commands.debug import DebugArguments, debug

    given = {"step": line.step, "build": line.build, "before": line.before, "words": line.words}
    usual = {row.field: row.default for row in DebugArguments.rows}
    return debug(session, DebugArguments({**usual, **given, "secrets": line.secrets, "ssh": line.ssh}))


def logs(session: Session, line: StepArguments) -> None:
    """Print what the command of a step wrote."""
    import sys

    from tiffin.builder.api.steps.step_views import log_of

    for data in log_of(session, line.build, line.step):
        sys.stdout.buffer.write(data)


def diff(session: Session, line: StepArguments) -> None:
    """Print what a step changed."""
    from tiffin.builder.api.steps.step_views import changes_of_step
    from tiffin.builder.cli.commands.run import WarningSink

    for item in changes_of_step(_found(session, line), session, WarningSink()):
        print_result(f"{item.letter} {item.path}" + (f" ({', '.join(item.differs)})" if item.differs else ""))


def files(session: Session, line: FilesArguments) -> None:
    """List a directory of a step, or print a file."""
    import sys

    from tiffin.builder.api.steps.step_views import files_of_step
    from tiffin.builder.cli.commands.run import WarningSink

    found = files_of_step(_found(session, line), line.before, line.path, session, WarningSink())
    if len(found) == 1 and found[0].data is not None:
        sys.stdout.buffer.write(found[0].data)
        return
    rows = [
        {
            "Mode": file.mode,
            "Owner": file.owner,
            "Size": file.size_bytes,
            "Modified": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(file.mtime)),
            "Name": f"{file.name} -> {file.link}" if file.link else file.name,
        }
        for file in found
    ]
    show_rows(rows, line.form, tuple(HEADINGS), HEADINGS)


def export(session: Session, line: ExportArguments) -> None:
    """Write all files of a step as a tar."""
    import sys

    from tiffin.builder.api.steps.step_views import export_step
    from tiffin.builder.cli.commands.run import WarningSink
    from tiffin.builder.cli.output.console import refuse_terminal

    refuse_terminal(line.output)
    export_step(_found(session, line), line.before, line.output, sys.stdout.buffer, session, WarningSink())


def _found(session: Session, line: StepArguments) -> KeptStep:
    from tiffin.builder.api.steps.kept_steps import find_step

    return find_step(session, line.build, line.step)


STEP = "STEP is a number in the progress (7), FILE:LINE, or a label (2/5)"
COMMANDS = (
    Group("step", about="One step of a build that ran.", section=BUILDS),
    Command(
        "step run",
        RunArguments,
        run,
        about="Run a command in a step.",
        help=f"As tiffin debug --step. {STEP}.",
        section=BUILDS,
        examples=("tiffin step run 4 ls -l /src",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "step logs",
        StepArguments,
        logs,
        about="Print what the command of a step wrote.",
        help=f"Print what the command of a step wrote. {STEP}.",
        section=BUILDS,
        examples=("tiffin step logs --build app Dockerfile:7",),
    ),
    Command(
        "step diff",
        StepArguments,
        diff,
        about="List what a step changed.",
        help=f"List the files that a step added (A), changed (C) and deleted (D), also one that failed. {STEP}.",
        section=BUILDS,
        examples=("tiffin step diff 2/5",),
    ),
    Command(
        "step files",
        FilesArguments,
        files,
        about="List files of a step, or print one.",
        help=f"List a directory of a step, or print the file PATH. The step's image needs no programs. {STEP}.",
        section=BUILDS,
        examples=("tiffin step files 4 /etc", "tiffin step files --before 4 /etc/passwd"),
    ),
    Command(
        "step export",
        ExportArguments,
        export,
        about="Write all files of a step as a tar.",
        help=f"Write all files of a step as a tar. {STEP}.",
        section=BUILDS,
        examples=("tiffin step export -o root.tar 4",),
    ),
)

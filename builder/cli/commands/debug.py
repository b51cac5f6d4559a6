"""tiffin debug."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tiffin.builder.cli.commands.run import WarningSink, print_not_begun
from tiffin.builder.cli.options.command import BUILDS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Words
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.session import Session
    from tiffin.builder.errors import RunError

HEADINGS = {"ID": "STEP ID", "Step": "STEP", "Where": "WHERE", "CreatedAt": "FAILED", "Error": "ERROR"}
STEP_HEADINGS = {"Step": "STEP", "State": "STATE", "Where": "WHERE", "Name": "NAME"}
EDITOR = "vi"
WITH_LINES = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "micro", "joe", "ed")  # which take +LINE
WIDTH = 60  # of steps in the list


class DebugArguments(Arguments):
    """What may stand on the line."""

    ends_options = True
    words = Words("[COMMAND [ARG]...]")
    build = Text("--build", metavar="BUILD|IMAGE", help="A build by its id or ^N, or the one that made an image.")
    step = Text(
        "--step", metavar="STEP", help='A step: its number (7), FILE:LINE, "2/5", or the id of one that failed.'
    )
    before = Flag("--before", off="--after", help="The files as they were before the step (default: after it).")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|env=NAME]", help="A secret of the step, given again.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="An SSH agent of the step, given again.")
    edit = Flag("--edit", help="Change the Dockerfile in $EDITOR, and build on from there.")
    listed = Flag("--list", help="List the failed steps that are kept; with --build the steps of a build.")
    form = Text("--format", metavar="table|json|TEMPLATE", default="table", help="Form of --list.")


def debug(session: Session, line: DebugArguments) -> int:
    """Run a command where a step failed; return its exit code. Raises TiffinError."""
    if line.listed:
        _show(session, line)
        return 0
    if line.edit:
        return _edit(session, line)
    from tiffin.builder.api.steps.debug import DebugOptions, debug
    from tiffin.builder.cli.options.build_values import secrets

    options = DebugOptions(
        build=line.build,
        step=line.step,
        command=line.words,
        before=line.before,
        secrets=secrets(line.secrets),
        ssh=line.ssh,
        tty=os.isatty(0) and os.isatty(1),
    )
    result = debug(options, session, WarningSink())
    if result.message:
        print_not_begun(result.message, whose="step")
    return result.exit_code


def _edit(session: Session, line: DebugArguments) -> int:
    """Open the Dockerfile of a build in an editor, and build again: what did not change comes from the cache."""
    import shlex
    import subprocess

    from tiffin.builder.api.build import build
    from tiffin.builder.api.steps.kept_steps import to_edit
    from tiffin.builder.cli.options.build_values import secrets
    from tiffin.builder.cli.output.console import print_result
    from tiffin.builder.cli.output.render import make_renderer

    if line.words or line.step or line.before:
        raise UsageError("--edit takes no command and no step", remedy="leave them out; --build names another build")
    edited = to_edit(session, line.build)
    options = replace(edited.options, secrets=secrets(line.secrets), ssh=line.ssh)
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or EDITOR)
    place = [f"+{edited.line}"] if Path(editor[0]).name in WITH_LINES else []
    try:
        os.chdir(edited.folder)
        code = subprocess.run([*editor, *place, edited.file], check=False).returncode
    except OSError as exc:
        raise UsageError(f"{exc.filename}: {exc.strerror}", remedy="set $EDITOR to a program") from exc
    if code:
        raise UsageError(f"{editor[0]} ended with exit code {code}", remedy="nothing is built")
    with make_renderer("auto") as sink:
        print_result(str(build(options, session, sink).image_id))
    return 0


def open_shell(session: Session, error: RunError, secrets: Sequence[str]) -> bool:
    """Tell the error and open the shell of its step, in a process of its own: this one is in the namespace of its
    build. Return whether that could be done.
    """
    import subprocess

    from tiffin.builder.cli.output.console import print_error, warn
    from tiffin.builder.cli.output.errors import describe

    if not error.remedy or not os.isatty(0):
        warn("--shell-on-error: " + ("stdin is not a terminal" if error.remedy else "nothing of the step was kept"))
        return False
    print_error(describe(error))
    given = [word for text in secrets for word in ("--secret", text)]
    subprocess.run([*own_program(session), "debug", *given], check=False)
    return True


def own_program(session: Session) -> list[str]:
    """Return what calls this program for the same state directory."""
    import sys

    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv[1:])]
    return [*program, "--root", os.fspath(session.state.root)]


def _show_steps(session: Session, line: DebugArguments) -> None:
    """List the steps of a build."""
    from tiffin.builder.api.steps.kept_steps import find_record, steps_of_build
    from tiffin.builder.cli.output.lists import show_rows

    rows = []
    for number, step in steps_of_build(session, find_record(session, line.build)):
        span = step.step.span
        state = "failed" if step.failed else "kept" if (step.index, step.number) in step.made else "not made"
        rows.append(
            {"Step": number, "State": state, "Where": f"{span.file}:{span.first_line}", "Name": step.label[:WIDTH]}
        )
    show_rows(rows, line.form, tuple(STEP_HEADINGS), STEP_HEADINGS)


def _show(session: Session, line: DebugArguments) -> None:
    if line.build:
        _show_steps(session, line)
        return
    from tiffin.builder.api.steps.debug import failed_steps
    from tiffin.builder.cli.output.lists import show_rows
    from tiffin.builder.plain_text import duration_text

    rows = [
        {
            "ID": failed.id,
            "Step": failed.label if len(failed.label) <= WIDTH else f"{failed.label[: WIDTH - 1]}…",
            "Where": failed.where,
            "CreatedAt": f"{duration_text(time.time() - failed.time)} ago",
            "Error": failed.error,
        }
        for failed in failed_steps(session)
    ]
    show_rows(rows, line.form, tuple(name for name in HEADINGS if name != "Error"), HEADINGS)


COMMANDS = (
    Command(
        "debug",
        DebugArguments,
        debug,
        about="Open a shell in a step of a build, as where one failed.",
        help="Run COMMAND, or the step's shell, where the last RUN step failed: with the files that its command left, "
        "its environment, user, working directory, mounts and network, and its command in the shell's history. "
        "What is changed there is thrown away. Secrets have to be given again. The exit code is the command's. "
        "--step and --build open any step of a build that is kept: the last 50, of which the last is meant if none is "
        "named.",
        section=BUILDS,
        examples=(
            "tiffin debug",
            "tiffin debug cat /tmp/config.log",
            "tiffin debug --before ls -l /src",
            "tiffin debug --list",
            "tiffin debug --step 4 env",
            "tiffin debug --edit",
            "tiffin debug --build app --step Dockerfile:7 --before",
        ),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

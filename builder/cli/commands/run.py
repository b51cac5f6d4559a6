"""tiffin run."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.run import EXIT_OWN_FAILURE
from tiffin.builder.api.session import Session
from tiffin.builder.cli.actions import run
from tiffin.builder.cli.options.click_command import rows_command
from tiffin.builder.cli.options.run_arguments import RunArguments


class OwnUsageError(click.UsageError):
    """Docker's exit code for every failure of our own, wrong usage included: others are the command's."""

    exit_code = EXIT_OWN_FAILURE


def _run(session: Session, line: RunArguments) -> None:
    sys.exit(run(session, line))


command = rows_command(
    "run",
    RunArguments,
    _run,
    usage_error=OwnUsageError,
    help="Run COMMAND (or the image's own) in a new container of IMAGE.\n\n"
    "The exit code is the command's; 125 says that tiffin failed, 126 and 127 that the command could not be run.",
    examples=(
        "tiffin run --rm -it app sh",
        "tiffin run --rm -p 8080:80 app",
        'tiffin run --rm -u "$(id -u):$(id -g)" -v .:/w -w /w app make',
    ),
)

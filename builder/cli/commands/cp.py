"""tiffin cp."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Word
from tiffin.builder.cli.output.console import print_error
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class CpOptionArguments(Arguments):
    """What is copied, and how."""

    source = Word("SOURCE")
    destination = Word("DESTINATION")
    archive = Flag("-a", "--archive", help="What is copied in belongs to the container's user.")
    follow = Flag("-L", "--follow-link", help="Copy what a link SOURCE leads to.")


class CpArguments(CpOptionArguments):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Do not say on a terminal how much was copied.")


def cp(session: Session, line: CpArguments) -> None:
    """Copy files between containers and this machine."""
    from tiffin.builder.api.containers.files.copy import STREAM, CopyOptions, copy

    options = CopyOptions(source=line.source, destination=line.destination, archive=line.archive, follows=line.follow)
    copied = copy(options, session, sys.stdin.buffer, sys.stdout.buffer)
    if not line.quiet and copied.destination != STREAM and sys.stdout.isatty():
        from tiffin.builder.plain_text import size_text

        print_error(f"Successfully copied {size_text(copied.size_bytes)} to {copied.destination}")


COMMANDS = (
    Command(
        "cp",
        CpArguments,
        cp,
        about="Copy files into and out of containers.",
        help=(
            "Copy a file or directory from SOURCE to DESTINATION. One of them, or both, is CONTAINER:PATH; - is a tar"
            " on stdin or stdout. The container may run or not."
        ),
        section=CONTAINERS,
        examples=(
            "tiffin cp web:/var/log/nginx .",
            "tiffin cp site/. web:/srv/www",
            "tiffin cp build:/output - | tar -t",
        ),
        aliases=("container cp",),
        usage_code=1,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin export."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.common import OutputArguments
from tiffin.builder.cli.options.option import Word
from tiffin.builder.cli.output.console import refuse_terminal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class ExportArguments(OutputArguments):
    """What may stand on the line."""

    name = Word("CONTAINER")


def export(session: Session, line: ExportArguments) -> None:
    """Write the archive."""
    from tiffin.builder.api.containers.export import export

    refuse_terminal(line.output)
    export(line.name, line.output, sys.stdout.buffer, session)


COMMANDS = (
    Command(
        "export",
        ExportArguments,
        export,
        about="Write the file system of a container as a tar.",
        help=("Write the file system of CONTAINER, which may have ended, as a tar; volumes are not in it."),
        section=CONTAINERS,
        examples=("tiffin export -o web.tar web", "tiffin export web | tar -t"),
        aliases=("container export",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin save."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import OutputArguments
from tiffin.builder.cli.options.option import Words
from tiffin.builder.cli.output.console import refuse_terminal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class SaveArguments(OutputArguments):
    """What may stand on the line."""

    images = Words("IMAGE...", needed=True)


def save(session: Session, line: SaveArguments) -> None:
    """Write the archive."""
    from tiffin.builder.api.images import save

    refuse_terminal(line.output)
    save(line.images, line.output, sys.stdout.buffer, session)


COMMANDS = (
    Command(
        "save",
        SaveArguments,
        save,
        about="Save images to an archive.",
        help="Save images to one archive: an OCI layout that docker load reads too.",
        section=IMAGES,
        examples=("tiffin save -o app.tar app:1", "tiffin save app | ssh host docker load"),
        aliases=("image save",),
    ),
)

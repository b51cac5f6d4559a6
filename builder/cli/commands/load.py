"""tiffin load."""

from __future__ import annotations

import sys
from pathlib import Path

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class LoadArguments(Arguments):
    """What may stand on the line."""

    source = Text("-i", "--input", metavar="FILE", help="Archive or layout directory (default: stdin).")
    quiet = Flag("-q", "--quiet", help="Print ids only.")


def load(session: Session, line: LoadArguments) -> None:
    """Load images and print their names."""
    from tiffin.builder.api import images
    from tiffin.builder.errors import UsageError

    if not line.source and sys.stdin.isatty():
        raise UsageError("nothing to load", remedy="use -i FILE, or redirect stdin")
    path = None if line.source in ("", "-") else Path(line.source)
    for image in images.load(path, sys.stdin.buffer, session):
        if line.quiet:
            print_result(str(image.id))
            continue
        for name in image.names:
            print_result(f"Loaded image: {name.familiar}")
        if not image.names:
            print_result(f"Loaded image ID: {image.id}")


COMMANDS = (
    Command(
        "load",
        LoadArguments,
        load,
        about="Load images from an archive.",
        help="Load images from an archive that docker, podman, buildah, skopeo or tiffin saved.",
        section=IMAGES,
        examples=("tiffin load -i app.tar", "docker save app | tiffin load"),
        aliases=("image load",),
    ),
)

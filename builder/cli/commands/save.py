"""tiffin save."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.session import Session, refuse_terminal
from tiffin.builder.image.archive_write import Saved, output_file, save


@click.command("save")
@click.argument("images", nargs=-1, required=True)
@click.option("-o", "--output", "output", default="-", metavar="FILE", help="File to write (default: stdout).")
@click.pass_obj
def command(session: Session, /, images: tuple[str, ...], output: str) -> None:
    """Save IMAGES to one archive: an OCI layout that docker load reads too."""
    refuse_terminal(output)
    chosen = []
    for text in images:
        image = session.store.find(text)
        chosen.append(
            Saved(
                manifest=session.blobs.read(image.descriptor.digest, image.descriptor.size_bytes),
                config=session.blobs.read(image.id, image.manifest.config.size_bytes),
                names=image.names,
            )
        )
    with output_file(output, sys.stdout.buffer) as sink:
        save(chosen, session.blobs, sink)

"""tiffin save."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.images import save
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import refuse_terminal


@click.command("save")
@click.argument("images", nargs=-1, required=True)
@click.option("-o", "--output", "output", default="-", metavar="FILE", help="File to write (default: stdout).")
@click.pass_obj
def command(session: Session, /, images: tuple[str, ...], output: str) -> None:
    """Save IMAGES to one archive: an OCI layout that docker load reads too."""
    refuse_terminal(output)
    save(images, output, sys.stdout.buffer, session)

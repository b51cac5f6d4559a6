"""tiffin load."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tiffin.builder.api import images
from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError


@click.command("load")
@click.option("-i", "--input", "source", metavar="FILE", help="Archive or layout directory (default: stdin).")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.pass_obj
def command(session: Session, /, source: str | None, quiet: bool) -> None:
    """Load images from what docker, podman, buildah, skopeo or tiffin saved."""
    if source is None and sys.stdin.isatty():
        raise UsageError("nothing to load", remedy="use -i FILE, or redirect stdin")
    path = None if source in (None, "-") else Path(source or "")
    for image in images.load(path, sys.stdin.buffer, session):
        if quiet:
            click.echo(str(image.id))
            continue
        for name in image.names:
            click.echo(f"Loaded image: {name.familiar}")
        if not image.names:
            click.echo(f"Loaded image ID: {image.id}")

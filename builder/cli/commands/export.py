"""tiffin export."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.containers import export
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import refuse_terminal


@click.command("export")
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", "output", default="-", metavar="FILE", help="File to write (default: stdout).")
@click.pass_obj
def command(session: Session, /, name: str, output: str) -> None:
    """Write the file system of CONTAINER, which may have ended, as a tar; volumes that have a name are not in it."""
    refuse_terminal(output)
    export(name, output, sys.stdout.buffer, session)

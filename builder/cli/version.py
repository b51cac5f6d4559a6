"""tiffin version."""

from __future__ import annotations

import click

from builder.version import VERSION


@click.command("version")
def command() -> None:
    """Show the version."""
    click.echo(f"tiffin version {VERSION}")

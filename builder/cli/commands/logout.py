"""tiffin logout."""

from __future__ import annotations

import click


@click.command("logout")
@click.argument("registry", default="docker.io")
def command(registry: str) -> None:
    """Forget the credentials for REGISTRY."""
    from tiffin.builder.api.login import logout

    name, was_there = logout(registry)
    click.echo(f"Removing login credentials for {name}" if was_there else f"Not logged in to {name}")

"""tiffin logout."""

from __future__ import annotations

import os

import click


@click.command("logout")
@click.argument("registry", default="docker.io")
def command(registry: str) -> None:
    """Forget the credentials for REGISTRY."""
    from tiffin.builder.registry.auth import DockerConfig
    from tiffin.builder.registry.credentials import registry_of

    registry = registry_of(registry)
    if DockerConfig.load(os.environ).erase(registry):
        click.echo(f"Removing login credentials for {registry}")
    else:
        click.echo(f"Not logged in to {registry}")

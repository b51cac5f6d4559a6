"""tiffin rm."""

from __future__ import annotations

import contextlib

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import each
from tiffin.builder.containers.container import Containers
from tiffin.builder.errors import ImageNotFoundError, UsageError


@click.command("rm")
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Kill it if it runs; a missing one is no error.")
@click.option("-v", "--volumes", is_flag=True, help="With the volumes that have no name, which go in any case.")
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove containers by name or id."""
    containers = Containers(session.state)
    if force:
        for name in names:
            with contextlib.suppress(ImageNotFoundError, UsageError):  # told below
                state = containers.find(name)
                if containers.is_alive(state.id):
                    containers.kill(state)
    session.isolate(None)

    def remove(name: str) -> None:
        containers.remove(containers.find(name))
        click.echo(name)

    each(names, remove, ignored=ImageNotFoundError if force else ())

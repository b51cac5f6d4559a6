"""tiffin rm."""

from __future__ import annotations

import click

from builder.cli.session import Session
from builder.containers.container import Containers


@click.command("rm")
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Kill it if it runs.")
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], force: bool) -> None:
    """Remove containers by name or id."""
    containers = Containers(session.state)
    states = [containers.find(name) for name in names]
    if force:
        for state in states:
            if containers.is_alive(state.id):
                containers.kill(state)
    session.become_root(None)
    for name, state in zip(names, states, strict=True):
        containers.remove(state)
        click.echo(name)

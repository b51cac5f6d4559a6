"""tiffin ps."""

from __future__ import annotations

import json
import shlex
import time

import click

from builder.cli.images import print_table
from builder.cli.session import Session
from builder.containers.container import SHORT_ID_LENGTH, Containers, ContainerState

HEADINGS = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"]
MAX_COMMAND_LENGTH = 20  # Docker's
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@click.command("ps")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that ended.")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Print whole ids and commands.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def command(session: Session, /, everything: bool, quiet: bool, no_trunc: bool, form: str) -> None:
    """List the containers that run."""
    containers = Containers(session.state)
    rows = [(state, containers.is_alive(state.id)) for state in containers.states()]
    rows = [(state, alive) for state, alive in rows if alive or everything]
    if quiet:
        for state, _ in rows:
            click.echo(_id(state, no_trunc))
    elif form == "json":
        for state, alive in rows:
            members = {name: getattr(state, name) for name in ("id", "name", "image", "image_id", "command", "pid")}
            click.echo(json.dumps(members | {"running": alive, "exit_code": state.exit_code, "created": state.created}))
    else:
        print_table([HEADINGS, *(_row(state, alive, no_trunc) for state, alive in rows)])


def _row(state: ContainerState, alive: bool, no_trunc: bool) -> list[str]:
    text = shlex.join(state.command)
    if not no_trunc and len(text) > MAX_COMMAND_LENGTH:
        text = text[: MAX_COMMAND_LENGTH - 1] + "…"
    created = f"{_span(time.time() - state.created)} ago"
    return [_id(state, no_trunc), state.image, text, created, _status(state, alive), state.name]


def _id(state: ContainerState, no_trunc: bool) -> str:
    return state.id if no_trunc else state.id[:SHORT_ID_LENGTH]


def _status(state: ContainerState, alive: bool) -> str:
    if alive:
        return f"Up {_span(time.time() - state.created)}"
    if state.exit_code is None:
        return "Dead"
    return f"Exited ({state.exit_code}) {_span(time.time() - state.finished)} ago"


def _span(seconds: float) -> str:
    for length, unit in _UNITS:
        number = int(seconds // length)
        if number:
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "Less than a second"

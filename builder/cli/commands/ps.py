"""tiffin ps."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag, Many
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import JSON, created_text, filters_of, is_podman, show_rows
from tiffin.builder.plain_text import duration_text, rfc3339
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.state import ContainerState

HEADINGS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "CreatedAt": "CREATED AT",
    "Status": "STATUS", "State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Size": "SIZE",
}  # fmt: skip
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
MAX_COMMAND_LENGTH = 20  # Docker's


class PsArguments(ListArguments):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also list containers that ended.")
    quiet = Flag("-q", "--quiet", help="Print ids only.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids and commands.")
    filters = Many("-f", "--filter", metavar="NAME=VALUE", help="name=, id=, status=, label=, health=; repeatable.")


def ps(session: Session, line: PsArguments) -> None:
    """Print a list of containers."""
    from tiffin.builder.containers.container import Containers

    wanted = filters_of(line.filters, ("name", "id", "status", "label", "health"))
    containers = Containers(session.state)
    rows = [(state, containers.is_alive(state.id)) for state in containers.states()]
    rows = [row for row in rows if (row[1] or line.everything or "status" in wanted) and _is_wanted(*row, wanted)]
    if line.quiet:
        for state, _ in rows:
            print_result(_id(state, line.no_trunc))
    elif line.form == JSON and is_podman():
        import json

        print_result(json.dumps([_podman_row(state, alive) for state, alive in rows], indent=4))
    else:
        show_rows([container_row(state, alive, line.no_trunc) for state, alive in rows], line.form, COLUMNS, HEADINGS)


def _is_wanted(state: ContainerState, alive: bool, wanted: Mapping[str, list[str]]) -> bool:
    """Whether it fits one value of every filter."""
    return (
        any(text in state.name for text in wanted.get("name", [""]))
        and any(state.id.startswith(text) for text in wanted.get("id", [""]))
        and _state(state, alive) in wanted.get("status", [_state(state, alive)])
        and _health(state, alive) in wanted.get("health", [_health(state, alive)])
        and all(_has_label(state, text) for text in wanted.get("label", []))
    )


def _health(state: ContainerState, alive: bool) -> str:
    return (state.health if alive else state.health and "unhealthy") or "none"


def _has_label(state: ContainerState, text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in state.labels and (not equals or state.labels[name] == value)


def container_row(state: ContainerState, alive: bool, no_trunc: bool) -> dict[str, object]:
    """Return a container by the names that docker gives templates."""
    import shlex

    text = shlex.join(state.command)
    if not no_trunc and len(text) > MAX_COMMAND_LENGTH:
        text = text[: MAX_COMMAND_LENGTH - 1] + "…"
    return {
        "ID": _id(state, no_trunc),
        "Image": state.image,
        "Command": f'"{text}"',
        "RunningFor": f"{duration_text(time.time() - state.created)} ago",
        "CreatedAt": created_text(rfc3339(state.created)),
        "Status": _status(state, alive),
        "State": _state(state, alive),
        "Ports": ", ".join(map(str, state.ports)) if alive else "",
        "Names": state.name,
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(state.labels.items())),
        "LocalVolumes": "0",
        "Mounts": "",
        "Networks": "",
        "Size": "0B",
    }


def _podman_row(state: ContainerState, alive: bool) -> dict[str, object]:
    """Return a container as podman writes it, whose JSON is one array."""
    return {
        "Id": state.id,
        "Names": [state.name],
        "Image": state.image,
        "ImageID": state.image_id.removeprefix("sha256:"),
        "Command": list(state.command),
        "Created": int(state.created),
        "CreatedAt": f"{duration_text(time.time() - state.created)} ago",
        "StartedAt": int(state.started),
        "Exited": state.status(alive=alive) in ("exited", "dead"),
        "ExitedAt": int(state.finished),
        "ExitCode": state.exit_code or 0,
        "State": _state(state, alive),
        "Status": _status(state, alive),
        "Pid": state.pid if alive else 0,
        "Labels": dict(state.labels),
        "Mounts": [],
        "Networks": [],
        "Ports": list(map(str, state.ports)),
        "Pod": "",
        "PodName": "",
    }


def _id(state: ContainerState, no_trunc: bool) -> str:
    from tiffin.builder.containers.container import SHORT_ID_LENGTH

    return state.id if no_trunc else state.id[:SHORT_ID_LENGTH]


def _state(state: ContainerState, alive: bool) -> str:
    return state.status(alive=alive)


def _status(state: ContainerState, alive: bool) -> str:
    def ago(moment: float) -> str:
        return duration_text(time.time() - moment)

    match state.status(alive=alive):
        case "running":
            health = "health: starting" if state.health == "starting" else state.health
            return f"Up {ago(state.started or state.created)}" + (f" ({health})" if health else "")
        case "paused":
            return f"Up {ago(state.started)} (Paused)"
        case "restarting":
            return f"Restarting ({state.exit_code}) {ago(state.finished)} ago"
        case "exited":
            return f"Exited ({state.exit_code}) {ago(state.finished)} ago"
        case name:
            return name.capitalize()


COMMANDS = (
    Command(
        "ps",
        PsArguments,
        ps,
        about="List containers.",
        help="List running containers.",
        section=CONTAINERS,
        examples=("tiffin ps -a", "tiffin ps -a --filter status=exited --format '{{.Names}}'"),
        aliases=("container ls", "container ps", "container list"),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

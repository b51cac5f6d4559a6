"""tiffin ps."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag, Many, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import JSON, TABLE, created_text, filters_of, is_podman, show_rows
from tiffin.builder.errors import UsageError
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
MAX_COMMAND_LENGTH, MAX_MOUNT_LENGTH = 20, 15  # Docker's


class PsArguments(ListArguments):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also list containers that ended.")
    quiet = Flag("-q", "--quiet", help="Print ids only.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids and commands.")
    filters = Many("-f", "--filter", metavar="NAME=VALUE", help="name=, status=, label=, health=, ancestor=, …")
    size = Flag("-s", "--size", help="Show how large their files are.")
    last = Text("-n", "--last", metavar="NUMBER", help="The last ones made, whatever became of them.")
    latest = Flag("-l", "--latest", help="The last one made.")

    def count(self) -> int:
        """Return how many are wanted at most, 0 for all. Raises UsageError."""
        try:
            return 1 if self.latest else max(int(self.last or 0), 0)
        except ValueError as exc:
            raise UsageError(f'--last "{self.last}" is not a whole number', remedy="write -n 5") from exc


def ps(session: Session, line: PsArguments) -> None:
    """Print a list of containers. Raises UsageError."""
    from tiffin.builder.api.containers.watch.listing import FILTERS, list_containers

    found = list_containers(session, filters_of(line.filters, FILTERS), everything=line.everything, last=line.count())
    if line.quiet:
        for state, _ in found:
            print_result(_id(state, line.no_trunc))
    elif line.form == JSON and is_podman():
        import json

        print_result(json.dumps([_podman_row(session, state, alive) for state, alive in found], indent=4))
    else:
        rows = [
            container_row(state, alive, line.no_trunc, **(_around(session, state, line) if line.form != TABLE else {}))
            for state, alive in found
        ]
        sizes = _size_texts(session, [state for state, _ in found]) if line.size or ".Size" in line.form else {}
        rows = [{**row, "Size": sizes.get(state.id, "0B")} for row, (state, _) in zip(rows, found, strict=True)]
        show_rows(rows, line.form, (*COLUMNS, "Size") if line.size else COLUMNS, HEADINGS)


def _size_texts(session: Session, states: Sequence[ContainerState]) -> dict[str, str]:
    """Return the sizes of containers in docker's words, by their ids."""
    from tiffin.builder.api.containers.files.sizes import sizes_of
    from tiffin.builder.plain_text import size_text

    return {
        identity: f"{size_text(sizes.changed)} (virtual {size_text(sizes.whole)})"
        for identity, sizes in sizes_of(states, session).items()
    }


def container_row(
    state: ContainerState, alive: bool, no_trunc: bool, mounts: str = "", networks: str = ""
) -> dict[str, object]:
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
        "LocalVolumes": str(len(state.volumes)),
        "Mounts": mounts,
        "Networks": networks,
        "Size": "0B",
    }


def _around(session: Session, state: ContainerState, line: PsArguments) -> dict[str, str]:
    """Return the mounts and the networks of a container, which are not written in its state."""
    from tiffin.builder.api.containers.watch.listing import mount_names, network_names

    names = mount_names(session, state)
    if not line.no_trunc:
        names = [name if len(name) <= MAX_MOUNT_LENGTH else f"{name[: MAX_MOUNT_LENGTH - 1]}…" for name in names]
    return {"mounts": ",".join(names), "networks": ",".join(network_names(session, state))}


def _podman_row(session: Session, state: ContainerState, alive: bool) -> dict[str, object]:
    """Return a container as podman writes it, whose JSON is one array."""
    from tiffin.builder.api.containers.watch.listing import mount_names, network_names

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
        "Mounts": mount_names(session, state),
        "Networks": network_names(session, state),
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

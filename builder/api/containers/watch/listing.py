"""Which containers docker ps lists: its filters, and the last ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, TiffinError
from tiffin.builder.options import has_labels

STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead", "stopped", "configured")
PODMANS = {"stopped": "exited", "configured": "created"}
HEALTH = ("starting", "healthy", "unhealthy", "none")
FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since", "status",
    "volume",
)  # fmt: skip
Row = tuple[ContainerState, bool]  # and whether it is alive


def list_containers(
    session: Session, wanted: Mapping[str, Sequence[str]], *, everything: bool = False, last: int = 0
) -> list[Row]:
    """Return containers, newest first: those that fit all filters; `last` is how many at most, 0 for all.

    Without `everything` only those that run. Raises ContainerError.
    """
    containers = Containers(session.state)
    check_filters(wanted)
    states = containers.states()
    filters = _Filters(session, states, wanted)
    found: list[Row] = []
    for state in states:
        alive = containers.is_alive(state.id)
        if (alive or everything or last or "status" in wanted) and filters.fit(state, alive):
            found.append((state, alive))
    return found[:last] if last else found


def check_filters(wanted: Mapping[str, Sequence[str]]) -> None:
    """Raise ContainerError for a value that no container can have."""
    for name, known in (("status", STATUSES), ("health", HEALTH)):
        for value in wanted.get(name, ()):
            if value not in known:
                raise ContainerError(f"invalid filter '{name}={value}'", remedy=f"use one of {', '.join(known)}")
    for value in wanted.get("exited", ()):
        if not value.lstrip("-").isdecimal():
            raise ContainerError(f"invalid filter 'exited={value}'", remedy="write exited=0")


def health_of(state: ContainerState, *, alive: bool) -> str:
    """Return docker's word for a container's health."""
    return (state.health if alive else state.health and "unhealthy") or "none"


class _Filters:
    def __init__(self, session: Session, states: Sequence[ContainerState], wanted: Mapping[str, Sequence[str]]) -> None:
        self._session = session
        self._wanted = wanted
        self._before = min((_find(states, text).created for text in wanted.get("before", ())), default=None)
        self._since = max((_find(states, text).created for text in wanted.get("since", ())), default=None)

    def fit(self, state: ContainerState, alive: bool) -> bool:
        """Whether a container fits one value of every filter, and all labels."""
        status = state.status(alive=alive)
        return (
            self._any("name", lambda text: _matches(text, state.name) or _matches(text, f"/{state.name}"))
            and self._any("id", lambda text: _matches(text, state.id))
            and self._any("status", lambda text: PODMANS.get(text, text) == status)
            and self._any("health", lambda text: text == health_of(state, alive=alive))
            and self._any("exited", lambda text: status == "exited" and state.exit_code == int(text))
            and has_labels(state.labels, self._wanted.get("label", ()))
            and (self._before is None or state.created < self._before)
            and (self._since is None or state.created > self._since)
            and self._any("ancestor", lambda text: self._descends(state, text))
            and self._any("network", lambda text: _has_network(self._session, state, text))
            and self._any("volume", lambda text: text in (*state.volumes, *state.volumes.values()))
            and self._any(
                "publish", lambda text: alive and any(_is_port(text, p.host, p.protocol) for p in state.ports)
            )
            and self._any(
                "expose", lambda text: alive and any(_is_port(text, p.container, p.protocol) for p in state.ports)
            )
        )

    def _any(self, name: str, fits: Callable[[str], bool]) -> bool:
        return name not in self._wanted or any(fits(text) for text in self._wanted[name])

    def _descends(self, state: ContainerState, text: str) -> bool:
        """Whether its image is that of a name or id, or made from it."""
        if text in (state.image, state.image_id) or state.image_id.removeprefix("sha256:").startswith(text):
            return True
        try:
            image = self._session.store.find(text)
        except TiffinError:
            return False
        layers = tuple(str(diff_id) for diff_id in image.config.diff_ids)
        return str(image.id) == state.image_id or (bool(layers) and state.layers[: len(layers)] == layers)


def _find(states: Sequence[ContainerState], text: str) -> ContainerState:
    for state in states:
        if state.name == text or (text and state.id.startswith(text)):
            return state
    raise ContainerError(f"No such container: {text}", remedy="see tiffin ps -a")


def _matches(pattern: str, text: str) -> bool:
    """Tell whether a text is a filter's value, or is matched by it, as docker's Match does."""
    try:
        return text == pattern or re.search(pattern, text) is not None
    except re.error:
        return False


def _has_network(session: Session, state: ContainerState, text: str) -> bool:
    names = network_names(session, state)
    return text in names


def _is_port(text: str, number: int, protocol: str) -> bool:
    """Tell whether a port is one of 80, 80/tcp or 8000-8100/udp."""
    ports, _, wanted = text.partition("/")
    first, _, last = ports.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        return False
    return int(first) <= number <= int(last or first) and (wanted or "tcp") == protocol


def network_names(session: Session, state: ContainerState) -> list[str]:
    """Return the names of the networks of a container, as docker has them."""
    from tiffin.builder.api.containers.networks.settings import PRIVATE_AS_DOCKER
    from tiffin.builder.containers.lifecycle.record import ContainerRecord

    if state.networks:
        return [endpoint.wanted.name for endpoint in state.networks]
    try:
        kind = state.network or ContainerRecord.read(Containers(session.state).folder(state.id)).options.network
    except TiffinError:
        return []
    return [PRIVATE_AS_DOCKER.get(kind, kind)]


def mount_names(session: Session, state: ContainerState) -> list[str]:
    """Return the volumes and directories that a container shows, as docker ps lists them."""
    from tiffin.builder.containers.lifecycle.record import ContainerRecord
    from tiffin.builder.sandbox.child.spec import Bind

    try:
        mounts = ContainerRecord.read(Containers(session.state).folder(state.id)).options.mounts
    except TiffinError:
        mounts = ()
    return [*state.volumes.values(), *(mount.host_path for mount in mounts if isinstance(mount, Bind))]

"""The containers of a project, found by their labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from tiffin.builder.api.compose import naming
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.attachment import KILLED
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A container of a project."""

    state: ContainerState
    is_alive: bool

    @property
    def name(self) -> str:
        """Its name."""
        return self.state.name

    @property
    def service(self) -> str:
        """The service that it is of."""
        return self.state.labels.get(naming.SERVICE, "")

    @property
    def number(self) -> int:
        """Which one of that service it is."""
        text = self.state.labels.get(naming.NUMBER, "")
        return int(text) if text.isdecimal() else 0

    @property
    def is_one_off(self) -> bool:
        """Whether `compose run` made it."""
        return self.state.labels.get(naming.ONE_OFF) == "True"

    @property
    def status(self) -> str:
        """Docker's word for what it is."""
        return self.state.status(alive=self.is_alive)

    @property
    def exit_code(self) -> int:
        """How it ended, if it did: as by SIGKILL where its supervisor was killed."""
        return KILLED if self.state.exit_code is None else self.state.exit_code

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The services that its own depends on, as it was when the container was made."""
        items = self.state.labels.get(naming.DEPENDS, "").split(",")
        return tuple(item.partition(":")[0] for item in items if item)


def members(session: Session, project: str, *, one_off: bool | None = False) -> list[Member]:
    """Return the containers of a project, in the order of services and numbers; `one_off` None: both kinds."""
    if not session.has_state():
        return []
    containers = Containers(session.state)
    found = [
        Member(state=state, is_alive=containers.is_alive(state.id))
        for state in containers.states()
        if state.labels.get(naming.PROJECT) == project
    ]
    found = [one for one in found if one_off is None or one.is_one_off is one_off]
    return sorted(found, key=lambda one: (one.service, one.number, one.name))


def projects(session: Session) -> dict[str, list[Member]]:
    """Return all projects that have containers."""
    names: set[str] = set()
    if session.has_state():
        names = {name for state in Containers(session.state).states() if (name := state.labels.get(naming.PROJECT))}
    return {name: members(session, name, one_off=None) for name in sorted(names)}


def of_services(found: Collection[Member], services: Collection[str]) -> list[Member]:
    """Return those of some services, of all for none."""
    return [one for one in found if not services or one.service in services]


def one_of(found: Collection[Member], service: str, index: int, *, is_running: bool = True) -> Member:
    """Return the container of a service, of that number unless it is 0; one that `compose run` made where there is
    none else. Raises ContainerError.
    """
    for one in sorted(found, key=lambda one: one.is_one_off):
        is_meant = index == 0 or (index == one.number and not one.is_one_off)
        if one.service == service and is_meant and (one.is_alive or not is_running):
            return one
    which = f" container #{index}" if index else ""
    raise ContainerError(
        f'service "{service}" is not running{which}', remedy=f"start it with tiffin compose up -d {service}"
    )


def in_layers(
    found: Collection[Member], depends: Callable[[str], Collection[str]] | None = None
) -> Iterator[list[Member]]:
    """Yield containers that may be stopped together: those first that no other service depends on.

    `depends` says what a service depends on; without it what the containers were made with.
    """
    left = {one.service for one in found}
    made: dict[str, set[str]] = {}
    for one in found:
        made.setdefault(one.service, set()).update(one.depends_on)
    while left:
        needed = {need for name in left for need in (depends(name) if depends else made[name]) if need != name}
        free = left - needed or left  # a circle
        yield [one for one in found if one.service in free]
        left -= free


def check_known(found: Collection[Member], services: Collection[str]) -> None:
    """Raise ContainerError for a service that no container is of."""
    missing = sorted(set(services) - {one.service for one in found})
    if missing:
        raise ContainerError(f"no such service: {missing[0]}", remedy="see tiffin compose ps -a")

"""Wait until containers are as others need them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence

from tiffin.builder.api.compose import naming
from tiffin.builder.api.compose.members import Member, members
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import COMPLETED, HEALTHY, Service
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.changes import CREATED, MOVED_TO, REMOVED, Changes
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.errors import ContainerError, TiffinError
from tiffin.builder.events import ResourceChanged, Sink, WarningMessage

LOOK_SECONDS = 0.5  # where no file tells: what was killed lets go a moment after its end
STILL_SECONDS = 0.3  # that a container without a health check has to run to be up


def await_dependencies(service: Service, project: str, session: Session, sink: Sink) -> None:
    """Wait for what a service depends on. Raises ContainerError."""
    for name, dependency in service.depends_on.items():
        if dependency.condition not in (HEALTHY, COMPLETED):
            continue
        try:
            for one in _of([name], project, session):
                _await(one, dependency.condition, session, sink)
        except ContainerError as exc:
            if dependency.required:
                raise
            sink.emit(WarningMessage(message=f"optional dependency {name} failed to start: {exc.message}"))


def _await(member: Member, condition: str, session: Session, sink: Sink) -> None:
    with _watching([member], session) as changes:
        while not _is_met(_again(member, session), condition, session, sink):
            changes.wait(LOOK_SECONDS)


def _is_met(now: Member, condition: str, session: Session, sink: Sink) -> bool:
    """Tell whether a container is as another needs it. Raises ContainerError if it never will be."""
    if condition == COMPLETED and now.status == "exited":
        code = now.state.exit_code or 0
        if code:
            raise ContainerError(
                f'service "{now.service}" didn\'t complete successfully: exit {code}',
                remedy=f"see tiffin logs {now.name}",
            )
        sink.emit(ResourceChanged(kind="Container", name=now.name, change="Exited"))
        return True
    if condition == HEALTHY and is_up(now, session, wants_health=True):
        sink.emit(ResourceChanged(kind="Container", name=now.name, change="Healthy"))
        return True
    return False


@contextlib.contextmanager
def _watching(found: Sequence[Member], session: Session) -> Iterator[Changes]:
    """Give what tells that one of these containers may have changed."""
    containers = Containers(session.state)
    with Changes(session.state.containers, CREATED) as changes:
        for one in found:
            changes.add(containers.folder(one.state.id), MOVED_TO | REMOVED)
            changes.add_holder(one.state)
        yield changes


def await_up(project: str, services: Sequence[str], session: Session, sink: Sink, *, seconds: float | None) -> None:
    """Wait until the containers of services run, and are healthy where that is checked. Raises ContainerError."""
    begun = time.monotonic()
    still, deadline = begun + STILL_SECONDS, None if seconds is None else begun + seconds
    told: set[str] = set()
    with _watching(_of(services, project, session), session) as changes:
        while True:
            found = _of(services, project, session)
            up = [one for one in found if is_up(one, session)]
            for one in up:
                if one.name not in told and one.state.health:
                    told.add(one.name)
                    sink.emit(ResourceChanged(kind="Container", name=one.name, change="Healthy"))
            now = time.monotonic()
            if len(up) == len(found) and now > still:
                return
            if deadline is not None and now > deadline:
                late = ", ".join(one.name for one in found if one not in up)
                raise ContainerError(
                    f"application not healthy after {seconds:g}s: {late}", remedy="see tiffin compose logs"
                )
            moments = (now + LOOK_SECONDS, still, deadline)
            changes.wait(min(moment - now for moment in moments if moment is not None and moment >= now))


def _of(services: Collection[str], project: str, session: Session) -> list[Member]:
    return [one for one in members(session, project) if one.service in services]


def is_up(member: Member, session: Session, *, wants_health: bool = False) -> bool:
    """Tell whether a container runs, and is healthy where that is checked. Raises ContainerError if it never will."""
    if not member.is_alive:
        if member.state.exit_code == 0 and not wants_health and member.state.started:
            return True  # it has done its work
        raise ContainerError(
            f"dependency failed to start: container {member.name} exited ({member.exit_code})",
            remedy=f"see tiffin logs {member.name}",
        )
    health = member.state.health
    if health == "unhealthy":
        raise ContainerError(
            f"dependency failed to start: container {member.name} is unhealthy", remedy=f"see tiffin logs {member.name}"
        )
    if not health and wants_health and member.state.started and not _is_checked(member, session):
        raise ContainerError(
            f"dependency failed to start: container {member.name} has no healthcheck configured",
            remedy="add healthcheck: to its service",
        )
    return bool(member.state.started) and member.status == "running" and health in ("", "healthy")


def _is_checked(member: Member, session: Session) -> bool:
    from tiffin.builder.containers.health import check_of

    try:
        record = ContainerRecord.read(Containers(session.state).folder(member.state.id))
    except TiffinError:
        return False
    return check_of(record.options.health, record.config) is not None


def _again(member: Member, session: Session) -> Member:
    """Look at a container again. Raises ContainerError for one that is gone."""
    for one in members(session, member.state.labels[naming.PROJECT], one_off=None):
        if one.state.id == member.state.id:
            return one
    raise ContainerError(f"container {member.name} is gone", remedy="begin again with tiffin compose up")

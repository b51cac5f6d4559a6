"""Stop, start, kill, remove, pause the containers of a project; take all of it down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tiffin.builder.api.compose.converge import remove_member, start_member, stop_member
from tiffin.builder.api.compose.jobs import Job, run_apart, run_jobs
from tiffin.builder.api.compose.members import Member, in_layers, members, of_services
from tiffin.builder.api.compose.naming import image_of
from tiffin.builder.api.compose.resources import remove_files, remove_networks, remove_volumes
from tiffin.builder.api.compose.waiting import await_dependencies
from tiffin.builder.api.containers import lifecycle
from tiffin.builder.api.containers.change import pausing
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import Project, Service
from tiffin.builder.containers.volumes.store import is_made_up
from tiffin.builder.errors import ImageNotFoundError, TiffinError
from tiffin.builder.events import ResourceChanged, Sink, WarningMessage
from tiffin.builder.options import is_on
from tiffin.cache.foundation.frozen import dataclass

ALL, LOCAL = "all", "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """How a project is taken down."""

    services: tuple[str, ...] = ()
    seconds: int | None = None
    volumes: bool = False
    images: str = ""  # ALL, or LOCAL: those that have no name of their own
    orphans: bool = False


def stop(
    found: Sequence[Member], session: Session, sink: Sink, *, seconds: int | None = None, project: Project | None = None
) -> None:
    """Stop containers, those first that others depend on last."""
    for layer in in_layers(found):
        alive = [one for one in layer if one.is_alive]
        _each(alive, lambda one: _stopper(one, seconds, _service(project, one)), session, sink)


def _stopper(member: Member, seconds: int | None, service: Service | None) -> Callable[[Session, Sink], Any]:
    return lambda session, sink: stop_member(member, session, sink, seconds, service)


def _service(project: Project | None, member: Member) -> Service | None:
    return project.services.get(member.service) if project is not None else None


def start(found: Sequence[Member], session: Session, sink: Sink, *, project: Project | None = None) -> None:
    """Start containers, those first that others depend on. Raises TiffinError."""
    for layer in reversed(list(in_layers(found))):
        dead = [one for one in layer if not one.is_alive]
        _each(dead, lambda one: _starter(one, _service(project, one), project), session, sink)


def _starter(member: Member, service: Service | None, project: Project | None) -> Callable[[Session, Sink], Any]:
    def begin(session: Session, sink: Sink) -> None:
        if service is not None and project is not None:
            await_dependencies(service, project.name, session, sink)
        start_member(member.name, service, session, sink)

    return begin


def restart(
    found: Sequence[Member], session: Session, sink: Sink, *, seconds: int | None = None, project: Project | None = None
) -> None:
    """Stop containers and start them again. Raises TiffinError."""
    stop(found, session, sink, seconds=seconds, project=project)
    again = [Member(state=one.state, is_alive=False) for one in found]
    start(again, session, sink, project=project)


def restarted_with(services: Collection[str], project: Project) -> set[str]:
    """Return the other services that are restarted with some: by depends_on.restart, directly or through others."""
    found = set(services)
    while more := {
        service.name
        for service in project.services.values()
        if service.name not in found and any(one.restart and name in found for name, one in service.depends_on.items())
    }:
        found |= more
    return found - set(services)


def kill(found: Sequence[Member], session: Session, sink: Sink, signal_name: str) -> None:
    """Send a signal to the commands of containers that run."""
    for one in found:
        if one.is_alive:
            lifecycle.kill(one.state.id, session, signal_name)
            sink.emit(ResourceChanged(kind="Container", name=one.name, change="Killed"))


def pause(found: Sequence[Member], session: Session, sink: Sink) -> None:
    """Freeze containers that run. Raises TiffinError."""
    for one in found:
        if one.status in ("running", "paused"):  # which it refuses
            pausing.pause(one.state.id, session, sink)
            sink.emit(ResourceChanged(kind="Container", name=one.name, change="Paused"))


def unpause(found: Sequence[Member], session: Session, sink: Sink) -> None:
    """Let containers go on that are frozen. Raises TiffinError."""
    for one in found:
        if one.status == "paused":
            pausing.unpause(one.state.id, session)
            sink.emit(ResourceChanged(kind="Container", name=one.name, change="Unpaused"))


def remove(found: Sequence[Member], session: Session, sink: Sink, *, volumes: bool = False) -> None:
    """Remove containers that do not run."""
    _each(found, lambda one: lambda session, sink: remove_member(one, session, sink), session, sink)
    anonymous = _anonymous(found) if volumes else []
    if anonymous:
        run_apart(lambda session, sink: remove_volumes("", session, sink, anonymous), session, sink)


def _anonymous(found: Sequence[Member]) -> list[str]:
    """Return the volumes without a name that containers have."""
    return [name for one in found for name in one.state.volumes.values() if is_made_up(name)]


def _each(
    found: Collection[Member], work: Callable[[Member], Callable[[Session, Sink], Any]], session: Session, sink: Sink
) -> None:
    run_jobs([Job(key=one.name, do=work(one)) for one in found], session, sink)


def down(name: str, project: Project | None, how: Down, session: Session, sink: Sink) -> None:
    """Stop and remove the containers of a project, and what they shared; `project` None: it has no files."""
    found = members(session, name, one_off=None)
    known = project.services.keys() | project.disabled.keys() if project is not None else None
    gone = of_services(found, how.services)
    strangers = [one for one in gone if known is not None and one.service not in known]
    variables = project.environment if project is not None else {}
    if strangers and not _removes_orphans(how.orphans, variables):
        gone = [one for one in gone if one not in strangers]
        _warn_of_orphans(name, variables, strangers, sink)
    stop(gone, session, sink, seconds=how.seconds, project=project)
    remove(gone, session, sink)
    if not how.services:
        remove_files(session, name)
        run_apart(lambda session, sink: remove_networks(name, session, sink), session, sink)
    if how.volumes and not how.services:
        anonymous = _anonymous(gone)
        run_apart(lambda session, sink: remove_volumes(name, session, sink, anonymous), session, sink)
    if how.images and project is not None:
        _remove_images(project, gone, how, session, sink)


def _remove_images(project: Project, gone: Sequence[Member], how: Down, session: Session, sink: Sink) -> None:
    services = [one for one in project.services.values() if not how.services or one.name in how.services]
    names = [image_of(project, one) for one in services if how.images == ALL or not one.image]

    def work(session: Session, sink: Sink) -> None:
        for name in dict.fromkeys(names):
            try:
                session.store.remove(session.store.find(name))
            except ImageNotFoundError:
                continue
            except TiffinError as exc:
                sink.emit(WarningMessage(message=exc.message))
            else:
                sink.emit(ResourceChanged(kind="Image", name=name, change="Removed"))

    run_apart(work, session, sink)


def _warn_of_orphans(project: str, variables: Mapping[str, str], orphans: Sequence[Member], sink: Sink) -> None:
    """Tell of containers whose services are no longer in the files, unless a variable says to be silent."""
    if is_on(variables, "COMPOSE_IGNORE_ORPHANS"):
        return
    names = " ".join(sorted(one.name for one in orphans))
    text = (
        f"Found orphan containers ([{names}]) for this project. If you removed or renamed this service in your compose "
        "file, you can run this command with the --remove-orphans flag to clean it up."
    )
    sink.emit(WarningMessage(message=text))


def _orphans(project: Project, session: Session) -> list[Member]:
    """Return the containers of a project whose services are not in its files, and those of `compose run` that ended."""
    known = project.services.keys() | project.disabled.keys()
    found = members(session, project.name, one_off=None)
    return [one for one in found if (not one.is_alive if one.is_one_off else one.service not in known)]


def mind_orphans(project: Project, session: Session, sink: Sink, *, removes: bool, seconds: int | None = None) -> None:
    """Remove the orphans of a project, or tell of them."""
    found = _orphans(project, session)
    if found and _removes_orphans(removes, project.environment):
        stop(found, session, sink, seconds=seconds)
        remove(found, session, sink)
    elif found:
        _warn_of_orphans(project.name, project.environment, found, sink)


def _removes_orphans(asked: bool, variables: Mapping[str, str]) -> bool:
    """Whether orphans are removed: where the line says so, or a variable."""
    return asked or is_on(variables, "COMPOSE_REMOVE_ORPHANS")

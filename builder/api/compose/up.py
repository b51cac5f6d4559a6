"""Bring a project up."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.compose.converge import Convergence, Converger
from tiffin.builder.api.compose.images import Images, check_refused
from tiffin.builder.api.compose.life import mind_orphans
from tiffin.builder.api.compose.makers import Makers
from tiffin.builder.api.compose.resources import make_resources
from tiffin.builder.api.compose.waiting import await_up
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.order import chosen
from tiffin.builder.compose.model.values import Project
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.builder.events import Sink
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Up(Convergence):
    """How a project is brought up: all its services, or those named. `builds` False: nothing is built."""

    services: tuple[str, ...] = ()
    dependencies: bool = True
    builds: bool | None = None
    pulls: str = ""
    removes_orphans: bool = False
    waits: bool = False
    all_resources: bool = False  # also those that no service uses
    replaces_volumes: bool = False  # those that are not as the files say: their data is lost
    wait_seconds: float | None = None


def up(project: Project, how: Up, session: Session, sink: Sink, makers: Makers) -> Sequence[str]:
    """Bring a project up; return the services that are. Raises TiffinError."""
    services = chosen(project, how.services, with_dependencies=how.dependencies)
    if not services and not how.all_resources:
        raise UsageError("no service selected", remedy="add services, or activate a profile")
    for name in how.scale:
        if name not in project.services:
            raise ContainerError(
                f"no such service: {name}", remedy=f"the services are {', '.join(sorted(project.services))}"
            )
    check_refused(services.values())
    session.state  # made before there are children  # noqa: B018
    images = Images(project, session, sink, makers).ensure(list(services.values()), builds=how.builds, pulls=how.pulls)
    make_resources(
        project,
        list(services.values()),
        session,
        sink,
        unused=how.all_resources,
        replaces_volumes=how.replaces_volumes,
    )
    mind_orphans(project, session, sink, removes=how.removes_orphans, seconds=how.stop_seconds)
    Converger(
        project,
        services,
        session,
        sink,
        makers,
        images=images,
        named=how.services,
        how=how,
    ).run()
    if how.waits:
        await_up(project.name, list(services), session, sink, seconds=how.wait_seconds)
    return tuple(services)

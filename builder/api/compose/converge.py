"""Bring the containers of a project to what its files say: what is missing is made, what changed is made anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tiffin.builder.api.compose import naming
from tiffin.builder.api.compose.jobs import Job, run_jobs
from tiffin.builder.api.compose.makers import Makers
from tiffin.builder.api.compose.members import Member, members
from tiffin.builder.api.compose.waiting import await_dependencies
from tiffin.builder.api.containers import lifecycle
from tiffin.builder.api.containers.removal import remove_container
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import OF_SERVICE, SHARED_NAMESPACES, Project, Service
from tiffin.builder.containers.container import SHORT_ID_LENGTH, Containers
from tiffin.builder.containers.mounts import Mount, VolumeMount, ordered
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.containers.volumes.store import is_made_up
from tiffin.builder.errors import ContainerError, TiffinError, UsageError
from tiffin.builder.events import ResourceChanged, Sink
from tiffin.cache.foundation.frozen import dataclass, field, replace

AUTO, FORCE, NEVER = "auto", "force", "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """How far containers are brought there. `recreate` is AUTO for what changed; None leaves a service's own."""

    recreate: str = AUTO
    recreate_dependencies: str = AUTO
    scale: Mapping[str, int] = field(default_factory=dict)
    stop_seconds: int | None = None
    starts: bool = True
    renews_volumes: bool = False  # those without a name; else a container that is made anew has those of the old one
    at_once: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done with one container of a service: `old` goes, one of that name comes."""

    service: Service
    name: str
    number: int
    old: Member | None = None
    makes: bool = True


class Converger:
    """Does it for the services of one command; `images` are the ids of their images, `named` those on its line."""

    def __init__(
        self,
        project: Project,
        services: Mapping[str, Service],
        session: Session,
        sink: Sink,
        makers: Makers,
        *,
        images: Mapping[str, str],
        named: Collection[str],
        how: Convergence,
    ) -> None:
        self._project = project
        self._services = services
        self._session = session
        self._sink = sink
        self._makers = makers
        self._images = images
        self._named = named
        self._how = how

    def run(self) -> None:
        """Do it. Raises TiffinError."""
        with self._session.state.lock(f"compose-{self._project.name}"):  # another up waits, and finds what is there
            steps = list(self._steps())
            kept = {step.name for step in steps}
            made = [step for step in steps if step.makes]
            jobs = [job for step in made for job in self._making(step, _needs(step, made))]
            jobs += [self._removing(member) for member in self._surplus(kept)]
            run_jobs(jobs, self._session, self._sink, at_once=self._how.at_once)
        if self._how.starts:
            run_jobs(list(self._starting(steps)), self._session, self._sink, at_once=self._how.at_once)

    def _steps(self) -> Iterator[Step]:
        """Yield what each container of each service needs."""
        there = members(self._session, self._project.name)
        renewed: set[str] = set()
        for service in self._services.values():
            own = [member for member in there if member.service == service.name]
            count = self._how.scale.get(service.name, service.scale)
            if count > 1 and service.container_name:
                raise UsageError(
                    f"services.{service.name} has container_name, and cannot have {count} containers",
                    remedy="leave container_name out",
                )
            follows = bool(renewed.intersection(donors(service)))
            stale = [member for member in own if follows or self._is_stale(service, member)]
            if stale:
                renewed.add(service.name)
            kept = ([m for m in own if m not in stale] + stale)[:count]  # those that need not be made again first
            for member in sorted(kept, key=lambda one: one.number):
                name = naming.container_name(self._project, service, member.number)
                yield Step(service=service, name=name, number=member.number, old=member, makes=member in stale)
            numbers = (number for number in range(1, 1 << 20) if number not in {member.number for member in kept})
            for _ in range(count - len(kept)):
                number = next(numbers)
                name = naming.container_name(self._project, service, number)
                yield Step(service=service, name=name, number=number)

    def _is_stale(self, service: Service, member: Member) -> bool:
        """Whether a container is to be made anew."""
        policy = self._how.recreate
        if policy != NEVER and self._named and service.name not in self._named:
            policy = self._how.recreate_dependencies
        if policy != AUTO:
            return policy == FORCE
        labels = member.state.labels
        return labels.get(naming.HASH) != naming.config_hash(
            self._project, service
        ) or member.state.image_id != self._images.get(service.name, member.state.image_id)

    def _surplus(self, kept: Collection[str]) -> list[Member]:
        """Return the containers that are too many."""
        there = members(self._session, self._project.name)
        return [member for member in there if member.service in self._services and member.name not in kept]

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _making(self, step: Step, needs: tuple[str, ...]) -> Iterator[Job]:
        """Yield the making of a container after the jobs that it needs, and that it takes the place of an old one."""

        def make(session: Session, sink: Sink) -> None:
            renews = self._how.renews_volumes
            make_container(step, self._project, self._makers, self._images, session, sink, renews_volumes=renews)

        def take_place(session: Session, sink: Sink) -> None:
            assert step.old is not None
            lifecycle.stop(step.old.state.id, session, seconds=self._how.stop_seconds)
            remove(step.old.state, session)
            lifecycle.rename(_new_name(step), step.name, session)
            sink.emit(ResourceChanged(kind="Container", name=step.name, change="Recreated"))

        key = f"make {step.name}"
        yield Job(key=key, do=make, needs=needs)
        if step.old is not None:
            yield Job(key=f"replace {step.name}", do=take_place, needs=(key,))

    def _removing(self, member: Member) -> Job:
        def remove(session: Session, sink: Sink) -> None:
            stop_member(member, session, sink, self._how.stop_seconds)
            remove_member(member, session, sink)

        return Job(key=f"remove {member.name}", do=remove)

    def _starting(self, steps: Collection[Step]) -> Iterator[Job]:
        """Yield the starts, each after those of what its service depends on."""
        keys: dict[str, tuple[str, ...]] = {}
        for step in steps:
            keys[step.service.name] = (*keys.get(step.service.name, ()), f"start {step.name}")
        made = {step.service.name for step in steps if step.makes and step.old is not None}
        for step in steps:
            needs = [key for name in step.service.depends_on for key in keys.get(name, ())]
            again = any(one.restart and name in made for name, one in step.service.depends_on.items())
            yield Job(key=f"start {step.name}", do=self._start(step, again=again), needs=tuple(needs))

    def _start(self, step: Step, *, again: bool) -> Callable[[Session, Sink], Any]:
        def start(session: Session, sink: Sink) -> None:
            member = next((one for one in members(session, self._project.name) if one.name == step.name), None)
            if member is None:
                raise ContainerError(f"container {step.name} is gone", remedy="begin again with tiffin compose up")
            if member.is_alive and again:
                stop_member(member, session, sink, self._how.stop_seconds)
            elif member.is_alive:
                if not step.makes:
                    sink.emit(ResourceChanged(kind="Container", name=step.name, change="Running"))
                return
            await_dependencies(step.service, self._project.name, session, sink)
            start_member(step.name, step.service, session, sink)

        return start


def donors(service: Service) -> list[str]:
    """Return the services whose mounts, network or other namespaces its containers have."""
    found = [text.partition(":")[0] for text in service.volumes_from if not text.startswith("container:")]
    shared = (service.network_mode, *(str(service.document.get(kind) or "") for kind in SHARED_NAMESPACES))
    return found + [text.removeprefix(OF_SERVICE) for text in shared if text.startswith(OF_SERVICE)]


def _needs(step: Step, made: Collection[Step]) -> tuple[str, ...]:
    """Return the jobs after which a container can be made: those that make what it has mounts or the network of."""
    others = [one for one in made if one.service.name in donors(step.service)]
    return tuple(f"{'make' if one.old is None else 'replace'} {one.name}" for one in others)


def make_container(
    step: Step,
    project: Project,
    makers: Makers,
    images: Mapping[str, str],
    session: Session,
    sink: Sink,
    *,
    renews_volumes: bool = False,
) -> None:
    """Make a container; one that it stands for is there until the new one is. Raises TiffinError."""
    sink.emit(ResourceChanged(kind="Container", name=step.name, change="Creating" if step.old is None else "Recreate"))
    labels = naming.container_labels(
        project, step.service, step.number, images.get(step.service.name, ""), one_off=False
    )
    options = makers.container(step.service, name=_new_name(step), number=step.number, labels=labels)
    if step.old is not None and not renews_volumes:
        options = _with_volumes_of(step.old, options)
    lifecycle.create(options, session, sink)
    if step.old is None:
        sink.emit(ResourceChanged(kind="Container", name=step.name, change="Created"))


def _with_volumes_of(old: Member, options: RunOptions) -> RunOptions:
    """Return options with the volumes without a name that a container had, in the places where they were."""
    container = options.container() if callable(options.container) else options.container
    kept = {path: name for path, name in old.state.volumes.items() if is_made_up(name)}
    mounts: list[Mount] = []
    for mount in container.mounts:
        name = kept.pop(mount.path, "")
        is_own = isinstance(mount, VolumeMount) and not mount.name and name
        mounts.append(replace(mount, name=name) if is_own else mount)
    mounts += [VolumeMount(name=name, path=path) for path, name in kept.items()]  # of the image
    return replace(options, container=replace(container, mounts=ordered(mounts)))


def _new_name(step: Step) -> str:
    return step.name if step.old is None else f"{step.old.state.id[:SHORT_ID_LENGTH]}_{step.name}"


def start_member(name: str, service: Service | None, session: Session, sink: Sink) -> None:
    """Start a container, and run what its service has for afterwards. Raises ContainerError."""
    sink.emit(ResourceChanged(kind="Container", name=name, change="Starting"))
    try:
        started = lifecycle.start(name, session, sink)
    except TiffinError:
        containers = Containers(session.state)
        if containers.is_alive(containers.find(name).id):  # another command was quicker
            return
        raise
    if started.message:
        raise ContainerError(f"container {name}: {started.message}", remedy="check its command and the image's PATH")
    for hook in service.post_start if service is not None else ():
        from tiffin.builder.api.compose.commands import run_hook

        run_hook(hook, name, session)
    sink.emit(ResourceChanged(kind="Container", name=name, change="Started"))


def stop_member(
    member: Member, session: Session, sink: Sink, seconds: int | None, service: Service | None = None
) -> None:
    """Stop a container that runs."""
    if not member.is_alive:
        return
    for hook in service.pre_stop if service is not None else ():
        from tiffin.builder.api.compose.commands import run_hook

        run_hook(hook, member.name, session)
    sink.emit(ResourceChanged(kind="Container", name=member.name, change="Stopping"))
    lifecycle.stop(member.state.id, session, seconds=seconds)
    sink.emit(ResourceChanged(kind="Container", name=member.name, change="Stopped"))


def remove_member(member: Member, session: Session, sink: Sink) -> None:
    """Remove a container that does not run."""
    sink.emit(ResourceChanged(kind="Container", name=member.name, change="Removing"))
    remove(member.state, session)
    sink.emit(ResourceChanged(kind="Container", name=member.name, change="Removed"))


def remove(state: ContainerState, session: Session) -> None:
    """Remove a container that does not run, or is gone by now."""
    remove_container(Containers(session.state), state, session)

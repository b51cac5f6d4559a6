"""Run an image: find or pull it, make a container, attend to its command."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache
from pathlib import Path

from tiffin.builder.api.containers.command_start import ContainerStart, warn
from tiffin.builder.api.containers.trees import layers_of
from tiffin.builder.api.inputs.run_image import Progress, RunImage
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.lifecycle.record import ContainerRecord
    from tiffin.builder.containers.network.attachment import Endpoint
    from tiffin.builder.containers.network.published import Port
    from tiffin.builder.containers.run import ContainerOptions
    from tiffin.builder.containers.state import ContainerState
    from tiffin.builder.events import Sink
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher

EXIT_OWN_FAILURE = 125  # Docker's code for "the container never started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a command ended: its exit code, 128 and the signal where one ended it.

    126 or 127 with a `message` where it never began.
    """

    exit_code: int
    message: str = ""


def run(options: RunOptions, session: Session, sink: Sink, progress: Progress | None = None) -> RunResult:
    """Run an image's command in a new container, with this process's streams.

    `sink` receives warnings; `progress` makes the sink of a pull, which is closed before the command begins. Raises
    TiffinError, whose exit code is Docker's for a container that never started.
    """
    try:
        return _Run(options, session, sink, progress or (lambda: nullcontext(sink))).run()
    except TiffinError as exc:
        exc.ends_with(EXIT_OWN_FAILURE)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a container is made of."""

    isolation: Isolation
    launcher: Launcher | None  # None: nothing is to be begun
    image: StoredImage
    container: ContainerOptions


def prepare(
    options: RunOptions, session: Session, sink: Sink, progress: Progress, stack: ExitStack, *, begins: bool = True
) -> Prepared:
    """Find the image beside the making of the namespace, or pull it before; `stack` ends the launcher.

    Raises TiffinError.
    """
    given = options.container
    container = cache(lambda: _with_others(given() if callable(given) else given, options, session))
    wanted = RunImage(options, session, sink, progress)
    find = cache(wanted.find)
    if not wanted.is_listed() and find() is None:
        container()  # what is wrong with the options is told before anything moves
        pulled = wanted.pull()
        find = cache(lambda: pulled)

    launch = cache(session.launch_one)

    def look() -> None:
        find()
        container()
        if begins:
            launch()

    keep = container().keep if options.keeps_ids else None
    isolation = session.become_root(options.isolation or None, lambda _: look(), keep=keep)
    launcher = stack.enter_context(launch()) if begins else None
    image = find() or wanted.pull()
    from tiffin.builder.containers.run import check_options, command_of

    command_of(image.config.config, container())  # fail before anything is made
    check_options(container(), isolation)
    if isolation.unsupervised:
        warn(sink, f"isolation {isolation.tier}: {isolation.unsupervised}")
    return Prepared(isolation=isolation, launcher=launcher, image=image, container=container())


def _with_others(container: ContainerOptions, options: RunOptions, session: Session) -> ContainerOptions:
    """Return what is asked of a container with what it has of others."""
    if options.networks or options.joins:
        from tiffin.builder.api.containers.networks.sharing import with_networks

        container = with_networks(container, options.networks, options.joins)
    if options.volumes_from:
        from tiffin.builder.api.inputs.volumes_from import with_volumes_of

        container = with_volumes_of(container, options.volumes_from, session)
    if container.mounts:
        from tiffin.builder.api.inputs.image_mounts import with_images

        container = with_images(container, session)
    return container


def state_of(options: RunOptions, made: Prepared, *, ports: Sequence[Port] = (), **more: Any) -> ContainerState:
    """Describe the container that is to be made. Raises UsageError for a bad name."""
    from tiffin.builder.containers.run import command_of
    from tiffin.builder.containers.state import new_state

    config, wanted = made.image.config, made.container
    volumes: Mapping[str, str] = {}
    mounted_layers: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    if wanted.mounts or config.config.volumes:
        from tiffin.builder.containers.volumes.mounting import mounted_layers_of, names_given, volume_names

        volumes = volume_names(wanted.mounts, config.config.volumes, makes_up=made.isolation.has_mounts)
        named, mounted_layers = names_given(wanted.mounts), mounted_layers_of(wanted.mounts)
    return new_state(
        image=options.image,
        image_id=str(made.image.id),
        command=command_of(config.config, wanted),
        layers=tuple(str(diff_id) for diff_id in config.diff_ids),
        name=options.name,
        remove=options.remove,
        labels={**config.config.labels, **wanted.labels},
        keep=wanted.keep,
        ports=tuple(ports),
        network=wanted.network,
        volumes=volumes,
        named_volumes=named,
        mounted_layers=mounted_layers,
        **more,
    )


def endpoints_of(
    options: RunOptions, session: Session, *, begins: bool = True
) -> AbstractContextManager[tuple[Endpoint, ...]]:
    """Give the endpoints of a new container, with addresses that are its own once it is written.

    Raises UsageError, StoreError.
    """
    if not options.networks:
        return nullcontext(())
    from tiffin.builder.containers.network.attachment import new_endpoints
    from tiffin.builder.containers.network.members import assigned
    from tiffin.builder.containers.network.store import Networks

    networks = Networks(session.state)
    endpoints = new_endpoints([replace(item, name=networks.find(item.name).name) for item in options.networks])
    return assigned(session.state, endpoints) if begins else nullcontext(endpoints)


def record_of(options: RunOptions, made: Prepared, *, is_detached: bool) -> ContainerRecord:
    """Return what is kept of the options, to begin the container again."""
    from tiffin.builder.containers.lifecycle.record import ContainerRecord

    return ContainerRecord(
        options=made.container,
        config=made.image.config.config,
        isolation=options.isolation,
        id_map=made.isolation.idmap_tag,
        groups=options.groups,
        interactive=options.interactive,
        closes_stdin=options.interactive and not is_detached,
    )


class _Run:
    """One run, with the streams of this process."""

    def __init__(self, options: RunOptions, session: Session, sink: Sink, progress: Progress) -> None:
        self._options = options
        self._session = session
        self._sink = sink
        self._progress = progress

    def run(self) -> RunResult:
        """Run it to its end."""
        from tiffin.builder.containers.container import Containers
        from tiffin.builder.containers.run import attached_streams, attend, forwarded_signals, network_of

        options, state = self._options, self._session.state
        with ExitStack() as stack:
            enter_shared(options, self._session, self._sink)
            made = prepare(options, self._session, self._sink, self._progress, stack)
            assert made.launcher is not None
            forwarder = stack.enter_context(forwarded_signals())
            network = network_of(made.container, made.image.config.config)
            if network.warning:
                warn(self._sink, network.warning)
            record = record_of(options, made, is_detached=False)
            start = ContainerStart(self._session, made.isolation, record, network, self._sink)
            with state.lock("prune", shared=True):  # from now on prune sees which layers the container has
                with endpoints_of(options, self._session) as networks:
                    described = state_of(
                        options, made, ports=network.ports, networks=networks, pid=os.getpid(), started=time.time()
                    )
                    container = stack.enter_context(Containers(state).create(described))
                stack.enter_context(leaving(self._session, container))
                user = start.prepare(container, layers_of(made.image), options.registry)
                record.write(container.folder)
            if options.cidfile is not None:
                write_id(options.cidfile, container.state.id)
            attached = attached_streams(user.uid, tty=made.container.tty, interactive=options.interactive)
            stack.enter_context(attached)
            container.record("attach")
            running = start.begin(start.describe(container, attached, stack, announces=True), attached, made.launcher)
            forwarder.to(running)
            with start.naming_causes():
                status = attend(running, attached, lambda: container.record("start"))
            if status.message:
                container.fail(status.code, status.message, started=0.0)
            else:
                container.finish(status.code, oom_killed=container.was_short_of_memory())
            return RunResult(exit_code=status.code, message=status.message)


def enter_shared(options: RunOptions, session: Session, sink: Sink) -> None:
    """Have this process, which is to run a container, enter what that has of others. Raises TiffinError."""
    if options.shares:
        from tiffin.builder.api.containers.networks.sharing import share_networks

        named = [item.name for item in options.networks]
        share_networks(session, named, options.joins, sink, of_others=options.of_others)


def leaving(session: Session, container: Container) -> AbstractContextManager[object]:
    """Have a container leave its networks at the end of the block."""
    if not container.state.networks:
        return nullcontext()
    from tiffin.builder.api.containers.networks.sharing import leaving_networks

    return leaving_networks(session, container)


def write_id(path: Path, identity: str) -> None:
    """Write the file of --cidfile, which must not be there yet; raises UsageError, StoreError."""
    with disk_errors(path):
        try:
            with path.open("x") as stream:
                stream.write(identity)
        except FileExistsError as exc:
            raise UsageError(f"--cidfile {path} exists", remedy="remove it, or name another") from exc

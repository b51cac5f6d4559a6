"""Begin the command of a container that is made.

Its root, mounts, limits and sandbox, in the namespace this process is in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.api.containers.trees import find_trees
from tiffin.builder.api.session import Session
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tiffin.builder.containers.confinement.spec import Confinement, Parts, PreparedVolumes
    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.lifecycle.record import ContainerRecord
    from tiffin.builder.containers.network.published import Network
    from tiffin.builder.containers.rootfs import RootView
    from tiffin.builder.containers.run import ContainerOptions
    from tiffin.builder.events import Sink
    from tiffin.builder.image.users import ProcessUser
    from tiffin.builder.sandbox.child.spec import SandboxSpec
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher, Running
    from tiffin.builder.settings.access import RegistryAccess
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.store.snapshots import BlobRef


def warn(sink: Sink, message: str) -> None:
    """Warn of something, if there is something to be said."""
    if message:
        from tiffin.builder.events import WarningMessage

        sink.emit(WarningMessage(message=message))


class Attached(Protocol):
    """The streams of a command."""

    @property
    def path(self) -> str:
        """That of a terminal on this machine, "" where they are none."""

    def opened(self, spec: SandboxSpec) -> tuple[int, int, int]:
        """Open what goes to the command of `spec`, whose root is there, as stdin, stdout and stderr."""


class ContainerStart:
    """What it takes to begin the command of one container, once."""

    def __init__(
        self,
        session: Session,
        isolation: Isolation,
        record: ContainerRecord,
        network: Network,
        sink: Sink,
    ) -> None:
        self._record = record
        self._session = session
        self._isolation = isolation
        self._network = network
        self._sink = sink
        self._trees: Sequence[Path] = ()
        self._images: Mapping[str, Sequence[Path]] = {}

    def prepare(
        self,
        container: Container,
        layers: Sequence[tuple[Digest, BlobRef]] = (),
        registry: RegistryAccess | None = None,
    ) -> ProcessUser:
        """Find its layers and its user, with "prune" locked. `layers` say where those that are missing come from."""
        found = find_trees(self._session, self._isolation, container, self._record, layers, registry)
        self._trees, self._images, self._user, self._reach = found.trees, found.images, found.user, found.reach
        return found.user

    def describe(
        self, container: Container, attached: Attached, stack: ExitStack, *, announces: bool = False
    ) -> SandboxSpec:
        """Make what the sandbox of the command needs, and return it; what has to outlive it is in `stack`.

        Raises SandboxError, UsageError.
        """
        from tiffin.builder.containers.confinement.spec import make_spec
        from tiffin.builder.containers.lifecycle.record import write_sandbox

        spec = make_spec(self._parts(container, attached.path, announces=announces))
        if spec.root_dir:
            from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes

            aside = container.folder / "aside"
            aside.mkdir(exist_ok=True)
            places = stack.enter_context(MountSubstitutes(container.upper, aside))
            spec = self._isolation.tier.prepare_root(spec, places)
        write_sandbox(container.folder, spec)
        return spec

    def begin(self, spec: SandboxSpec, attached: Attached, launcher: Launcher) -> Running:
        """Start the command. Raises SandboxError."""
        stdin, stdout, stderr = attached.opened(spec)
        return launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)

    def _parts(self, container: Container, console: str, *, announces: bool) -> Parts:
        """Make what the sandbox shows and is limited by. Raises UsageError, StoreError."""
        from tiffin.builder.containers.confinement.spec import Parts
        from tiffin.builder.containers.rootfs import RootView
        from tiffin.builder.sandbox.seccomp.filters import filter_for

        wanted, config, state = self._with_devices(), self._record.config, self._session.state
        root = RootView(self._trees)
        return Parts(
            container=container,
            config=config,
            options=wanted,
            root=root,
            trees=self._trees,
            user=self._user,
            mounted=self._mounted(container, root, wanted),
            confinement=self._confined(container, wanted),
            network=self._network_of(container),
            seccomp=filter_for(wanted.seccomp, wanted.capabilities, state.filters),
            console=console,
            joined_ipc=self._joined_ipc(wanted.namespaces.ipc_of),
            joined_pids=self._joined_pids(wanted.namespaces.pid_of),
            isolation=self._isolation,
            emulated=self._reach.emulated,
            opens=self._reach.opens,
            announces=announces,
        )

    def _mounted(self, container: Container, root: RootView, wanted: ContainerOptions) -> PreparedVolumes:
        volumes = self._record.config.volumes
        if not wanted.mounts and not volumes:
            from tiffin.builder.containers.confinement.spec import PreparedVolumes

            return PreparedVolumes()
        from tiffin.builder.containers.volumes.mounting import owner_of_new, prepare_mounts
        from tiffin.builder.sandbox.keepid import kept_ids

        return prepare_mounts(
            wanted.mounts,
            volumes,
            state=self._session.state,
            container=container,
            root=root,
            read_only_root=wanted.read_only,
            ids=kept_ids(self._isolation.idmap_tag),
            owner=owner_of_new(self._isolation, wanted, self._user, emulated=self._reach.emulated),
            images=self._images,
            overlays=self._isolation.overlay,
            warn=lambda message: warn(self._sink, message),
        )

    def _confined(self, container: Container, wanted: ContainerOptions) -> Confinement:
        if not wanted.limits.controllers():
            from tiffin.builder.containers.confinement.spec import Confinement

            return Confinement()
        from tiffin.builder.containers.limits import confine

        limited = confine(container, wanted.limits)
        warn(self._sink, limited.warning)
        return limited

    def _with_devices(self) -> ContainerOptions:
        """Return what is asked of the container with what its devices add, as this machine describes them now."""
        options = self._record.options
        if not options.device_names:
            return options
        from tiffin.builder.containers.confinement.cdi import directories_of, edits_of
        from tiffin.builder.containers.mounts import ordered

        edits = edits_of(options.device_names, directories_of(os.environ))
        paths = {mount.path for mount in edits.mounts}
        self._user = replace(self._user, groups=tuple(dict.fromkeys((*self._user.groups, *edits.groups))))
        return replace(
            options,
            variables=(*options.variables, *edits.variables),
            devices=tuple({device.path: device for device in (*options.devices, *edits.devices)}.values()),
            mounts=ordered([*(mount for mount in options.mounts if mount.path not in paths), *edits.mounts]),
        )

    def _network_of(self, container: Container) -> Network:
        """Return its network with those that it shares with others, and their names. Raises TiffinError."""
        options, network = self._record.options, self._shared_network(container)
        if options.links:
            from tiffin.builder.containers.network.links import linked

            names = linked(self._session.state, container.state, options.network, options.links)
            return replace(network, linked=names)
        return network

    def _shared_network(self, container: Container) -> Network:
        options, state = self._record.options, self._session.state
        if container.state.networks:
            from tiffin.builder.containers.network.members import network_with_members

            return network_with_members(self._network, state, container.reread(), options.resolver.servers)
        if ":" in options.network:
            from tiffin.builder.containers.network.joining import joined_network

            return joined_network(self._network, options.network, state)
        return self._network

    def _joined_ipc(self, name: str) -> str:
        """Return where the IPC namespace of another container is, "" for none."""
        if not name:
            return ""
        from tiffin.builder.containers.network.joining import joined_ipc

        return joined_ipc(name, self._session.state)

    def _joined_pids(self, name: str) -> str:
        """Return where the pid namespace of another container is, "" for none."""
        if not name:
            return ""
        from tiffin.builder.containers.network.joining import joined_pids

        return joined_pids(name, self._session.state)

    @contextlib.contextmanager
    def naming_causes(self) -> Iterator[None]:
        """Have a failure of the sandbox name why owners had to be emulated."""
        with self._reach.explaining_losses(self._isolation):
            yield

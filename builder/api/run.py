"""Run an image: find or pull it, make a container, attend to its command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import cache
from pathlib import Path

from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, ImageNotFoundError, TiffinError, UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.network.published import Network
    from tiffin.builder.containers.reach import Reach
    from tiffin.builder.containers.run import ContainerOptions, Forwarder
    from tiffin.builder.containers.streams import Streams
    from tiffin.builder.containers.terminal import Terminal
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.image.users import ProcessUser
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher

EXIT_OWN_FAILURE = 125  # Docker's code for "the container never started"
Progress = Callable[[], AbstractContextManager[Sink]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a command ended: its exit code, 128 and the signal where one ended it; 126 or 127 with a `message` where it
    never began.
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
class _Prepared:
    """What a container is made of."""

    isolation: Isolation
    launcher: Launcher
    image: StoredImage
    container: ContainerOptions


class _Run:
    """One run."""

    def __init__(self, options: RunOptions, session: Session, sink: Sink, progress: Progress) -> None:
        self._options = options
        self._session = session
        self._sink = sink
        self._progress = progress

    def _warn(self, message: str) -> None:
        if message:
            self._sink.emit(WarningMessage(message=message))

    def run(self) -> RunResult:
        """Find the image beside the making of the namespace, or pull it before."""
        options, session = self._options, self._session
        given = options.container
        container = cache(given if callable(given) else lambda: given)
        find = cache(self._find)
        if not self._is_listed() and find() is None:
            container()  # what is wrong with the options is told before anything moves
            pulled = self._pull()
            find = cache(lambda: pulled)
        with ExitStack() as stack:
            launchers = []  # one, begun as early as can be: what it imports, it imports beside this process

            def begin(found: Isolation) -> None:
                launchers.append(stack.enter_context(session.launch(once=found.own_pids)))
                find()
                container()

            keep = container().keep if options.keeps_ids else None
            isolation = session.become_root(options.isolation or None, meanwhile=begin, keep=keep)
            if not launchers:
                begin(isolation)
            image = find() or self._pull()
            from tiffin.builder.containers.run import check_options, command_of

            command_of(image.config.config, container())  # fail before anything is made
            check_options(container(), isolation)
            if isolation.unsupervised:
                self._warn(f"isolation {isolation.tier}: {isolation.unsupervised}")
            made = _Prepared(isolation=isolation, launcher=launchers[0], image=image, container=container())
            return self._run_in_namespace(made)

    def _run_in_namespace(self, made: _Prepared) -> RunResult:
        from tiffin.builder.containers.container import Containers
        from tiffin.builder.containers.reach import reach_of
        from tiffin.builder.containers.rootfs import RootView
        from tiffin.builder.containers.run import command_of, forwarded_signals, network_of
        from tiffin.builder.image.users import resolve_user
        from tiffin.cache.store.snapshots import Snapshots

        options, session, image, wanted = self._options, self._session, made.image, made.container
        config = image.config.config
        with ExitStack() as stack:
            forwarder = stack.enter_context(forwarded_signals())
            network = network_of(wanted, config)
            self._warn(network.warning)
            with session.state.lock("prune", shared=True):  # from now on prune sees which layers the container has
                container = stack.enter_context(
                    Containers(session.state).create(
                        image=options.image,
                        image_id=str(image.id),
                        command=command_of(config, wanted),
                        layers=tuple(str(diff_id) for diff_id in image.config.diff_ids),
                        name=options.name,
                        remove=options.remove,
                        ports=tuple(map(str, network.ports)),
                        labels={**config.labels, **wanted.labels},
                        keep=wanted.keep,
                    )
                )
                trees = self._trees(made, container)
                kept = f"{wanted.keep[0]}:{wanted.keep[1]}" if wanted.keep else ""
                user = resolve_user(
                    wanted.user or kept or config.user, RootView(trees).read_file, further=options.groups
                )
                reach = reach_of(made.isolation, Snapshots(session.state), image.config.diff_ids, user)
                if reach.emulated:
                    trees = self._trees(made, container, emulated=True)
            if options.cidfile is not None:
                _write_id(options.cidfile, container.state.id)
            return self._attend(made, container, trees, user, network, reach, forwarder, stack)

    def _attend(
        self,
        made: _Prepared,
        container: Container,
        trees: Sequence[Path],
        user: ProcessUser,
        network: Network,
        reach: Reach,
        forwarder: Forwarder,
        stack: ExitStack,
    ) -> RunResult:
        """Start the command in a container that is made, and stay with it."""
        from tiffin.builder.containers.limits import confine
        from tiffin.builder.containers.rootfs import RootView
        from tiffin.builder.containers.run import attend, make_spec
        from tiffin.builder.containers.volumes import prepare_mounts
        from tiffin.builder.sandbox.seccomp.filters import filter_for

        wanted, config, state = made.container, made.image.config.config, self._session.state
        root = RootView(trees)
        mounted = prepare_mounts(
            wanted.mounts,
            config.volumes,
            state=state,
            container=container,
            root=root,
            read_only_root=wanted.read_only,
        )
        attached = self._attached(made, user)
        stack.enter_context(attached)
        limited = confine(container, wanted.limits)
        self._warn(limited.warning)
        spec = make_spec(
            container,
            config,
            wanted,
            root=root,
            trees=trees,
            user=user,
            mounted=mounted,
            confinement=limited,
            network=network,
            seccomp=filter_for(wanted.seccomp, wanted.capabilities, state.filters),
            console=attached.path,
            isolation=made.isolation,
            emulated=reach.emulated,
            opens=reach.opens,
        )
        if spec.root_dir:
            from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes

            aside = container.folder / "aside"
            aside.mkdir()
            places = stack.enter_context(MountSubstitutes(container.upper, aside))
            spec = made.isolation.tier.prepare_root(spec, places)
        stdin, stdout, stderr = attached.opened(spec)
        running = made.launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        forwarder.to(running)
        with reach.explaining_losses(made.isolation):
            status = attend(running, attached)
        container.finish(status.code)
        return RunResult(exit_code=status.code, message=status.message)

    def _attached(self, made: _Prepared, user: ProcessUser) -> Terminal | Streams:
        if made.container.tty:
            from tiffin.builder.containers.terminal import Terminal

            return Terminal(interactive=self._options.interactive)
        from tiffin.builder.containers.streams import Streams

        return Streams(interactive=self._options.interactive, is_own=user.uid == os.geteuid())

    def _trees(self, made: _Prepared, container: Container, *, emulated: bool = False) -> Sequence[Path]:
        """Return the unpacked layers; what tiffin knows of layers beyond that is only loaded if one is missing.

        Where layers cannot be mounted over each other: the container's own directory with a copy of them all.
        `emulated`: those for a sandbox of one id, in the place of others.
        """
        from tiffin.cache.store.snapshots import BlobRef, Snapshots

        isolation, image, session = made.isolation, made.image, self._session
        snapshots = Snapshots(session.state, isolation.emulated_idmap_tag if emulated else isolation.idmap_tag)
        trees = snapshots.stack(image.config.diff_ids) if isolation.overlay else None
        if trees is not None:
            return trees

        from tiffin.builder.events import NullSink

        layers = session.layers(lambda: session.remote(NullSink(), self._options.registry))
        layers.use_trees(isolation.idmap_tag)
        if emulated:
            layers = layers.emulated(isolation.emulated_idmap_tag)
        wanted = [
            (diff_id, BlobRef.of(layer))
            for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
        ]
        if isolation.overlay:
            return layers.ensure_snapshots(wanted)
        if emulated:
            container.empty()
        for layer in wanted:
            layers.add_to_root(layer, container.upper)
        return [container.upper]

    # -- the image -----------------------------------------------------------------------------------------------------

    def _is_listed(self) -> bool:
        """Whether the list of images has this very name, so that there will be nothing to pull; a look at its text
        alone.
        """
        if self._options.pull in ("always", "newer") or self._options.platform:
            return False
        from tiffin.builder.oci.reference import Reference

        try:
            name = str(Reference.parse(self._options.image))
            return f'"{name}"'.encode() in self._session.state.image_list.read_bytes()
        except (TiffinError, OSError):
            return False

    def _find(self) -> StoredImage | None:
        options, store = self._options, self._session.store
        if options.pull == "always":
            return None
        try:
            image = store.find(options.image)
        except ImageNotFoundError:
            alias = _alias(options.image)
            known = store.get(alias) if alias is not None else None
            if known is None and options.pull == "never":
                raise
            if known is None:
                return None
            image = known
        if options.platform:
            from tiffin.builder.oci.spec import Platform

            if image.config.platform.architecture != Platform.parse(options.platform).architecture:
                return None
        return image if options.pull != "newer" or self._is_current(image) else None

    def _is_current(self, image: StoredImage) -> bool:
        """Whether the registry has nothing newer; one that cannot be asked has not."""
        from tiffin.builder.errors import RegistryError
        from tiffin.builder.events import NullSink
        from tiffin.builder.oci.reference import Reference
        from tiffin.builder.settings.pull_policy import ASK_SECONDS, is_current

        reference = Reference.parse(self._options.image)
        if not image.names or reference.digest is not None:
            return True  # it was named by its id, or by what it is
        remote = self._session.remote(NullSink(), self._options.registry)
        try:
            reported = remote.current_digest(reference, ASK_SECONDS)
            return reported is None or is_current(remote, reference, image, reported)
        except RegistryError as exc:
            self._warn(f"{reference} was not looked up again ({exc.message}); using {image.id}")
            return True

    def _pull(self) -> StoredImage:
        from tiffin.builder.events import InfoMessage
        from tiffin.builder.oci.reference import Reference
        from tiffin.builder.oci.spec import Platform

        options = self._options
        platform = Platform.parse(options.platform) if options.platform else Platform.local()
        with self._progress() as sink:
            if options.pull not in ("always", "newer"):
                sink.emit(InfoMessage(message=f"image {options.image} is not here; pulling it"))
            remote = self._session.remote(sink, options.registry)
            image = remote.pull(Reference.parse(remote.alias(options.image)), platform)
        if options.platform and image.config.platform.architecture != platform.architecture:
            raise ImageError(
                f"{options.image} is for {image.config.platform}, not for {platform}",
                remedy="leave out --platform, or name another",
            )
        return image


def _alias(name: str) -> Reference | None:
    """Return what a short name stands for, None if for itself."""
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.settings.registries import read_mirrors

    alias = read_mirrors(os.environ).alias(name)
    return Reference.parse(alias) if alias != name else None


def _write_id(path: Path, identity: str) -> None:
    """Write the file of --cidfile, which must not be there yet; raises UsageError, StoreError."""
    with disk_errors(path):
        try:
            with path.open("x") as stream:
                stream.write(identity)
        except FileExistsError as exc:
            raise UsageError(f"--cidfile {path} exists", remedy="remove it, or name another") from exc

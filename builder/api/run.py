"""What `tiffin run` does: an image found or pulled, a container of it, its command attended to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.run_values import LIMITS, many, may_keep, maybe, remarks, wishes_of, write_id
from tiffin.builder.cli.output.console import tell
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.errors import ImageError, ImageNotFoundError, TiffinError, UsageError
from tiffin.cache.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.run import Wishes
    from tiffin.builder.containers.streams import Streams
    from tiffin.builder.containers.terminal import Terminal
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher

EXIT_OWN_FAILURE = 125  # Docker's code for "the container never started"


def run(session: Session, options: Mapping[str, object]) -> int:
    """What `tiffin run` does; the exit code. `options`: its options by name. Errors of ours have Docker's code for them."""
    try:
        return _run(session, options)
    except TiffinError as exc:
        exc.exit_code = EXIT_OWN_FAILURE
        raise


def _run(session: Session, options: Mapping[str, object]) -> int:
    if options["tty"] and options["interactive"] and not os.isatty(0):
        raise UsageError("stdin is no terminal, which -i -t need", remedy="leave out -t")
    for remark in remarks(options):
        tell(f"warning: {remark}")
    wishes = cache(lambda: wishes_of(options))
    if any(options[name] for name in LIMITS):
        from tiffin.builder.containers.limits import begin_in_scope

        begin_in_scope(wishes().limits, os.environ)
    find = cache(lambda: _find(session, options))
    if not _is_listed(session, options) and find() is None:
        wishes()  # what is wrong with the line is told before anything moves
        pulled = _pull(session, options)
        find = cache(lambda: pulled)

    with ExitStack() as stack:
        launchers = []  # one, begun as early as can be: what it imports, it imports beside this process

        def begin(found: Isolation) -> None:
            launchers.append(stack.enter_context(session.launch(once=found.own_pids)))
            find()
            wishes()

        keep = wishes().keep if may_keep(options) else None
        isolation = session.become_root(maybe(options, "isolation"), meanwhile=begin, keep=keep)
        if not launchers:
            begin(isolation)
        image = find() or _pull(session, options)
        from tiffin.builder.containers.run import check_wishes, command_of

        command_of(image.config.config, wishes())  # fail before anything is made
        check_wishes(wishes(), isolation)
        if isolation.unsupervised:
            tell(f"warning: isolation {isolation.tier}: {isolation.unsupervised}")
        return _run_in_namespace(session, isolation, launchers[0], image, wishes(), options)


def _run_in_namespace(
    session: Session,
    isolation: Isolation,
    launcher: Launcher,
    image: StoredImage,
    wishes: Wishes,
    options: Mapping[str, object],
) -> int:
    from tiffin.builder.containers.container import Containers
    from tiffin.builder.containers.limits import confine
    from tiffin.builder.containers.reach import reach_of
    from tiffin.builder.containers.rootfs import RootView
    from tiffin.builder.containers.run import attend, command_of, forwarded_signals, make_spec, network_of
    from tiffin.builder.containers.volumes import prepare_mounts
    from tiffin.builder.image.users import resolve_user
    from tiffin.builder.sandbox.seccomp import filter_for
    from tiffin.cache.snapshots import Snapshots

    with ExitStack() as stack:
        interactive = bool(options["interactive"])
        forwarder = stack.enter_context(forwarded_signals())
        network = network_of(wishes, image.config.config)
        if network.warning:
            tell(f"warning: {network.warning}")
        with session.state.lock("prune", shared=True):  # from now on prune sees which layers the container has
            container = stack.enter_context(
                Containers(session.state).create(
                    image=str(options["image"]),
                    image_id=str(image.id),
                    command=command_of(image.config.config, wishes),
                    layers=tuple(str(diff_id) for diff_id in image.config.diff_ids),
                    name=str(options["name"]),
                    remove=bool(options["remove"]),
                    ports=tuple(map(str, network.ports)),
                    labels=wishes.labels,
                    keep=wishes.keep,
                )
            )
            trees = _trees(session, isolation, image, options, container)
            kept = f"{wishes.keep[0]}:{wishes.keep[1]}" if wishes.keep else ""
            user_text = wishes.user or kept or image.config.config.user
            user = resolve_user(user_text, RootView(trees).read_file, further=many(options, "groups"))
            reach = reach_of(isolation, Snapshots(session.state), image.config.diff_ids, user)
            if reach.emulated:
                trees = _trees(session, isolation, image, options, container, emulated=True)
        write_id(options, container.state.id)
        root = RootView(trees)
        mounted = prepare_mounts(
            wishes.mounts,
            image.config.config.volumes,
            state=session.state,
            container=container,
            root=root,
            read_only_root=wishes.read_only,
        )
        attached: Terminal | Streams
        if wishes.tty:
            from tiffin.builder.containers.terminal import Terminal

            attached = stack.enter_context(Terminal(interactive=interactive))
        else:
            from tiffin.builder.containers.streams import Streams

            attached = stack.enter_context(Streams(interactive=interactive, is_own=user.uid == os.geteuid()))
        limited = confine(container, wishes.limits)
        if limited.warning:
            tell(f"warning: {limited.warning}")
        spec = make_spec(
            container,
            image.config.config,
            wishes,
            root=root,
            trees=trees,
            user=user,
            mounted=mounted,
            confinement=limited,
            network=network,
            seccomp=filter_for(wishes.seccomp, wishes.capabilities, session.state.filters),
            console=attached.path,
            isolation=isolation,
            emulated=reach.emulated,
            opens=reach.opens,
        )
        if spec.root_dir:
            from tiffin.builder.sandbox.standins import StandIns, furnish

            aside = container.folder / "aside"
            aside.mkdir()
            spec = furnish(spec, stack.enter_context(StandIns(container.upper, aside)))
        stdin, stdout, stderr = attached.opened(spec)
        running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        forwarder.to(running)
        with reach.told(isolation):
            status = attend(running, attached)
        container.finish(status.code)
    if status.message:
        tell(f"error: {status.message}; check the command and the image's PATH")
    return status.code


def _trees(
    session: Session,
    isolation: Isolation,
    image: StoredImage,
    options: Mapping[str, object],
    container: Container,
    *,
    emulated: bool = False,
) -> Sequence[Path]:
    """The unpacked layers; what tiffin knows of layers beyond that is only loaded if one is missing.

    Where layers cannot be mounted over each other: the container's own directory with a copy of them all. `emulated`:
    those for a sandbox of one id, in the place of others.
    """
    from tiffin.cache.snapshots import BlobRef, Snapshots

    snapshots = Snapshots(session.state, isolation.emulated_flavor if emulated else isolation.flavor)
    trees = snapshots.stack(image.config.diff_ids) if isolation.overlay else None
    if trees is not None:
        return trees

    from tiffin.builder.events import NullSink

    def remote() -> Remote:
        return session.remote(NullSink(), many(options, "insecure"), maybe(options, "cert"))

    layers = session.layers(remote)
    layers.snapshots.flavor = isolation.flavor
    if emulated:
        layers = layers.emulated(isolation.emulated_flavor)
    wanted = [
        (diff_id, BlobRef(media_type=layer.media_type, digest=layer.digest, size_bytes=layer.size_bytes))
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    ]
    if isolation.overlay:
        return layers.ensure_snapshots(wanted)
    if emulated:
        container.empty()
    for layer in wanted:
        layers.add_to_root(layer, container.upper)
    return [container.upper]


def _is_listed(session: Session, options: Mapping[str, object]) -> bool:
    """Whether the list of images has this very name, so that there will be nothing to pull; a look at its text alone."""
    if options["pull"] in ("always", "newer") or options["platform"]:
        return False
    from tiffin.builder.oci.reference import Reference

    try:
        name = str(Reference.parse(str(options["image"])))
        return f'"{name}"'.encode() in session.state.image_list.read_bytes()
    except (TiffinError, OSError):
        return False


def _find(session: Session, options: Mapping[str, object]) -> StoredImage | None:
    if options["pull"] == "always":
        return None
    name = str(options["image"])
    try:
        image = session.store.find(name)
    except ImageNotFoundError:
        alias = _alias(name)
        known = session.store.get(alias) if alias is not None else None
        if known is None and options["pull"] == "never":
            raise
        if known is None:
            return None
        image = known
    wanted = maybe(options, "platform")
    if wanted:
        from tiffin.builder.oci.spec import Platform

        if image.config.platform.architecture != Platform.parse(wanted).architecture:
            return None
    return image if options["pull"] != "newer" or _is_current(session, options, image) else None


def _alias(name: str) -> Reference | None:
    """What a short name stands for, None if for itself."""
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.settings.registries import read_mirrors

    alias = read_mirrors(os.environ).alias(name)
    return Reference.parse(alias) if alias != name else None


def _is_current(session: Session, options: Mapping[str, object], image: StoredImage) -> bool:
    """Whether the registry has nothing newer; one that cannot be asked has not."""
    from tiffin.builder.errors import RegistryError
    from tiffin.builder.events import NullSink
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.settings.pull_policy import ASK_SECONDS, is_current

    reference = Reference.parse(str(options["image"]))
    if not image.names or reference.digest is not None:
        return True  # it was named by its id, or by what it is
    remote = session.remote(NullSink(), many(options, "insecure"), maybe(options, "cert"))
    try:
        told = remote.told_now(reference, ASK_SECONDS)
        return told is None or is_current(remote, reference, image, told)
    except RegistryError as exc:
        tell(f"warning: {reference} was not looked up again ({exc.message}); using {image.id}")
        return True


def _pull(session: Session, options: Mapping[str, object]) -> StoredImage:
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.events import Noted
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.oci.spec import Platform

    name, wanted = str(options["image"]), maybe(options, "platform")
    platform = Platform.parse(wanted) if wanted else Platform.local()
    with make_renderer(quiet_if(bool(options["quiet"]), str(options["progress"]))) as sink:
        if options["pull"] not in ("always", "newer"):
            sink.emit(Noted(message=f"image {name} is not here; pulling it"))
        remote = session.remote(sink, many(options, "insecure"), maybe(options, "cert"))
        image = remote.pull(Reference.parse(remote.alias(name)), platform)
    if wanted and image.config.platform.architecture != platform.architecture:
        raise ImageError(
            f"{name} is for {image.config.platform}, not for {platform}", remedy="leave out --platform, or name another"
        )
    return image

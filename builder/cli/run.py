"""tiffin run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from builder.cli.confinement_options import confinement, confinement_options
from builder.cli.docker_run_options import docker_run_options, remarks, write_id
from builder.cli.session import Session, progress_option, quiet_if, registry_options
from builder.errors import ImageError, ImageNotFoundError, TiffinError, UsageError

if TYPE_CHECKING:
    from builder.containers.container import Container
    from builder.containers.run import Wishes
    from builder.image.remote import Remote
    from builder.image.store import StoredImage
    from builder.sandbox.isolation import Isolation

EXIT_OWN_FAILURE = 125  # Docker's code for "the container never started"
REFUSED = {  # options of Docker's that are refused by name: (takes a value, why)
    ("-d", "--detach"): (False, "containers in the background are not supported yet"),
    ("--device",): (True, "give a device as a mount, such as -v /dev/fuse:/dev/fuse"),
    ("--gpus",): (True, "devices are given as mounts"),
    ("--restart",): (True, "containers in the background are not supported yet"),
    ("--link",): (True, "containers share this machine's network"),
}


class OwnUsageError(click.UsageError):
    exit_code = EXIT_OWN_FAILURE


class RunCommand(click.Command):
    """Docker's exit code for every failure of our own, wrong usage included: others are the command's."""

    usage_error = OwnUsageError

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            raise OwnUsageError(exc.format_message(), exc.ctx) from exc


def refused_options(command: click.Command) -> click.Command:
    """Add the options that exist to be refused in words."""

    def refuse(_: click.Context, option: click.Parameter, value: object) -> None:
        if value:
            raise click.UsageError(f"{option.opts[-1]} is not supported: {REFUSED[tuple(option.opts)][1]}")

    for names, (takes_value, _why) in REFUSED.items():
        command.params.append(
            click.Option(
                names, is_flag=not takes_value, multiple=takes_value, hidden=True, expose_value=False, callback=refuse
            )
        )
    return command


@refused_options
@click.command("run", cls=RunCommand, context_settings={"allow_interspersed_args": False})
@click.option("--rm", "remove", is_flag=True, help="Leave nothing behind.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-e", "--env", "env", multiple=True, metavar="K[=V]", help="Environment variable; repeatable.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="File of K=V lines; repeatable.")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="HOST|NAME:PATH[:ro]", help="Mount; repeatable.")
@click.option("--mount", "mounts", multiple=True, metavar="type=…,source=…,target=…", help="Mount; repeatable.")
@click.option("--tmpfs", "tmpfs", multiple=True, metavar="PATH[:size=…]", help="An empty file system in memory.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="User to run as.")
@click.option("--entrypoint", metavar="PROGRAM", help="Replace the image's entrypoint.")
@click.option("--read-only", is_flag=True, help="Make the root file system read-only.")
@click.option("-h", "--hostname", default="", metavar="NAME", help="Host name.")
@click.option("--name", default="", metavar="NAME", help="Name of the container.")
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:ADDRESS", help="Line of /etc/hosts; repeatable.")
@click.option("--shm-size", default="64m", metavar="SIZE", help="Size of /dev/shm.")
@click.option("--init", is_flag=True, help="An init as process 1 (there always is one).")
@click.option("--pull", type=click.Choice(["always", "missing", "never"]), default="missing", help="When to pull.")
@click.option("--platform", metavar="OS/ARCH", help="Platform to pull (default: this machine's).")
@click.option("--isolation", metavar="TIER", help="Force an isolation tier: range, single, chroot, proot.")
@click.option("-q", "--quiet", is_flag=True, help="No progress of a pull.")
@confinement_options
@docker_run_options
@progress_option
@registry_options
@click.argument("image")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@click.help_option("--help")
@click.pass_obj
def command(session: Session, /, **options: object) -> None:
    """Run COMMAND (or the image's own) in a new container of IMAGE.

    The exit code is the command's; 125 says that tiffin failed, 126 and 127 that the command could not be run.
    """
    try:
        code = _run(session, options)
    except TiffinError as exc:
        exc.exit_code = EXIT_OWN_FAILURE
        raise
    sys.exit(code)


def _many(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", options[name])


def _maybe(options: Mapping[str, object], name: str) -> str | None:
    return cast("str | None", options[name])


def _run(session: Session, options: Mapping[str, object]) -> int:
    from builder.containers.limits import begin_in_scope
    from builder.containers.run import check_wishes, command_of

    wishes = _wishes(options)
    if wishes.tty and options["interactive"] and not os.isatty(0):
        raise UsageError("stdin is no terminal, which -i -t need", remedy="leave out -t")
    for remark in remarks(options):
        click.echo(f"warning: {remark}", err=True)
    begin_in_scope(wishes.limits, os.environ)
    image = _find(session, options) or _pull(session, options)
    command_of(image.config.config, wishes)  # fail before anything is made
    isolation = session.become_root(_maybe(options, "isolation"))
    check_wishes(wishes, isolation)
    if isolation.unsupervised:
        click.echo(f"warning: isolation {isolation.tier}: {isolation.unsupervised}", err=True)
    return _run_in_namespace(session, isolation, image, wishes, options)


def _run_in_namespace(
    session: Session, isolation: Isolation, image: StoredImage, wishes: Wishes, options: Mapping[str, object]
) -> int:
    from builder.containers.container import Containers
    from builder.containers.limits import confine
    from builder.containers.rootfs import RootView
    from builder.containers.run import attend, command_of, forwarded_signals, give_streams, make_spec, network_of
    from builder.containers.volumes import prepare_mounts
    from builder.image.users import resolve_user
    from builder.sandbox.launch import Launcher
    from builder.sandbox.seccomp import filter_for

    with ExitStack() as stack:
        launcher = stack.enter_context(Launcher.start())  # before there are threads
        interactive = bool(options["interactive"])
        forwarder = stack.enter_context(forwarded_signals())
        network = network_of(wishes, image.config.config)
        if network.warning:
            click.echo(f"warning: {network.warning}", err=True)
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
                )
            )
            trees = _trees(session, isolation, image, options, container)
        write_id(options, container.state.id)
        root = RootView(trees)
        user_text = wishes.user or image.config.config.user
        user = resolve_user(user_text, root.read_file, further=_many(options, "groups"))
        mounted = prepare_mounts(
            wishes.mounts,
            image.config.config.volumes,
            state=session.state,
            container=container,
            root=root,
            read_only_root=wishes.read_only,
        )
        terminal = None
        fds = (0 if interactive else _null(stack), 1, 2)
        if wishes.tty:
            from builder.containers.terminal import Terminal

            terminal = stack.enter_context(Terminal(interactive=interactive))
            fds = (terminal.inner,) * 3
        give_streams(fds, user, terminal)
        limited = confine(container, wishes.limits)
        if limited.warning:
            click.echo(f"warning: {limited.warning}", err=True)
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
            console=terminal.path if terminal else "",
            isolation=isolation,
        )
        if spec.root_dir:
            from builder.sandbox.standins import StandIns, furnish

            aside = container.folder / "aside"
            aside.mkdir()
            spec = furnish(spec, stack.enter_context(StandIns(container.upper, aside)))
        running = launcher.run(spec, stdin=fds[0], stdout=fds[1], stderr=fds[2])
        forwarder.to(running)
        status = attend(running, terminal)
        container.finish(status.code)
    if status.message:
        click.echo(f"error: {status.message}; check the command and the image's PATH", err=True)
    return status.code


def _null(stack: ExitStack) -> int:
    fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _trees(
    session: Session, isolation: Isolation, image: StoredImage, options: Mapping[str, object], container: Container
) -> Sequence[Path]:
    """The unpacked layers; what tiffin knows of layers beyond that is only loaded if one is missing.

    Where layers cannot be mounted over each other: the container's own directory with a copy of them all.
    """
    from cache.snapshots import BlobRef, Snapshots

    snapshots = Snapshots(session.state, isolation.flavor)
    trees = snapshots.stack(image.config.diff_ids) if isolation.overlay else None
    if trees is not None:
        return trees

    from builder.events import NullSink

    def remote() -> Remote:
        return session.remote(NullSink(), _many(options, "insecure"), _maybe(options, "cert"))

    layers = session.layers(remote)
    layers.snapshots.flavor = isolation.flavor
    wanted = [
        (diff_id, BlobRef(media_type=layer.media_type, digest=layer.digest, size_bytes=layer.size_bytes))
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    ]
    if isolation.overlay:
        return layers.ensure_snapshots(wanted)
    for layer in wanted:
        layers.add_to_root(layer, container.upper)
    return [container.upper]


def _find(session: Session, options: Mapping[str, object]) -> StoredImage | None:
    if options["pull"] == "always":
        return None
    try:
        image = session.store.find(str(options["image"]))
    except ImageNotFoundError:
        if options["pull"] == "never":
            raise
        return None
    wanted = _maybe(options, "platform")
    if wanted:
        from builder.oci.spec import Platform

        if image.config.platform.architecture != Platform.parse(wanted).architecture:
            return None
    return image


def _pull(session: Session, options: Mapping[str, object]) -> StoredImage:
    from builder.cli.render import make_renderer
    from builder.events import Noted
    from builder.oci.reference import Reference
    from builder.oci.spec import Platform

    name, wanted = str(options["image"]), _maybe(options, "platform")
    platform, reference = Platform.parse(wanted) if wanted else Platform.local(), Reference.parse(name)
    with make_renderer(quiet_if(bool(options["quiet"]), str(options["progress"]))) as sink:
        if options["pull"] != "always":
            sink.emit(Noted(message=f"image {name} is not here; pulling it"))
        remote = session.remote(sink, _many(options, "insecure"), _maybe(options, "cert"))
        image = remote.pull(reference, platform)
    if wanted and image.config.platform.architecture != platform.architecture:
        raise ImageError(
            f"{name} is for {image.config.platform}, not for {platform}", remedy="leave out --platform, or name another"
        )
    return image


def _wishes(options: Mapping[str, object]) -> Wishes:
    from builder.containers.environment import parse_host, parse_variables
    from builder.containers.mounts import ordered, parse_mount, parse_size, parse_tmpfs, parse_volume
    from builder.containers.run import Wishes

    directory = str(Path.cwd())
    mounts = [parse_volume(text, directory=directory) for text in _many(options, "volumes")]
    mounts += [parse_mount(text, directory=directory) for text in _many(options, "mounts")]
    mounts += [parse_tmpfs(text) for text in _many(options, "tmpfs")]
    workdir = str(options["workdir"])
    if workdir and not workdir.startswith("/"):
        raise UsageError(f'--workdir "{workdir}" is no absolute path', remedy="begin it with /")
    return Wishes(
        command=_many(options, "words"),
        entrypoint=_maybe(options, "entrypoint"),
        variables=parse_variables(_many(options, "env"), _many(options, "env_files"), os.environ),
        mounts=ordered(mounts),
        workdir=workdir,
        user=str(options["user"]),
        hostname=str(options["hostname"]),
        hosts=tuple(parse_host(text) for text in _many(options, "hosts")),
        read_only=bool(options["read_only"]),
        tty=bool(options["tty"]),
        shm_size_bytes=parse_size(str(options["shm_size"])),
        **confinement(options),
    )

"""tiffin run."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import click

from builder.cli.render import make_renderer
from builder.cli.session import Session, progress_option, registry_options
from builder.containers.container import Containers
from builder.containers.options import parse_env, parse_host, parse_mount, parse_size, parse_tmpfs, parse_volume
from builder.containers.run import Root, Wishes, command_of, execute, make_spec
from builder.errors import TiffinError, UsageError
from builder.oci.reference import Reference
from builder.oci.spec import Platform

if TYPE_CHECKING:
    from builder.image.layers import LayerStore
    from builder.image.store import StoredImage

EXIT_OWN_FAILURE = 125  # Docker's code for "the container never started"


@click.command("run", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("--rm", "remove", is_flag=True, help="Leave nothing behind.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-e", "--env", "env", multiple=True, metavar="K[=V]", help="Environment variable; repeatable.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="File of K=V lines.")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="HOST:PATH[:ro]", help="Show a host path inside.")
@click.option("--mount", "mounts", multiple=True, metavar="type=bind|tmpfs,…", help="Mount; repeatable.")
@click.option("--tmpfs", "tmpfs", multiple=True, metavar="PATH[:size=…]", help="An empty file system in memory.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="User to run as.")
@click.option("--entrypoint", metavar="PROGRAM", help="Replace the image's entrypoint.")
@click.option("--network", type=click.Choice(["host", "none"]), default="host", help="Network (default: the host's).")
@click.option("--read-only", is_flag=True, help="Make the root file system read-only.")
@click.option("--hostname", default="", metavar="NAME", help="Host name.")
@click.option("--name", default="", metavar="NAME", help="Name of the container.")
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:ADDRESS", help="Line of /etc/hosts; repeatable.")
@click.option("--shm-size", default="64m", metavar="SIZE", help="Size of /dev/shm.")
@click.option("--security-opt", "security", multiple=True, metavar="OPTION", help="no-new-privileges.")
@click.option("--pull", type=click.Choice(["always", "missing", "never"]), default="missing", help="When to pull.")
@click.option("--isolation", metavar="TIER", help="Force an isolation tier: range, single.")
@progress_option
@registry_options
@click.argument("image")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@click.pass_obj
def command(session: Session, /, **options: object) -> None:
    """Run COMMAND (or the image's own) in a new container of IMAGE."""
    try:
        code = _run(session, options)
    except TiffinError as exc:
        exc.exit_code = EXIT_OWN_FAILURE
        raise
    sys.exit(code)


def _many(options: dict[str, object], name: str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", options[name])


def _run(session: Session, options: dict[str, object]) -> int:
    wishes = _wishes(options)
    with make_renderer(str(options["progress"])) as sink:
        remote = session.remote(sink, _many(options, "insecure"), cast("str | None", options["cert"]))
        layers = session.layers(lambda: remote)
        name = str(options["image"])
        image = _find(session, name, str(options["pull"]))
        if image is None:
            image = remote.pull(Reference.parse(name), Platform.local())
    command_of(image.config.config, wishes)  # fail before anything is made
    session.enter(layers, cast("str | None", options["isolation"]))
    return _in_namespace(session, layers, image, wishes, options)


def _in_namespace(
    session: Session, layers: LayerStore, image: StoredImage, wishes: Wishes, options: dict[str, object]
) -> int:
    from builder.containers.terminal import Terminal
    from builder.sandbox.launch import Launcher
    from cache.snapshots import BlobRef

    containers = Containers(session.state)
    containers.sweep(stopped=False)
    refs = [
        (diff_id, BlobRef(media_type=layer.media_type, digest=layer.digest, size_bytes=layer.size_bytes))
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    ]
    with ExitStack() as stack:
        launcher = stack.enter_context(Launcher.start())
        trees = layers.ensure_snapshots(refs)
        container = stack.enter_context(
            containers.create(
                image=str(options["image"]),
                command=command_of(image.config.config, wishes),
                name=str(options["name"]),
                remove=bool(options["remove"]),
            )
        )
        root = Root([layers.ensure_index(*ref) for ref in refs], trees)
        spec = make_spec(container, image.config.config, wishes, root, trees)
        stdin = 0
        if not options["interactive"]:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, stdin)
        if wishes.tty:
            terminal = Terminal()
            with terminal.joined(forward_input=bool(options["interactive"])):
                inner = terminal.inner
                status = execute(launcher, spec, stdin=inner, stdout=inner, stderr=inner)
        else:
            status = execute(launcher, spec, stdin=stdin, stdout=1, stderr=2)
        containers.finish(container, status.code)
    if status.message:
        click.echo(f"error: {status.message}; check the command and the image's PATH", err=True)
    return status.code


def _find(session: Session, name: str, pull: str) -> StoredImage | None:
    from builder.errors import ImageNotFoundError

    if pull == "always":
        return None
    try:
        return session.store.find(name)
    except ImageNotFoundError:
        if pull == "never":
            raise
        return None


def _wishes(options: dict[str, object]) -> Wishes:
    for text in _many(options, "security"):
        if text not in ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"):
            raise UsageError(f"--security-opt {text} is not supported yet", remedy="leave it out")
    mounts = [parse_volume(text) for text in _many(options, "volumes")]
    return Wishes(
        command=_many(options, "words"),
        entrypoint=cast("str | None", options["entrypoint"]),
        env=tuple(parse_env(_many(options, "env"), _many(options, "env_files"), os.environ)),
        mounts=(
            *mounts,
            *(parse_mount(text) for text in _many(options, "mounts")),
            *(parse_tmpfs(text) for text in _many(options, "tmpfs")),
        ),
        workdir=str(options["workdir"]),
        user=str(options["user"]),
        network=str(options["network"]),
        hostname=str(options["hostname"]),
        hosts=tuple(parse_host(text) for text in _many(options, "hosts")),
        read_only=bool(options["read_only"]),
        tty=bool(options["tty"]),
        shm_size_bytes=parse_size(str(options["shm_size"])),
        no_new_privs=bool(options["security"]),
    )

"""tiffin system df | prune | reset."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import (
    reach_trees,
    remove_images,
    remove_stopped,
    remove_unneeded,
    size_on_disk,
)
from tiffin.builder.cli.commands.info import command as info
from tiffin.builder.cli.groups import Group
from tiffin.builder.cli.output.lists import print_table
from tiffin.builder.cli.output.pruned import show_containers, show_images, told_total
from tiffin.builder.containers.container import Containers
from tiffin.builder.errors import UsageError
from tiffin.builder.plain_text import size_text
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.store.local import LocalCache
from tiffin.cache.store.mounts import CacheMounts
from tiffin.cache.store.snapshots import Snapshots


@click.group("system", cls=Group)
def command() -> None:
    """Disk usage, prune, reset."""


command.add_command(info)


@command.command("df")
@click.pass_obj
def df(session: Session, /) -> None:
    """Show what takes space."""
    reach_trees(session)
    images = session.store.images()
    containers = Containers(session.state).states()
    rows = [
        ["Images", str(len(images)), size_text(size_on_disk(session.state.images))],
        ["Containers", str(len(containers)), size_text(size_on_disk(session.state.containers))],
        ["Layers", str(len(list(Snapshots(session.state)))), size_text(size_on_disk(session.state.layers))],
        [
            "Cache mounts",
            str(len(CacheMounts(session.state, "").list())),
            size_text(size_on_disk(session.state.mounts)),
        ],
        [
            "Step records",
            str(len(list(LocalCache(session.table).records()))),
            size_text(size_on_disk(session.state.cache)),
        ],
    ]
    print_table([["TYPE", "TOTAL", "SIZE"], *rows])


@command.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="Also images without a name, and the whole build cache.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune(session: Session, /, everything: bool, force: bool) -> None:
    """Remove what no image and no step record needs; with --all the build cache too."""
    what = "the build cache, images without a name" if everything else "blobs and layers that nothing needs"
    confirm(force, f"Remove {what} and stopped containers?")
    reach_trees(session)
    with told_total(session):
        show_containers(remove_stopped(session))
        if everything:
            nameless = [image for image in session.store.images() if not image.names]
            remove_images(session, nameless)
            show_images(nameless)
        remove_unneeded(session, keep_records=not everything)
        if everything:
            mounts = CacheMounts(session.state, "")
            for mount in mounts.list():
                mounts.remove(mount)


@command.command("reset")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(session: Session, /, force: bool) -> None:
    """Remove everything: images, containers, cache."""
    root = session.state.root
    confirm(force, f"Remove everything in {root}?")
    alive = [state.name for state in Containers(session.state).states() if Containers(session.state).is_alive(state.id)]
    if alive:
        raise UsageError(f"container {alive[0]} is running", remedy="end it first")
    reach_trees(session)
    for item in list(root.iterdir()):
        remove_tree(item)


def confirm(force: bool, question: str) -> None:
    if force:
        return
    try:
        if not click.confirm(question, err=True):
            raise click.exceptions.Exit(0)  # as docker ends, which removes nothing either
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # ends the line of the question
        raise UsageError("nobody confirmed: stdin has no answer", remedy="use --force") from None

"""tiffin system df | prune | reset."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli.images import print_table
from builder.cli.plain_text import size_text
from builder.cli.session import Session
from builder.containers.container import Containers
from builder.errors import UsageError
from cache.digest import Digest
from cache.files import remove_tree
from cache.local import LocalCache
from cache.mounts import CacheMounts
from cache.snapshots import Snapshots
from cache.values import dataclass

if TYPE_CHECKING:
    from builder.image.remote import Remote


@click.group("system")
def command() -> None:
    """Disk usage, prune, reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """What images need."""

    blobs: frozenset[Digest]
    diff_ids: frozenset[Digest]


@command.command("df")
@click.pass_obj
def df(session: Session, /) -> None:
    """Show what takes space."""
    _reach_trees(session)
    images = session.store.images()
    containers = Containers(session.state).states()
    rows = [
        ["Images", str(len(images)), size_text(_size(session.state.images))],
        ["Containers", str(len(containers)), size_text(_size(session.state.containers))],
        ["Layers", str(len(list(Snapshots(session.state)))), size_text(_size(session.state.layers))],
        ["Cache mounts", str(len(CacheMounts(session.state, "").list())), size_text(_size(session.state.mounts))],
        ["Step records", str(len(list(LocalCache(session.table).records()))), size_text(_size(session.state.cache))],
    ]
    print_table([["TYPE", "TOTAL", "SIZE"], *rows])


@command.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="Also images without a name, and the whole build cache.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune(session: Session, /, everything: bool, force: bool) -> None:
    """Remove what no image and no step record needs; with --all the build cache too."""
    what = "the build cache, images without a name" if everything else "blobs and layers that nothing needs"
    _confirm(force, f"Remove {what} and stopped containers?")
    _reach_trees(session)
    before = _size(session.state.root)
    Containers(session.state).sweep(stopped=True)
    if everything:
        for image in session.store.images():
            if not image.names:
                session.store.remove(image)
    cache = LocalCache(session.table)
    snapshots = Snapshots(session.state)
    with session.state.lock("prune"):  # a run holds it shared while its container appears
        live = _live(session, cache, keep_records=not everything)
        for digest in list(session.blobs):
            if digest not in live.blobs:
                session.blobs.delete(digest)
        for diff_id in list(snapshots):
            if diff_id not in live.diff_ids:
                snapshots.remove(diff_id)
        for name, record in list(cache.records()):
            if record.diff_id not in live.diff_ids:
                cache.forget(name)
        if everything:
            mounts = CacheMounts(session.state, "")
            for mount in mounts.list():
                mounts.remove(mount)
    click.echo(f"Total reclaimed space: {size_text(max(0, before - _size(session.state.root)))}")


@command.command("reset")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(session: Session, /, force: bool) -> None:
    """Remove everything: images, containers, cache."""
    root = session.state.root
    _confirm(force, f"Remove everything in {root}?")
    alive = [state.name for state in Containers(session.state).states() if Containers(session.state).is_alive(state.id)]
    if alive:
        raise UsageError(f"container {alive[0]} is running", remedy="end it first")
    _reach_trees(session)
    for item in list(root.iterdir()):
        remove_tree(item)


def _live(session: Session, cache: LocalCache, *, keep_records: bool) -> _Live:
    blobs: set[Digest] = set(session.store.index_digests())
    diff_ids = {Digest.parse(text) for state in Containers(session.state).states() for text in state.layers}
    for image in session.store.images():
        blobs |= {image.descriptor.digest, image.id, *(layer.digest for layer in image.manifest.layers)}
        diff_ids |= set(image.config.diff_ids)
    if keep_records:
        snapshots = Snapshots(session.state)
        diff_ids |= {record.diff_id for _, record in cache.records()}
        for image in session.store.resolved_images():
            blobs |= {image.descriptor.digest, image.id, *(layer.digest for layer in image.manifest.layers)}
            diff_ids |= set(image.config.diff_ids)
        for diff_id in diff_ids:
            blobs |= {ref.digest for ref in snapshots.blobs(diff_id)}
    return _Live(blobs=frozenset(blobs), diff_ids=frozenset(diff_ids))


def _reach_trees(session: Session) -> None:
    """Enter the namespace if there are trees with other owners; without one they stay, told by the error."""
    folders = (session.state.layers, session.state.containers)
    if any(any(folder.iterdir()) for folder in folders) or any(session.state.tmp.iterdir()):
        session.enter(session.layers(_no_remote), None)


def _no_remote() -> Remote:
    raise AssertionError("nothing is fetched here")


def _size(path: Path) -> int:
    """Bytes on disk below `path`; a file with several names counts once."""
    total, seen, pending = 0, set(), [os.fspath(path)]
    while pending:
        with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as items:  # others work meanwhile
            for item in items:
                st = item.stat(follow_symlinks=False)
                if (st.st_dev, st.st_ino) not in seen:
                    seen.add((st.st_dev, st.st_ino))
                    total += st.st_blocks * 512
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
    return total


def _confirm(force: bool, question: str) -> None:
    if not force:
        click.confirm(question, abort=True, err=True)

"""Removing from the state directory what nothing needs: images, containers and step records keep what they name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.local import LocalCache
from tiffin.cache.store.snapshots import Snapshots
from tiffin.cache.store.statedir import FAILURES

if TYPE_CHECKING:
    from tiffin.builder.api.storage.prune_filter import PruneFilter
    from tiffin.builder.containers.state import ContainerState
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.store import StoredImage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """What is needed."""

    blobs: frozenset[Digest]
    diff_ids: frozenset[Digest]


def remove_unneeded(session: Session, *, keep_records: bool) -> None:
    """Remove blobs, layers, records and listings that nothing needs; a run holds the lock shared while its container
    appears.
    """
    from tiffin.builder.image.resolved import LINES
    from tiffin.builder.solver.explain import LISTING_PREFIX
    from tiffin.builder.solver.layering.splitting import forget_parts

    cache, snapshots = LocalCache(session.table), Snapshots(session.state)
    with session.state.lock("prune"):
        live = _live(session, cache, keep_records=keep_records)
        for digest in list(session.blobs):
            if digest not in live.blobs:
                session.blobs.delete(digest)
        for diff_id in list(snapshots):
            if diff_id not in live.diff_ids:
                snapshots.remove(diff_id)
        named = set()
        for name, record in list(cache.records()):
            if record.diff_id not in live.diff_ids:
                cache.forget(name)
            else:
                named |= {LISTING_PREFIX + part.value for part in record.parts if part.name == "content"}
        forget_parts(session.table, live.diff_ids)
        known = {f"{LINES}{digest}" for digest in live.blobs}
        for name in list(session.table.names()):
            if (name.startswith(LISTING_PREFIX) and name not in named) or (
                name.startswith(LINES) and name not in known
            ):
                session.table.delete(name)


def reach_trees(session: Session) -> str:
    """Enter the namespace if there are trees with other owners; without one they stay, told by the error.

    The tag of the id map of its trees, "" where there was no need.
    """
    layers = session.layers(no_remote)
    folders = (session.state.layers, session.state.containers)
    if any(any(folder.iterdir()) for folder in folders) or any(session.state.tmp.iterdir()) or has_failures(session):
        session.enter(layers, None)
    return layers.snapshots.idmap_tag


def has_failures(session: Session) -> bool:
    """Whether steps that failed are kept."""
    return (session.state.root / FAILURES).is_dir()


def remove_failures(session: Session) -> None:
    """Remove what is kept of steps that failed. The namespace was entered."""
    if has_failures(session):
        from tiffin.builder.execute.debugging.failures import Failures

        Failures(session.state).trim(0)


@contextlib.contextmanager
def reclaimed(session: Session) -> Iterator[list[int]]:
    """Yield a list; at the end it holds how many bytes less the state directory takes."""
    before = size_on_disk(session.state.root)
    found: list[int] = []
    yield found
    found.append(max(0, before - size_on_disk(session.state.root)))


def remove_stopped(session: Session, wanted: PruneFilter | None = None) -> Sequence[str]:
    """Remove containers that ended, those that are meant if a filter is given; return their ids."""

    def is_wanted(state: ContainerState) -> bool:
        return wanted is None or wanted.fits(state.created, state.labels)

    return Containers(session.state).sweep(stopped=True, is_wanted=is_wanted)


def remove_images(session: Session, images: Sequence[StoredImage]) -> None:
    """Remove images with all their names."""
    for image in images:
        session.store.remove(image)


def size_on_disk(path: Path) -> int:
    """Return bytes on disk below `path`; a file with several names counts once."""
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


def _live(session: Session, cache: LocalCache, *, keep_records: bool) -> _Live:
    blobs: set[Digest] = set(session.store.index_digests())
    if session.store.artifact_rows():
        from tiffin.builder.image.attached.kept import artifact_digests

        blobs |= artifact_digests(session.store, session.blobs)
    containers = Containers(session.state).states()
    diff_ids = {Digest.parse(text) for state in containers for text in (*state.layers, *state.mounted_layers)}
    for image in session.store.manifests():
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


def no_remote() -> Remote:
    """Refuse to fetch: for layers of commands that download nothing."""
    raise AssertionError("nothing is fetched here")

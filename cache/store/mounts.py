"""The directories behind RUN --mount=type=cache: they outlive builds, and never enter a layer or a key.

mounts/cache/HEX.IDMAP_TAG[.N]/{fs/, id}     HEX names the id and what it began with, IDMAP_TAG the id map of its
owners mounts/cache/HEX.IDMAP_TAG[.N].lock          held while a step uses it

A directory holds whatever a step left there, also one that was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tiffin.cache.errors import StoreError
from tiffin.cache.foundation.files import disk_errors, flocked, remove_tree
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.statedir import StateDir

MAX_PRIVATE = 1024  # directories of one id in use at once
FOLDER = "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMountInfo:
    """One directory: the id it is for, and its place."""

    id: str
    path: Path


class CacheMounts:
    """The cache mounts of one state directory, as seen under one id map."""

    def __init__(self, state: StateDir, idmap_tag: str) -> None:
        self._folder = state.mounts / FOLDER
        self._idmap_tag = idmap_tag

    @contextlib.contextmanager
    def open(self, mount_id: str, sharing: str, fill: Callable[[Path], None], *, beginning: str = "") -> Iterator[Path]:
        """Yield the directory of `mount_id` while the block runs; `fill` makes a new one, given a path that does not
        exist.

        `beginning`: what stands for what new ones begin with; there is a directory of the id for each.
        `sharing`: "shared" lets any number in, "locked" waits until nobody else is, "private" takes another directory
        where one is in use. Raises StoreError.
        """
        name = self._name(f"{mount_id}\0{beginning}" if beginning else mount_id)
        with disk_errors(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        if sharing == "shared":
            place = self._folder / name
            while True:
                with _held(place, exclusive=False, wait=True):
                    if (place / "fs").is_dir():
                        yield place / "fs"
                        return
                with _held(place, exclusive=True, wait=True):
                    self._make(place, mount_id, fill)
        for number in range(MAX_PRIVATE):
            place = self._folder / (f"{name}.{number}" if number else name)
            with _held(place, exclusive=True, wait=sharing != "private") as held:
                if held:
                    self._make(place, mount_id, fill)
                    yield place / "fs"
                    return
        raise StoreError(f'cache mount "{mount_id}" is in use {MAX_PRIVATE} times', remedy="use sharing=locked")

    @contextlib.contextmanager
    def find(self, mount_id: str) -> Iterator[Path | None]:
        """Yield the directory of `mount_id`, unused by others while the block runs; None if there is none, or it is in
        use.
        """
        place = self._folder / self._name(mount_id)
        if not (place / "fs").is_dir():
            yield None
            return
        with _held(place, exclusive=True, wait=False) as held:
            yield place / "fs" if held and (place / "fs").is_dir() else None

    def place(self, mount_id: str) -> Path | None:
        """Return the first directory of `mount_id`, None if there is none; to look at."""
        path = self._folder / self._name(mount_id) / "fs"
        return path if path.is_dir() else None

    def list(self) -> list[CacheMountInfo]:
        """Return all of them, of every id map."""
        if not self._folder.is_dir():
            return []
        places = sorted(item for item in self._folder.iterdir() if item.is_dir() and (item / "id").is_file())
        return [CacheMountInfo(id=(item / "id").read_text(errors="surrogateescape"), path=item) for item in places]

    def remove(self, info: CacheMountInfo) -> bool:
        """Remove one unless it is in use; files of other owners raise OSError."""
        with _held(info.path, exclusive=True, wait=False) as held:
            if held:
                remove_tree(info.path)
                info.path.with_name(info.path.name + ".lock").unlink(missing_ok=True)
            return held

    def _name(self, mount_id: str) -> str:
        return f"{hashlib.sha256(mount_id.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.{self._idmap_tag}"

    def _make(self, place: Path, mount_id: str, fill: Callable[[Path], None]) -> None:
        if (place / "fs").is_dir():
            return
        with disk_errors(place):
            remove_tree(place)
            fresh = place.with_name(f".new-{place.name}")  # nobody else's: we hold the lock
            remove_tree(fresh)
            fresh.mkdir(mode=0o700)
            fill(fresh / "fs")
            (fresh / "id").write_text(mount_id, errors="surrogateescape")
            fresh.rename(place)


def _held(place: Path, *, exclusive: bool, wait: bool) -> AbstractContextManager[bool]:
    return flocked(place.with_name(place.name + ".lock"), shared=not exclusive, blocking=wait)

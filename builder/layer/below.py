"""What lies below a step, path by path: in unpacked trees as an overlay shows them, or in tables of contents."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.diff import read_entry
from tiffin.builder.layer.disk.directories import host_name, image_name
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree
from tiffin.builder.layer.paths import ROOT

COMPARE_BYTES = 1 << 18
LISTED_AFTER = 8  # questions: then a directory is read as a whole
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FoundEntry(NamedTuple):
    """What is at a path; `inode` is the same for names of one file, `place` where a tree has it."""

    entry: Entry
    inode: Hashable
    place: bytes = b""


class LowerLayers(Protocol):
    """What lies below. Every method may raise OSError: then it cannot be told."""

    def lookup(self, path: str) -> FoundEntry | None:
        """Return what is at `path`, hard links as the file they are; None if nothing is."""

    def children(self, path: str) -> set[str]:
        """Return the names in a directory that lookup found."""

    def has_content(self, found: FoundEntry, change: Change) -> bool:
        """Whether the file that was found holds what the change does; both have one size."""


class TablesBelow:
    """Layers by their tables, bottom first."""

    def __init__(self, layers: Sequence[LayerIndex]) -> None:
        self._layers = layers
        self._tree = MergedTree(layers)
        self._is_directory: dict[str, bool] = {ROOT: True, "": True}

    def lookup(self, path: str) -> FoundEntry | None:
        # most of what is new lies in directories that are new, and each layer would be asked for it
        if not self._has_directory(path.rpartition("/")[0]):
            return None
        located = self._tree.lookup(path)
        if located is None:
            return None
        target = self._tree.target(located)
        return FoundEntry(target.entry._replace(path=path), (target.layer, target.entry.path))

    def children(self, path: str) -> set[str]:
        return {child.entry.path.rpartition("/")[2] for child in self._tree.children(path)}

    def has_content(self, found: FoundEntry, change: Change) -> bool:
        if not found.entry.size:
            return True
        known = change.entry.digest
        if not known and change.open is not None:
            known = _sha256(change.open)
        return bool(known) and known == found.entry.digest

    def name_count(self, found: FoundEntry) -> int:
        """Return how many names the file has in its layer; some may be hidden by now."""
        return 1 + self._links[found.inode]

    @cached_property
    def _links(self) -> Counter[Hashable]:
        return Counter(
            (number, entry.link)
            for number, layer in enumerate(self._layers)
            for entry in layer.entries
            if entry.kind == "hardlink"
        )

    def _has_directory(self, path: str) -> bool:
        known = self._is_directory.get(path)
        if known is None:
            found = self.lookup(path)
            known = self._is_directory[path] = found is not None and found.entry.kind == "dir"
        return known


class TreesBelow:
    """Unpacked trees, bottom first, which nobody changes meanwhile. They are reached through directories alone."""

    def __init__(self, trees: Sequence[Path]) -> None:
        self._merged: dict[str, list[bytes]] = {ROOT: [os.fsencode(tree) for tree in reversed(trees)]}
        self._asked: Counter[str] = Counter()  # how often for something in a directory
        self._names: dict[str, set[bytes]] = {}  # all names in those asked for often, whiteouts too

    def lookup(self, path: str) -> FoundEntry | None:
        parent, _, last = path.rpartition("/")
        name = host_name(last)
        directories = self._directories(parent or ROOT)
        if not directories or not self._may_have(parent, name, directories):
            return None
        for directory in directories:
            place = b"%b/%b" % (directory, name)
            try:
                st = os.lstat(place)
            except FileNotFoundError:
                continue
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                entry = read_entry(path, st, fd, name)
            finally:
                os.close(fd)
            if entry is None or entry.kind == "whiteout":
                return None
            return FoundEntry(entry, (st.st_dev, st.st_ino), place)
        return None

    def children(self, path: str) -> set[str]:
        seen: dict[str, bool] = {}
        for directory in self._directories(path):
            with os.scandir(directory) as items:
                for item in items:
                    seen.setdefault(image_name(item.name), not _is_whiteout(item.stat(follow_symlinks=False)))
        return {name for name, is_there in seen.items() if is_there}

    def has_content(self, found: FoundEntry, change: Change) -> bool:
        if change.open is None:
            return not found.entry.size  # both have one size
        with os.fdopen(os.open(found.place, _READ), "rb", buffering=0) as below, change.open() as stream:
            while True:
                ours, theirs = stream.read(COMPARE_BYTES), below.read(COMPARE_BYTES)
                if ours != theirs:
                    return False
                if not ours:
                    return True

    def _may_have(self, parent: str, name: bytes, directories: Sequence[bytes]) -> bool:
        """Whether a directory may have a name: most files of a step are new, and each layer would be asked for each."""
        names = self._names.get(parent)
        if names is None:
            self._asked[parent] += 1
            if self._asked[parent] < LISTED_AFTER:
                return True
            names = self._names[parent] = {name for directory in directories for name in os.listdir(directory)}
        return name in names

    def _directories(self, path: str) -> list[bytes]:
        """Return the directories that an overlay shows as `path`, topmost first."""
        known = self._merged.get(path)
        if known is None:
            known = self._merged[path] = self._find(path)
        return known

    def _find(self, path: str) -> list[bytes]:
        parent, _, last = path.rpartition("/")
        result = []
        for directory in self._directories(parent or ROOT):
            place = b"%b/%b" % (directory, host_name(last))
            try:
                st = os.lstat(place)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(st.st_mode):
                break
            result.append(place)
            if xattrs.is_opaque(place):
                break
        return result


def _sha256(open_file: Callable[[], BinaryIO]) -> str:
    hasher = hashlib.sha256()
    with open_file() as stream:
        while data := stream.read(COMPARE_BYTES):
            hasher.update(data)
    return hasher.hexdigest()


def _is_whiteout(st: os.stat_result) -> bool:
    return stat.S_ISCHR(st.st_mode) and not st.st_rdev

"""Where COPY and ADD read from: one interface over a local directory and over a stack of layers.

Paths are relative to the root of the tree, without leading slash; the root itself is ".".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree, new_entry

Opener = Callable[[], BinaryIO]
ROOT = "."
MAX_SMALL_FILE_BYTES = 10 << 20  # passwd and group; the limit BuildKit uses
NEW_DIRECTORY_MODE = 0o755  # of the root of a copy


class SourceTree(Protocol):
    """A tree of files that can be listed without reading them.

    Entries come with the digest of their content. Every method takes paths whose parents are not symlinks (`resolve`
    makes such) and raises ContextError or StoreError when the tree cannot be read.
    """

    def lookup(self, path: str) -> Entry | None:
        """Return the entry at `path`, not following a symlink there; hardlinks appear as the file they are."""

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """Follow symlinks inside the tree; what does not exist stays as it is."""

    def children(self, path: str) -> Sequence[Entry]:
        """Return what the directory `path` holds, sorted by name."""

    def opener(self, entry: Entry) -> Opener:
        """Return how to open the content of a file."""

    def link_group(self, entry: Entry) -> Hashable:
        """Return the same value for names of one file, else None."""


class LayerTree:
    """The merged view of a stack of layers, bottom first. `open_member` opens a file of the layer of that number."""

    def __init__(self, layers: Sequence[LayerIndex], open_member: Callable[[int, Entry], BinaryIO]) -> None:
        self._tree = MergedTree(layers)
        self._open_member = open_member

    def lookup(self, path: str) -> Entry | None:
        located = self._tree.lookup(path)
        return self._tree.target(located).entry._replace(path=path) if located else None

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return self._tree.resolve(path, follow_last=follow_last)

    def children(self, path: str) -> Sequence[Entry]:
        return [self._tree.target(child).entry._replace(path=child.entry.path) for child in self._tree.children(path)]

    def opener(self, entry: Entry) -> Opener:
        located = self._tree.lookup(entry.path)
        assert located is not None, entry.path
        target = self._tree.target(located)
        return lambda: self._open_member(target.layer, target.entry)

    def link_group(self, entry: Entry) -> Hashable:
        located = self._tree.lookup(entry.path)
        assert located is not None, entry.path
        target = self._tree.target(located)
        return (target.layer, target.entry.path)

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a small regular file such as etc/passwd, symlinks followed inside the tree; else
        None.
        """
        entry = self.lookup(self.resolve(path.strip("/")))
        if entry is None or entry.kind != "file" or entry.size > MAX_SMALL_FILE_BYTES:
            return None
        with self.opener(entry)() as stream:
            return stream.read()


class FileTree:
    """One file called `name`, whose content is at `path`; owned by root."""

    def __init__(self, *, name: str, mode: int, size: int, mtime_ns: int, digest: str, path: Path) -> None:
        self._path = path
        self._entry = new_entry(name, "file", mode, mtime_ns=mtime_ns)._replace(size=size, digest=digest)

    def lookup(self, path: str) -> Entry | None:
        return self._entry if path == self._entry.path else None

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return path

    def children(self, path: str) -> Sequence[Entry]:
        return [self._entry] if path == ROOT else []

    def opener(self, entry: Entry) -> Opener:
        return lambda: self._path.open("rb", buffering=0)

    def link_group(self, entry: Entry) -> Hashable:
        return None

"""A layer's table of contents, and the merged view of a stack of them (image-spec layer.md).

Most of tiffin reads these instead of files: COPY, USER look-ups, inspect, diff.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from builder.errors import CorruptError
from builder.layer.paths import ROOT, resolve_links

VERSION = 1
KINDS = ("file", "dir", "symlink", "hardlink", "char", "block", "fifo", "whiteout")


class Entry(NamedTuple):
    """One path of a layer. A NamedTuple, as layers have a hundred thousand of them.

    `path` is relative to the root without leading slash ("." is the root itself), undecodable bytes as surrogates;
    `mode` has permission bits only; `link` is a symlink's text or a hardlink's target path; `digest` the sha256 (hex)
    of the content, "" if unknown; `offset` where the content lies in the uncompressed tar, -1 if unknown.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str
    xattrs: tuple[tuple[str, bytes], ...]
    major: int
    minor: int
    digest: str
    offset: int
    opaque: bool


def sort_key(path: str) -> list[str]:
    """Order by components, so that a directory is followed by all it holds."""
    return path.split("/")


def new_entry(path: str, kind: str, mode: int, *, mtime_ns: int = 0) -> Entry:
    """An entry of root's with nothing in it."""
    return Entry(path, kind, mode, 0, 0, 0, mtime_ns, "", (), 0, 0, "", -1, False)


class LayerIndex:
    """The entries of one layer, sorted by path."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    @cached_property
    def by_path(self) -> dict[str, Entry]:
        return {entry.path: entry for entry in self.entries}

    @cached_property
    def by_parent(self) -> dict[str, list[Entry]]:
        """Entries by the directory they are in; the root's is "."."""
        result: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.path != ROOT:
                result.setdefault(entry.path.rpartition("/")[0] or ROOT, []).append(entry)
        return result

    def get(self, path: str) -> Entry | None:
        return self.by_path.get(path)

    def encode(self) -> bytes:
        """Columns, which are small and quickly read."""
        columns = [list(column) for column in zip(*self.entries, strict=True)] or [[] for _ in Entry._fields]
        xattrs = Entry._fields.index("xattrs")
        columns[xattrs] = [[[name, value.hex()] for name, value in item] for item in columns[xattrs]]
        return json.dumps([VERSION, columns], separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> LayerIndex:
        """Read what `encode` wrote; raises CorruptError."""
        try:
            version, columns = json.loads(data)
            if version != VERSION or len(columns) != len(Entry._fields):
                raise ValueError("another version")
            xattrs = Entry._fields.index("xattrs")
            columns[xattrs] = [
                tuple((name, bytes.fromhex(value)) for name, value in item) if item else () for item in columns[xattrs]
            ]
            return cls([Entry._make(row) for row in zip(*columns, strict=True)])
        except (ValueError, TypeError) as exc:
            raise CorruptError(f"a layer's index is damaged: {exc}", remedy="run tiffin system prune") from exc


class Located(NamedTuple):
    """An entry and the number of its layer, bottom 0."""

    entry: Entry
    layer: int


class MergedTree:
    """The view of layers stacked bottom first, whiteouts and opaque directories applied. Nothing is copied."""

    def __init__(self, layers: Sequence[LayerIndex]) -> None:
        self._layers = tuple(layers)

    def lookup(self, path: str) -> Located | None:
        """What is at `path`, symlinks not followed, hardlinks as they stand."""
        for number in range(len(self._layers) - 1, -1, -1):
            entry = self._layers[number].get(path)
            if entry is not None:
                return None if entry.kind == "whiteout" else Located(entry, number)
            if self._hides(number, path):
                return None
        return None

    def target(self, located: Located) -> Located:
        """The file behind a hardlink (always of the same layer); anything else is itself."""
        if located.entry.kind != "hardlink":
            return located
        entry = self._layers[located.layer].get(located.entry.link)
        if entry is None or entry.kind == "hardlink":
            raise CorruptError(
                f'hardlink "{located.entry.path}" leads nowhere in its layer', remedy="the image is damaged"
            )
        return Located(entry, located.layer)

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """Follow symlinks inside the root; raises ImageError for loops."""
        return resolve_links(path, self._link_text, follow_last=follow_last)

    def children(self, path: str) -> list[Located]:
        """What the directory `path` holds, sorted by name."""
        found: dict[str, Located | None] = {}
        for number in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[number]
            for entry in layer.by_parent.get(path, ()):
                if entry.path not in found:
                    found[entry.path] = None if entry.kind == "whiteout" else Located(entry, number)
            own = layer.get(path)
            if own is not None and (own.kind != "dir" or own.opaque):
                break
            if self._hides(number, path):
                break
        return sorted((item for item in found.values() if item is not None), key=lambda item: item.entry.path)

    def walk(self, path: str = ROOT) -> list[Located]:
        """Everything below `path`, parents first, sorted by component."""
        result: list[Located] = []
        pending = list(reversed(self.children(path)))
        while pending:
            item = pending.pop()
            result.append(item)
            if item.entry.kind == "dir":
                pending += reversed(self.children(item.entry.path))
        return result

    def _hides(self, number: int, path: str) -> bool:
        """Whether layer `number` has a parent of `path` that hides what lies below it in lower layers."""
        by_path = self._layers[number].by_path
        end = path.rfind("/")
        while end > 0:
            entry = by_path.get(path[:end])
            if entry is not None and (entry.kind != "dir" or entry.opaque):
                return True
            end = path.rfind("/", 0, end)
        return False

    def _link_text(self, path: str) -> str | None:
        located = self.lookup(path)
        return located.entry.link if located and located.entry.kind == "symlink" else None

"""Which changes of a step change nothing, and the times that layers have.

A file that was copied up, written again or copied again as it was is not a change. Laws: the layer gives the same tree
with and without what is dropped, whatever lies below; content is compared always, never concluded from times, as a
program may set them; when in doubt, a change stays.

Layers have whole seconds, as BuildKit's and Docker's do: a header of its own for the fractions would make every small
file larger. The tree a step leaves behind gets the same times, so that it is the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tiffin.builder.layer.below import FoundEntry, LowerLayers
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, new_entry, sort_key, timed
from tiffin.builder.layer.tar.writer import BLOCK_BYTES, NANOSECONDS
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What is left of changes, and what has to be done to a tree that holds them all to make it hold these alone."""

    changes: list[Change]
    dropped: list[Entry]  # as they were found
    restored: list[Entry]  # of those: what lies below with another time
    retimed: list[Entry]  # of the changes: those whose time is another now
    transparent: list[str]  # directories that were opaque
    whiteouts: list[str]  # those that came to the changes


def layer_time(mtime_ns: int, epoch_ns: int | None) -> int:
    """Return a time as a layer has it: whole seconds, and none later than `epoch_ns`."""
    whole = mtime_ns - mtime_ns % NANOSECONDS
    return whole if epoch_ns is None else min(whole, epoch_ns)


def reduced(
    changes: Sequence[Change],
    below: LowerLayers,
    *,
    epoch_ns: int | None = None,
    name_count: Callable[[FoundEntry], int] | None = None,
) -> Reduced:
    """Return `changes` (sorted, as a diff has them) without those that change nothing, with the times of layers.

    `name_count` tells how many names what is below has: a file that takes the place of one of several is no longer one
    with the others. Without it that is not a change: where a file was copied up, it is an overlay that took its other
    names away, and nobody asked for that.
    """
    return _Reduction(changes, below, epoch_ns, name_count).result()


class _Reduction:
    def __init__(
        self,
        changes: Sequence[Change],
        below: LowerLayers,
        epoch_ns: int | None,
        name_count: Callable[[FoundEntry], int] | None,
    ) -> None:
        self._below = below
        self._name_count = name_count
        self._epoch_ns = epoch_ns
        self._changes = {change.entry.path: change for change in changes}
        self._groups: dict[str, list[str]] = {}  # the names that are links to a name
        for change in changes:
            if change.entry.kind == "hardlink":
                self._groups.setdefault(change.entry.link, []).append(change.entry.path)
        self._same: set[str] = set()  # what is below as well; a directory that is may be needed for what it holds
        self._times: dict[str, int] = {}  # those that lie below, where they are others
        self._transparent: list[str] = []
        self._whiteouts: list[str] = []

    def result(self) -> Reduced:
        opaque = ""  # with its slash, the directory below which all is new
        inner: dict[str, list[str]] = {}  # what each opaque directory holds
        for path, change in self._changes.items():
            if opaque and path.startswith(opaque):
                inner[opaque].append(path)
                continue
            if change.entry.opaque and self._hides(path):
                opaque = f"{path}/"
                inner[opaque] = []
                continue
            if change.entry.opaque:
                self._transparent.append(path)
            if self._is_same(change):
                self._same.add(path)
        for directory, paths in inner.items():
            self._open_up(directory.rstrip("/"), paths)
        self._keep_linked()
        return self._sorted_out()

    # -- one by one ------------------------------------------------------------------------------------------------

    def _hides(self, path: str) -> bool:
        """Whether something is below for an opaque directory to hide."""
        try:
            found = self._below.lookup(path)
            return found is not None and found.entry.kind == "dir" and bool(self._below.children(path))
        except OSError:
            return True

    def _is_same(self, change: Change) -> bool:
        entry = change.entry
        try:
            found = self._below.lookup(entry.path)
            if entry.kind == "whiteout":
                return found is None
            if change.implied:  # the layer does not tell of it anyway
                return True
            if found is None:
                return False
            if entry.kind == "hardlink":  # decided with its first name
                return True
            if not self._is_alike(entry, found.entry):
                return False
            if found.entry.mtime_ns != entry.mtime_ns:
                self._times[entry.path] = found.entry.mtime_ns
            return (entry.kind == "dir" or self._has_names(entry, found)) and (
                entry.kind != "file" or self._below.has_content(found, change)
            )
        except OSError:
            return False

    def _has_names(self, entry: Entry, found: FoundEntry) -> bool:
        """Whether the file below has no more names than that of the change."""
        return self._name_count is None or self._name_count(found) <= 1 + len(self._groups.get(entry.path, ()))

    def _is_alike(self, entry: Entry, below: Entry) -> bool:
        """Whether all but the content is the same; a layer may have cut the time that was set."""
        if below.mtime_ns not in (entry.mtime_ns, layer_time(entry.mtime_ns, self._epoch_ns)):
            return False
        return _compared(entry) == _compared(below)

    # -- together --------------------------------------------------------------------------------------------------

    def _open_up(self, directory: str, paths: Sequence[str]) -> None:
        """Name what is gone of a directory that was removed and made again, instead of hiding all, where that is
        less.
        """
        try:
            same = {path for path in paths if self._is_same(self._changes[path])}
            gone = self._gone([directory, *(path for path in paths if self._changes[path].entry.kind == "dir")])
        except OSError:
            return
        files = [self._changes[path].entry for path in same if self._changes[path].entry.kind != "dir"]
        if sum(BLOCK_BYTES + entry.size for entry in files) <= BLOCK_BYTES * len(gone):
            return
        self._same |= same
        self._transparent += [path for path in (directory, *paths) if self._changes[path].entry.opaque]
        self._whiteouts += gone
        if self._is_same(self._changes[directory]):
            self._same.add(directory)

    def _gone(self, directories: Sequence[str]) -> list[str]:
        result = []
        for directory in directories:
            found = self._below.lookup(directory)
            if found is not None and found.entry.kind == "dir":
                names = [f"{directory}/{name}" for name in self._below.children(directory)]
                result += [path for path in names if path not in self._changes]
        return result

    def _keep_linked(self) -> None:
        """Drop all names of one file where they are names of one file below too, else none."""
        for first, others in self._groups.items():
            names = [first, *others]
            if not (self._same.issuperset(names) and self._is_one_file(names)):
                self._same.difference_update(names)

    def _is_one_file(self, names: Sequence[str]) -> bool:
        try:
            found = [self._below.lookup(name) for name in names]
        except OSError:
            return False
        return len({item.inode for item in found if item is not None}) == 1

    def _sorted_out(self) -> Reduced:
        kept: list[Change] = [Change(new_entry(path, "whiteout", 0)) for path in self._whiteouts]
        dropped: list[Entry] = []
        retimed: list[Entry] = []
        transparent = frozenset(self._transparent)
        needed = {path.rpartition("/")[0] for path in self._whiteouts}
        for path, change in reversed(self._changes.items()):
            entry = change.entry
            if path in self._same and path not in needed:
                dropped.append(entry)
                continue
            needed.add(path.rpartition("/")[0])
            if change.inside is not None:
                change = change._replace(inside=partial(_in_layer_time, change.inside, self._epoch_ns))
            moment = layer_time(entry.mtime_ns, self._epoch_ns)
            if moment != entry.mtime_ns or path in transparent:
                is_retimed = moment != entry.mtime_ns
                entry = entry._replace(mtime_ns=moment, opaque=entry.opaque and path not in transparent)
                change = change._replace(entry=entry)
                if is_retimed:
                    retimed.append(entry)
            kept.append(change)
        kept.sort(key=lambda change: sort_key(change.entry.path))
        return Reduced(
            changes=kept,
            dropped=dropped,
            restored=[
                entry._replace(mtime_ns=self._times[entry.path]) for entry in dropped if entry.path in self._times
            ],
            retimed=retimed,
            transparent=[path for path in self._transparent if path not in self._same or path in needed],
            whiteouts=self._whiteouts,
        )


def _in_layer_time(inside: Callable[[], Iterator[Change]], epoch_ns: int | None) -> Iterator[Change]:
    for change in inside():
        entry = change.entry
        yield Change(timed(entry, layer_time(entry.mtime_ns, epoch_ns)), change.open, change.implied)


def _compared(entry: Entry) -> Entry:
    """Return an entry without what is not part of the file, or another in a table than in a tree."""
    mode = 0 if entry.kind == "symlink" else entry.mode
    return entry._replace(mode=mode, mtime_ns=0, digest="", offset=-1, opaque=False)

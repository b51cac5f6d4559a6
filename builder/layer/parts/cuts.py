"""Where layers are cut into parts: between files, by their paths, so that a change moves as few cuts as possible.

The heaviest part is cut first, until all are small enough or there may be no more layers. A cut falls into the middle
half of a part's bytes, at the boundary that is the highest in the tree (small directories stay whole); of several the
digest of the path decides. So it depends on what is near: bytes that come or go elsewhere move no cut, or one.

The names of a file stay together. Pure: the same tables give the same cuts everywhere.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.tar.writer import BLOCK_BYTES

NO_CONTENT = ("dir", "whiteout")  # kinds of entries that are in no part of their own


class Files:
    """What is to be divided of one layer: its files, each with all its names, in the order of their first ones."""

    def __init__(self, table: LayerIndex) -> None:
        groups: dict[str, list[Entry]] = {}
        for entry in table.entries:
            if entry.kind not in NO_CONTENT:
                groups.setdefault(entry.link if entry.kind == "hardlink" else entry.path, []).append(entry)
        self.groups = list(groups.values())
        self._before = [0]  # bytes of all files before each
        for names in self.groups:
            self._before.append(self._before[-1] + _weight(names))
        self._paths = [path.split("/") for path in groups]

    def weight(self, start: int, end: int) -> int:
        """Return the bytes of a tar of these files."""
        return self._before[end] - self._before[start]

    def cut(self, start: int, end: int) -> int:
        """Return before which of these files, at least two, they are best cut."""
        before, total = self._before, self.weight(start, end)
        low = bisect_left(before, before[start] + total // 4, start + 1, end)
        high = bisect_right(before, before[start] + 3 * total // 4, start + 1, end)
        if low < high:
            levels = [self._level(number) for number in range(low, high)]
            highest = min(levels)
            return min((low + at for at, level in enumerate(levels) if level == highest), key=self._lot)
        middle = before[start] + total // 2
        return min((number for number in (low - 1, low) if start < number < end), key=lambda n: abs(before[n] - middle))

    def _level(self, number: int) -> int:
        """Return how many directories a file shares with the one before it."""
        level = 0
        for one, other in zip(self._paths[number - 1], self._paths[number], strict=False):
            if one != other:
                break
            level += 1
        return level

    def _lot(self, number: int) -> bytes:
        """Return what decides among boundaries of one level: the path that begins there."""
        begun = "/".join(self._paths[number][: self._level(number) + 1])
        return hashlib.sha256(begun.encode("utf-8", "surrogateescape")).digest()


def _weight(names: Sequence[Entry]) -> int:
    size = sum(entry.size for entry in names if entry.kind == "file")
    return BLOCK_BYTES * len(names) + -(-size // BLOCK_BYTES) * BLOCK_BYTES


def cut_layers(layers: Sequence[Files], more: Sequence[int], part_bytes: int, budget: int) -> list[list[int]]:
    """Return for each layer where its parts begin and the last one ends.

    A part has at most `part_bytes` where its files are smaller and `budget`, which is how many layers there may be
    besides `layers`, permits. `more`: how many layers it takes to cut one at all.
    """
    cuts = [[0, len(files.groups)] for files in layers]
    heap = [
        (-files.weight(0, len(files.groups)), number, 0, len(files.groups))
        for number, files in enumerate(layers)
        if len(files.groups) > 1
    ]
    heapq.heapify(heap)
    while heap and -heap[0][0] > part_bytes and budget > 0:
        _, number, start, end = heapq.heappop(heap)
        files, found = layers[number], cuts[number]
        cost = 1 + (more[number] if len(found) == 2 else 0)
        if cost > budget:
            continue
        budget -= cost
        middle = files.cut(start, end)
        found.append(middle)
        for first, last in ((start, middle), (middle, end)):
            if last - first > 1:
                heapq.heappush(heap, (-files.weight(first, last), number, first, last))
    return [sorted(found) for found in cuts]

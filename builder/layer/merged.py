"""The merged view of stacked layers as one: every path a change over nothing, for a tar or a directory of the whole;
and what of it shows through implied directories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, LayerIndex, Located, MergedTree, sort_key

Opener = Callable[[], BinaryIO]


def merged_changes(tree: MergedTree, opener_of: Callable[[Located], Opener | None]) -> list[Change]:
    """Return all paths, sorted; names of one file become hardlinks to the first.

    `opener_of` is asked for files that are not empty.
    """
    changes = []
    first: dict[tuple[int, str], str] = {}
    for located in sorted(tree.walk(), key=lambda item: sort_key(item.entry.path)):
        target = tree.target(located)
        key = (target.layer, target.entry.path)
        path = located.entry.path
        if located.entry.kind in ("file", "hardlink") and first.setdefault(key, path) != path:
            changes.append(Change(target.entry._replace(path=path, kind="hardlink", link=first[key], size=0)))
            continue
        entry = target.entry._replace(path=path, opaque=False)
        changes.append(Change(entry, opener_of(target) if entry.kind == "file" and entry.size else None))
    return changes


def ways(layers: Sequence[LayerIndex]) -> list[Entry]:
    """Return the directories implied by the last of `layers` (bottom first) that are there below it, as they look
    there, and those on the way to them.
    """
    tree, top = MergedTree(layers), layers[-1]
    result: dict[str, Entry] = {}
    for path in sorted(top.implied, key=sort_key):
        found = tree.lookup(path)
        if found is None or found.layer == len(layers) - 1:
            continue
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            above = tree.lookup("/".join(parts[:count]))
            assert above is not None, path
            result.setdefault(above.entry.path, above.entry._replace(opaque=False))
    return list(result.values())

"""Several layers as one: what they change together, seen from what lies below them. From tables alone."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.layer.index import Entry, LayerIndex, Located, MergedTree, linked_entry, new_entry, sort_key
from tiffin.builder.layer.paths import ROOT


def squashed(below: Sequence[LayerIndex], layers: Sequence[LayerIndex]) -> list[tuple[Entry, Located | None]]:
    """Return the entries of one layer that over `below` gives what `layers` give, sorted, with where each content lies.

    Both bottom first. A `Located` has the number of its layer in `layers`; None where an entry has no content.
    """
    base, own = MergedTree(below), MergedTree(layers)
    result: dict[str, tuple[Entry, Located | None]] = {}
    first: dict[tuple[int, str], str] = {}
    for located in sorted(own.walk(), key=lambda item: sort_key(item.entry.path)):
        entry, target = located.entry, own.target(located)
        key = (target.layer, target.entry.path)
        if entry.kind in ("file", "hardlink") and first.setdefault(key, entry.path) != entry.path:
            result[entry.path] = (linked_entry(target.entry, entry.path, first[key]), None)
            continue
        opaque = entry.kind == "dir" and _is_cut_off(layers, located) and base.lookup(entry.path) is not None
        if entry.kind == "dir" and entry.path in layers[located.layer].implied:
            known = base.lookup(entry.path)
            target = known if known is not None and known.entry.kind == "dir" else target
        placed = target.entry._replace(path=entry.path, opaque=opaque, offset=-1)
        result[entry.path] = (placed, target if placed.kind == "file" and placed.size else None)
    for path in sorted({entry.path for layer in layers for entry in layer.entries if entry.kind == "whiteout"}):
        # what is gone in the end and was there before; below a directory that is itself gone or new, nothing is said
        if path not in result and base.lookup(path) is not None and not _is_covered(path, result):
            result[path] = (new_entry(path, "whiteout", 0), None)
    return [result[path] for path in sorted(result, key=sort_key)]


def _is_cut_off(layers: Sequence[LayerIndex], located: Located) -> bool:
    """Whether what lower layers have in the directory is hidden: by an opaque mark, or as something else was there."""
    path = located.entry.path
    for number in range(located.layer, -1, -1):
        entry = layers[number].get(path)
        if entry is not None and (entry.kind != "dir" or entry.opaque):
            return True
    return False


def _is_covered(path: str, result: dict[str, tuple[Entry, Located | None]]) -> bool:
    """Whether an entry of the result above `path` hides what lies below it already."""
    parent = path.rpartition("/")[0]
    while parent and parent != ROOT:
        entry = result[parent][0] if parent in result else None
        if entry is not None and (entry.kind != "dir" or entry.opaque):
            return True
        parent = parent.rpartition("/")[0]
    return False

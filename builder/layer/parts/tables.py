"""The tables of the parts of a layer: put on top of each other they are the layer, for whoever applies layers.

First what the layer removes, then its files, last its directories. Each part has the directories that its files lie
in, as root's, with mode 0755 and time 0: so a part stays the same when only a directory changes, whose time tells of
every file that comes or goes in it. The last part has all directories as they are. Directories that a layer implies
without telling of them are implied by its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from tiffin.builder.layer.index import Entry, LayerIndex, new_entry, sort_key
from tiffin.builder.layer.parts.cuts import Files

PARENT_MODE = 0o755


def removals(table: LayerIndex) -> list[Entry]:
    """Return the entries of a layer that hide what is below it."""
    return [entry for entry in table.entries if entry.kind == "whiteout" or entry.opaque]


def directories(table: LayerIndex) -> list[Entry]:
    """Return the directories that a layer tells of."""
    return [entry for entry in table.entries if entry.kind == "dir" and entry.path not in table.implied]


def extra_layers(table: LayerIndex) -> int:
    """Return how many layers there are besides those of files, where a layer is cut."""
    return bool(removals(table)) + bool(directories(table))


def part_tables(table: LayerIndex, files: Files, cuts: Sequence[int]) -> list[LayerIndex]:
    """Return the tables of the parts of a layer, bottom first, for the cuts of `cut_layers`."""
    told = {entry.path: entry for entry in directories(table)}
    tables = []
    hiding = [_plain(entry)._replace(opaque=True) if entry.kind == "dir" else entry for entry in removals(table)]
    if hiding:
        tables.append(_table(hiding, table, told))
    for start, end in pairwise(cuts):
        tables.append(_table([entry for group in files.groups[start:end] for entry in group], table, told))
    if told:
        last = {path: entry._replace(opaque=False) for path, entry in told.items()}
        tables.append(_table(last.values(), table, last))
    return tables


def joined(parts: Sequence[LayerIndex]) -> LayerIndex:
    """Return the table of the layer that these are the parts of, bottom first."""
    found: dict[str, Entry] = {}
    implied: set[str] = set()
    for part in parts:
        for entry in part.entries:
            before = found.get(entry.path)
            found[entry.path] = entry._replace(opaque=entry.opaque or (before is not None and before.opaque))
        implied |= part.implied
    return LayerIndex([found[path] for path in sorted(found, key=sort_key)], implied)


def _table(entries: Iterable[Entry], layer: LayerIndex, told: dict[str, Entry]) -> LayerIndex:
    """Return a table of these entries and of the directories that they lie in."""
    found = {entry.path: entry for entry in entries}
    implied = set()
    for path in list(found):
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            if parent in told:
                found[parent] = _plain(told[parent])
            elif parent in layer.implied:
                found[parent] = layer.by_path[parent]
                implied.add(parent)
            parent = parent.rpartition("/")[0]
    ordered = [found[path]._replace(offset=-1) for path in sorted(found, key=sort_key)]
    return LayerIndex(ordered, implied)


def _plain(directory: Entry) -> Entry:
    return new_entry(directory.path, "dir", PARENT_MODE)

"""A change: an entry of a layer to be, and where its content comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.index import Entry, linked_entry, sort_key
from tiffin.builder.layer.paths import ROOT


class Change(NamedTuple):
    """`open` gives the content of a file that is not empty; None for everything else. `implied`: a directory that is in
    the tree but not told by the layer. `inside`: what a directory holds that is new with all in it, sorted and without
    hard links; made each time anew, as it may be very much."""

    entry: Entry
    open: Callable[[], BinaryIO] | None = None
    implied: bool = False
    inside: Callable[[], Iterator[Change]] | None = None


def each(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield changes, and after each directory what is inside."""
    for change in changes:
        yield change
        if change.inside is not None:
            yield from change.inside()


def ordered(changes: Sequence[Change]) -> Iterator[Change]:
    """Return each change as a layer has them: sorted, the first name of a file with its content, the others as links to
    it.

    The root itself is left out, as it is in no layer of ours. Raises BuildError for a link to nothing.
    """
    openers = {change.entry.path: change.open for change in changes}
    implied = {change.entry.path for change in changes if change.implied}
    inside = {change.entry.path: change.inside for change in changes if change.inside is not None}
    try:
        entries, moved = regrouped([change.entry for change in changes if change.entry.path != ROOT])
    except KeyError as exc:
        raise BuildError(
            f'the hardlink "{exc.args[0]}" leads to nothing in its layer', remedy="copy the target of the link as well"
        ) from exc
    return each(
        Change(
            entry,
            openers[moved.get(entry.path, entry.path)] if entry.kind == "file" else None,
            entry.path in implied,
            inside.get(entry.path),
        )
        for entry in entries
    )


def regrouped(entries: Sequence[Entry]) -> tuple[list[Entry], dict[str, str]]:
    """Sort `entries`, and let the first name of every group of hardlinks hold the content, the others link to it.

    All names of a group get the attributes of the one that held the content. Also returns, for each name that came to
    hold it, the name that did. Raises KeyError with the link's path for a link to nothing.
    """
    ordered = sorted(entries, key=lambda entry: sort_key(entry.path))
    if not any(entry.kind == "hardlink" for entry in ordered):
        return ordered, {}
    by_path = {entry.path: entry for entry in ordered}
    first: dict[str, str] = {}  # holder of the content -> the group's first name
    moved: dict[str, str] = {}
    result = []
    linked = {_holder(entry, by_path) for entry in ordered if entry.kind == "hardlink"}
    for entry in ordered:
        holder = _holder(entry, by_path) if entry.kind == "hardlink" else entry.path
        if holder not in linked:
            result.append(entry)
        elif holder not in first:
            first[holder] = entry.path
            if holder != entry.path:
                moved[entry.path] = holder
            result.append(by_path[holder]._replace(path=entry.path))
        else:
            result.append(linked_entry(by_path[holder], entry.path, first[holder]))
    return result, moved


def _holder(entry: Entry, by_path: Mapping[str, Entry]) -> str:
    """Return the path that holds the content a hardlink stands for, through other links."""
    current, seen = entry, set()
    while current.kind == "hardlink":
        if current.path in seen or current.link not in by_path:
            raise KeyError(entry.path)
        seen.add(current.path)
        current = by_path[current.link]
    return current.path

"""A change: an entry of a layer to be, and where its content comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.index import Entry, regrouped
from tiffin.builder.layer.paths import ROOT


class Change(NamedTuple):
    """`open` gives the content of a file that is not empty; None for everything else. `implied`: a directory that is in
    the tree but not told by the layer."""

    entry: Entry
    open: Callable[[], BinaryIO] | None = None
    implied: bool = False


def ordered(changes: Sequence[Change]) -> list[Change]:
    """Return the changes as a layer has them: sorted, the first name of a file with its content, the others as links to
    it.

    The root itself is left out, as it is in no layer of ours. Raises BuildError for a link to nothing.
    """
    openers = {change.entry.path: change.open for change in changes}
    implied = {change.entry.path for change in changes if change.implied}
    try:
        entries, moved = regrouped([change.entry for change in changes if change.entry.path != ROOT])
    except KeyError as exc:
        raise BuildError(
            f'the hardlink "{exc.args[0]}" leads to nothing in its layer', remedy="copy the target of the link as well"
        ) from exc
    return [
        Change(
            entry,
            openers[moved.get(entry.path, entry.path)] if entry.kind == "file" else None,
            entry.path in implied,
        )
        for entry in entries
    ]

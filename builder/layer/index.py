"""A layer's table of contents, and the merged view of a stack of them (image-spec layer.md).

Most of tiffin reads these instead of files: COPY, USER look-ups, inspect, diff.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tiffin.builder.errors import CorruptError
from tiffin.builder.layer.paths import ROOT, resolve_links

VERSION = 2  # raise it too when what is noted of a layer beside its table changes
KINDS = ("file", "dir", "symlink", "hardlink", "char", "block", "fifo", "whiteout")
_LETTERS = dict(zip(KINDS, "fdlhcbpw", strict=True))
_KIND_OF = {letter: kind for kind, letter in _LETTERS.items()}
DIGEST_LENGTH = 64  # hex digits of sha256


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


def sort_key(path: str) -> str:
    """Order by components, so that a directory is followed by all it holds: "a", "a/b", "a-b"."""
    return path.replace("/", "\0")  # NUL sorts before all that a name may contain


def new_entry(path: str, kind: str, mode: int, *, mtime_ns: int = 0) -> Entry:
    """Return an entry of root's with nothing in it."""
    return Entry(path, kind, mode, 0, 0, 0, mtime_ns, "", (), 0, 0, "", -1, False)


def moved(entry: Entry, path: str) -> Entry:
    """Return an entry at another path of another layer, where its content does not lie yet; sooner than by `_replace`,
    as every file that is copied needs it.
    """
    return tuple.__new__(Entry, (path, *entry[1:12], -1, False))


def located(entry: Entry, digest: str, offset: int) -> Entry:
    """Return an entry whose content has that digest and lies there; sooner than by `_replace`."""
    return tuple.__new__(Entry, (*entry[:11], digest, offset, entry.opaque))


class LayerIndex:
    """The entries of one layer, sorted by path.

    `implied`: directories among them that the layer does not tell of, but has something in: what is below has the say
    how they look, if there is such a directory.
    """

    def __init__(self, entries: Sequence[Entry], implied: Collection[str] = ()) -> None:
        self.entries = tuple(entries)
        self.implied = frozenset(implied)

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
        """Encode as columns, which are small and quick to read; a column of mostly one value has that and the
        exceptions.
        """
        entries = self.entries
        names: list[list[object]] = [
            [entry.path for entry in entries],
            [entry.size for entry in entries],
            [entry.mtime_ns for entry in entries],
            [entry.offset for entry in entries],
        ]
        digests = "".join(entry.digest for entry in entries)
        document = {
            "version": VERSION,
            "kinds": "".join([_LETTERS[entry.kind] for entry in entries]),
            "columns": names,
            "digests": digests,
            "digested": _sparse([bool(entry.digest) for entry in entries]),
            "mode": _sparse([entry.mode for entry in entries]),
            "uid": _sparse([entry.uid for entry in entries]),
            "gid": _sparse([entry.gid for entry in entries]),
            "link": _sparse([entry.link for entry in entries]),
            "xattrs": _sparse([_xattrs_text(entry.xattrs) for entry in entries]),
            "major": _sparse([entry.major for entry in entries]),
            "minor": _sparse([entry.minor for entry in entries]),
            "opaque": _sparse([entry.opaque for entry in entries]),
        }
        if self.implied:
            document["implied"] = sorted(self.implied)
        return json.dumps(document, separators=(",", ":")).encode()

    @staticmethod
    def is_current(data: bytes) -> bool:
        """Whether this version of tiffin encoded it. What is not a table at all passes, and is found damaged later."""
        try:
            return bool(json.loads(data)["version"] == VERSION)
        except (ValueError, TypeError, LookupError):
            return True

    @classmethod
    def decode(cls, data: bytes) -> LayerIndex:
        """Read what `encode` wrote; raises CorruptError."""
        try:
            document = json.loads(data)
            if document["version"] != VERSION:
                raise ValueError("another version")
            kinds = [_KIND_OF[letter] for letter in document["kinds"]]
            count = len(kinds)
            paths, sizes, mtimes, offsets = document["columns"]
            digested = _dense(document["digested"], count)
            mode, uid, gid, link, major, minor, opaque = (
                _dense(document[name], count) for name in ("mode", "uid", "gid", "link", "major", "minor", "opaque")
            )
            xattrs = [_xattrs_value(item) if item else () for item in _dense(document["xattrs"], count)]
            digests = _digests(document["digests"], digested)
            rows = zip(
                paths, kinds, mode, uid, gid, sizes, mtimes, link, xattrs, major, minor, digests, offsets, opaque,
                strict=True,
            )  # fmt: skip
            return cls(list(map(Entry._make, rows)), document.get("implied", ()))
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise CorruptError(f"a layer's index is damaged: {exc}", remedy="run tiffin system prune") from exc


def _sparse(values: list[Any]) -> list[Any]:
    """Return the commonest value, then positions and values of the others."""
    if not values:
        return ["", [], []]
    common = Counter(values).most_common(1)[0][0]
    others = [number for number, value in enumerate(values) if value != common]
    return [common, others, [values[number] for number in others]]


def _dense(column: list[Any], count: int) -> list[Any]:
    common, positions, others = column
    values = [common] * count
    for position, value in zip(positions, others, strict=True):
        values[position] = value
    return values


def _digests(text: str, digested: list[bool]) -> list[str]:
    result = []
    start = 0
    for has_digest in digested:
        end = start + DIGEST_LENGTH if has_digest else start
        result.append(text[start:end])
        start = end
    if start != len(text):
        raise ValueError("digests do not match their entries")
    return result


def _xattrs_text(xattrs: tuple[tuple[str, bytes], ...]) -> str:
    return json.dumps([[name, value.hex()] for name, value in xattrs]) if xattrs else ""


def _xattrs_value(text: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes.fromhex(value)) for name, value in json.loads(text))


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


def linked_entry(target: Entry, path: str, link: str) -> Entry:
    """Return another name for `target`'s inode."""
    return target._replace(
        path=path, kind="hardlink", link=link, size=0, xattrs=(), major=0, minor=0, digest="", offset=-1
    )


def _holder(entry: Entry, by_path: Mapping[str, Entry]) -> str:
    """Return the path that holds the content a hardlink stands for, through other links."""
    current, seen = entry, set()
    while current.kind == "hardlink":
        if current.path in seen or current.link not in by_path:
            raise KeyError(entry.path)
        seen.add(current.path)
        current = by_path[current.link]
    return current.path


class Located(NamedTuple):
    """An entry and the number of its layer, bottom 0."""

    entry: Entry
    layer: int


class MergedTree:
    """The view of layers stacked bottom first, whiteouts and opaque directories applied. Nothing is copied."""

    def __init__(self, layers: Sequence[LayerIndex]) -> None:
        self._layers = tuple(layers)

    def lookup(self, path: str) -> Located | None:
        """Return what is at `path`, symlinks not followed, hardlinks as they stand."""
        implied: Located | None = None
        for number in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[number]
            entry = layer.get(path)
            if entry is not None and path in layer.implied:
                implied = implied or Located(entry, number)
            elif entry is not None:
                if entry.kind == "dir" or implied is None:
                    return None if entry.kind == "whiteout" else Located(entry, number)
                return implied
            if self._hides(number, path):
                break
        return implied

    def target(self, located: Located) -> Located:
        """Return the file behind a hardlink (always of the same layer); anything else is itself."""
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
        """Return what the directory `path` holds, sorted by name."""
        found: dict[str, Located | None] = {}
        implied: set[str] = set()
        for number in range(len(self._layers) - 1, -1, -1):
            layer = self._layers[number]
            for entry in layer.by_parent.get(path, ()):
                if entry.path not in found:
                    found[entry.path] = None if entry.kind == "whiteout" else Located(entry, number)
                    if entry.path in layer.implied:
                        implied.add(entry.path)
                elif entry.path in implied and entry.path not in layer.implied:
                    implied.discard(entry.path)
                    if entry.kind == "dir":
                        found[entry.path] = Located(entry, number)
            own = layer.get(path)
            if own is not None and (own.kind != "dir" or own.opaque):
                break
            if self._hides(number, path):
                break
        return sorted((item for item in found.values() if item is not None), key=lambda item: item.entry.path)

    def walk(self, path: str = ROOT) -> list[Located]:
        """Return everything below `path`, parents first, sorted by component."""
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

"""A layer's table of contents, and the merged view of a stack of them (image-spec layer.md).

Most of tiffin reads these instead of files: COPY, USER look-ups, inspect, diff.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple, overload

from tiffin.builder.errors import CorruptError
from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.cache.foundation import json_text

VERSION = 2  # raise it too when what is noted of a layer beside its table changes
KINDS = ("file", "dir", "symlink", "hardlink", "char", "block", "fifo", "whiteout")
_NUMBERS = ("size", "mtime_ns", "offset")
_ALIKE = ("kind", "mode", "uid", "gid", "link", "xattrs", "major", "minor", "opaque", "digested")  # in most entries
_LETTERS = dict(zip(KINDS, "fdlhcbpw", strict=True))
_KIND_OF = {letter: kind for kind, letter in _LETTERS.items()}
DIGEST_LENGTH = 64  # hex digits of sha256
COLUMN_ROWS = 512  # of which entries are made at once


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


def timed(entry: Entry, mtime_ns: int) -> Entry:
    """Return an entry of another time; sooner than by `_replace`."""
    return tuple.__new__(Entry, (*entry[:6], mtime_ns, *entry[7:]))


class EntryColumns(Sequence[Entry]):
    """Entries that take a tenth of the memory: what differs in columns, the rest once for all that have it. They are
    made when they are asked for.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []  # of many entries each, NUL between them
        self._open_paths: list[str] = []  # of the last entries
        self._numbers = array("q")
        self._digests = bytearray()
        self._likes: dict[tuple[object, ...], int] = {}
        self._like_of = array("L")

    def append(self, entry: Entry) -> None:
        """Put an entry at the end."""
        path, kind, mode, uid, gid, size, mtime_ns, link, xattrs, major, minor, digest, offset, opaque = entry
        like = (kind, mode, uid, gid, link, xattrs, major, minor, opaque, bool(digest))  # as in _ALIKE
        self._like_of.append(self._likes.setdefault(like, len(self._likes)))
        self._numbers.extend((size, mtime_ns, offset))
        self._digests += bytes.fromhex(digest) if digest else bytes(DIGEST_LENGTH // 2)
        self._open_paths.append(path)
        if len(self._open_paths) == COLUMN_ROWS:
            self._paths.append("\0".join(self._open_paths))
            self._open_paths.clear()

    def __len__(self) -> int:
        return len(self._like_of)

    def __iter__(self) -> Iterator[Entry]:
        for block in range(len(self._paths) + 1):
            yield from self._block(block)

    @overload
    def __getitem__(self, place: int) -> Entry: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Entry, ...]: ...

    def __getitem__(self, place: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(place, slice):
            return tuple(self)[place]
        number = range(len(self))[place]
        return self._block(number // COLUMN_ROWS)[number % COLUMN_ROWS]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (tuple, EntryColumns)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # they grow

    def column(self, name: str) -> Iterator[Any]:
        """Yield one member of all entries."""
        if name == "path":
            yield from (path for block in self._paths for path in block.split("\0"))
            yield from self._open_paths
        elif name in _NUMBERS:
            yield from self._numbers[_NUMBERS.index(name) :: len(_NUMBERS)]
        elif name == "digest":
            each = range(0, len(self._digests), DIGEST_LENGTH // 2)
            digests = (self._digests[at : at + DIGEST_LENGTH // 2].hex() for at in each)
            yield from (digest if has else "" for digest, has in zip(digests, self.column("digested"), strict=True))
        else:
            values = [like[_ALIKE.index(name)] for like in self._likes]
            yield from (values[number] for number in self._like_of)

    def _block(self, block: int) -> list[Entry]:
        paths = self._paths[block].split("\0") if block < len(self._paths) else self._open_paths
        first, likes, result = block * COLUMN_ROWS, list(self._likes), []
        digests = self._digests[first * DIGEST_LENGTH // 2 :][: len(paths) * DIGEST_LENGTH // 2].hex()
        for number, path in enumerate(paths, first):
            kind, mode, uid, gid, link, xattrs, major, minor, opaque, has_digest = likes[self._like_of[number]]
            size, mtime_ns, offset = self._numbers[3 * number : 3 * number + 3]
            at = (number - first) * DIGEST_LENGTH
            digest = digests[at : at + DIGEST_LENGTH] if has_digest else ""
            row = (path, kind, mode, uid, gid, size, mtime_ns, link, xattrs, major, minor, digest, offset, opaque)
            result.append(Entry._make(row))
        return result


class LayerIndex:
    """The entries of one layer, sorted by path.

    `implied`: directories among them that the layer does not tell of, but has something in: what is below has the say
    how they look, if there is such a directory.
    """

    def __init__(self, entries: Sequence[Entry], implied: Collection[str] = ()) -> None:
        self.entries: Sequence[Entry] = entries if isinstance(entries, EntryColumns) else tuple(entries)
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
        return b"".join(self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """Yield what `encode` returns in pieces: as a whole it takes more memory than very many entries."""
        yield b'{"version":%d,"kinds":"' % VERSION
        yield "".join([_LETTERS[kind] for kind in self._column("kind")]).encode()
        yield b'","columns":['
        for number, name in enumerate(("path", *_NUMBERS)):
            yield b",[" if number else b"["
            yield from _pieces(self._column(name))
            yield b"]"
        yield b'],"digests":"'
        yield from (digest.encode() for digest in self._column("digest"))
        yield b'","digested":'
        yield _compact(_sparse(map(bool, self._column("digest"))))
        for name in _ALIKE[1:-1]:
            column = map(_xattrs_text, self._column(name)) if name == "xattrs" else self._column(name)
            yield b',"%b":' % name.encode()
            yield _compact(_sparse(column))
        if self.implied:
            yield b',"implied":'
            yield _compact(sorted(self.implied))
        yield b"}"

    def _column(self, name: str) -> Iterator[Any]:
        if isinstance(self.entries, EntryColumns):
            return self.entries.column(name)
        return map(attrgetter(name), self.entries)

    @staticmethod
    def is_current(data: bytes) -> bool:
        """Whether this version of tiffin encoded it. What is not a table at all passes, and is found damaged later."""
        try:
            return bool(json_text.loads(data)["version"] == VERSION)
        except (ValueError, TypeError, LookupError):
            return True

    @classmethod
    def decode(cls, data: bytes) -> LayerIndex:
        """Read what `encode` wrote; raises CorruptError."""
        try:
            document = json_text.loads(data)
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


def _compact(value: object) -> bytes:
    return json_text.dumps(value, separators=(",", ":")).encode()


def _pieces(values: Iterable[object]) -> Iterator[bytes]:
    """Yield the members of a JSON array, some at a time."""
    values, comma = iter(values), b""
    while some := list(islice(values, COLUMN_ROWS)):
        yield comma + _compact(some)[1:-1]
        comma = b","


def _sparse(values: Iterable[Any]) -> list[Any]:
    """Return the commonest value, then positions and values of the others."""
    column = list(values)
    if not column:
        return ["", [], []]
    common = Counter(column).most_common(1)[0][0]
    others = [number for number, value in enumerate(column) if value != common]
    return [common, others, [column[number] for number in others]]


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
    return json_text.dumps([[name, value.hex()] for name, value in xattrs]) if xattrs else ""


def _xattrs_value(text: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes.fromhex(value)) for name, value in json_text.loads(text))


def linked_entry(target: Entry, path: str, link: str) -> Entry:
    """Return another name for `target`'s inode."""
    return target._replace(
        path=path, kind="hardlink", link=link, size=0, xattrs=(), major=0, minor=0, digest="", offset=-1
    )


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

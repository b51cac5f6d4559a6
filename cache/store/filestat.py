"""What is known of the files of one directory: their digests, trusted while stat says they are the same (as git's
index).

A `Listing` holds what one directory has in columns, as a context may have some hundred thousand files: an object for
each would take ten times the memory. One row of the Table has those of a tree: a header, the paths and names as zlib,
then what stat said, then the digests. A second one has digests of whole selections, so that nothing of it is read where
nothing at all changed.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from operator import attrgetter

from tiffin.cache.store.local import Table

VERSION = 3
_HEADER = struct.Struct("<IIQ")  # version, number of rows, bytes of the packed names
ROW = struct.Struct("<IIIIQQqqq")  # of a file: mode, links, uid, gid, device, inode, size, mtime_ns, ctime_ns
fields_of = attrgetter(  # what is kept of an answer of stat
    "st_mode", "st_nlink", "st_uid", "st_gid", "st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)
_KEY_AT = 16  # in a row: what is a file's very own begins there
DIGEST_BYTES = 32
UNKNOWN = bytes(DIGEST_BYTES)
BETWEEN = "/"  # between names, as none has it
MAX_SELECTIONS = 16  # whose digests are kept; a build has one for each COPY of its context
# A file written in the same clock tick as it was looked at could change again unseen; git calls it racy. Coarse clocks
# tick every 4 ms, network file systems every 2 s.
RACY_NS = 2_000_000_000
Buffer = bytes | bytearray | memoryview


class Listing:
    """What a directory holds, sorted by name: names, a row for each, and once they are known a digest for each.

    What is not a file has no digest that means anything.
    """

    __slots__ = ("_links", "digests", "directories", "names", "rows")

    def __init__(self, names: str, rows: Buffer, digests: Buffer = b"", *, directories: Sequence[str] = ()) -> None:
        self.names = names
        self.rows = rows
        self.digests = digests
        self.directories = directories  # those among the names
        self._links: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.rows) // ROW.size

    def split(self) -> list[str]:
        """Return the names."""
        return self.names.split(BETWEEN) if self.rows else []

    def find(self, name: str) -> int:
        """Return the number of a name, -1 if it has none such."""
        if f"{BETWEEN}{name}{BETWEEN}" not in f"{BETWEEN}{self.names}{BETWEEN}":
            return -1
        return self.split().index(name)

    def row(self, number: int) -> Buffer:
        return self.rows[number * ROW.size : (number + 1) * ROW.size]

    def digest(self, number: int) -> Buffer:
        return self.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]

    def link(self, number: int) -> str | None:
        """Return the text of a symlink, if it was noted."""
        return self._links.get(number)

    def note_link(self, number: int, text: str) -> None:
        """Remember the text of the symlink of that number."""
        self._links[number] = text

    @property
    def has_digests(self) -> bool:
        """Whether each has a digest."""
        return len(self.digests) == DIGEST_BYTES * len(self)

    def note_digests(self, digests: Buffer) -> None:
        """Have digests from now on."""
        self.digests = digests

    def below(self, path: str) -> list[str]:
        """Return the paths of the directories that it holds, as the listing of `path`."""
        return [name if path == "." else f"{path}/{name}" for name in self.directories]

    def is_like(self, other: Listing | None) -> bool:
        """Whether stat said the same of all."""
        return other is not None and other.names == self.names and other.rows == self.rows

    def unknown(self, digests: Buffer) -> list[int]:
        """Return the numbers of those that have no digest among `digests`."""
        if bytes(digests).find(UNKNOWN) < 0:
            return []
        return [n for n in range(len(self)) if digests[n * DIGEST_BYTES : (n + 1) * DIGEST_BYTES] == UNKNOWN]

    def digests_by(self, known: Listing | None) -> Buffer:
        """Return the digests that `known` has of these very files, UNKNOWN for the others."""
        if known is None:
            return bytes(DIGEST_BYTES * len(self))
        if self.is_like(known):
            return known.digests
        places = {name: place for place, name in enumerate(known.split())}
        result = bytearray(DIGEST_BYTES * len(self))
        for number, name in enumerate(self.split()):
            place = places.get(name)
            if place is not None and known.row(place)[_KEY_AT:] == self.row(number)[_KEY_AT:]:
                result[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = known.digest(place)
        return result


class StatTable:
    """Listings with digests (sha256), by directory, and digests of selections.

    What is younger than the beginning of a command, or nearly so, is not remembered.
    """

    def __init__(self, table: Table, name: str) -> None:
        self._table = table
        self._name = name
        self._limit_ns = time.time_ns() - RACY_NS
        self._known: dict[str, Listing] | None = None
        self._seen: dict[str, Listing] = {}
        self._singles: dict[str, dict[str, tuple[Buffer, Buffer]]] = {}  # rows and digests, by directory and name
        self._learned = False
        self._selections: dict[str, str] | None = None

    @classmethod
    def load(cls, table: Table, directory: str) -> StatTable:
        """Return what is remembered of `directory`; damaged or of another version is nothing."""
        return cls(table, directory)

    def listing(self, directory: str) -> Listing | None:
        """Return how a directory was."""
        if self._known is None:
            try:
                self._known = _decode(self._table.get(f"stat:{self._name}") or b"")
            except (ValueError, struct.error, zlib.error):
                self._known = {}
        return self._known.get(directory)

    def keep(self, directory: str, listing: Listing, *, is_new: bool) -> None:
        """Remember a directory with the digests of its files; `is_new`: it is not as it was."""
        self._seen[directory] = listing
        self._learned = self._learned or is_new

    def lookup(self, path: str, row: Buffer) -> Buffer | None:
        """Return the digest of the file at `path` if `row` is what it was."""
        directory, _, name = path.rpartition("/")
        known = self.listing(directory)
        number = known.find(name) if known is not None else -1
        if known is None or number < 0 or known.row(number)[_KEY_AT:] != row[_KEY_AT:]:
            return None
        digest = known.digest(number)
        return digest if digest != UNKNOWN else None

    def record(self, path: str, alone: Listing) -> None:
        """Remember a listing of one file, which has the path `path`."""
        self._singles.setdefault(path.rpartition("/")[0], {})[alone.names] = alone.rows, alone.digests
        self._learned = True

    def selection(self, key: str) -> str | None:
        """Return the digest that was noted under `key`."""
        if self._selections is None:
            lines = (self._table.get(f"selected:{self._name}") or b"").decode("ascii", "replace").split()
            self._selections = dict(zip(lines[::2], lines[1::2], strict=False))
        return self._selections.get(key)

    def note_selection(self, key: str, digest: str, listings: Sequence[Listing]) -> None:
        """Note the digest of what lies in `listings`, unless one of them is too young."""
        if any(max(row[-2:]) >= self._limit_ns for found in listings for row in ROW.iter_unpack(found.rows)):
            return
        self.selection(key)
        assert self._selections is not None
        self._selections = dict([*self._selections.items(), (key, digest)][-MAX_SELECTIONS:])
        self._table.set(f"selected:{self._name}", " ".join(sum(self._selections.items(), ())).encode())

    def save(self) -> None:
        """Keep what was seen this time, if anything is new; racy entries are left out.

        What was known and not asked for stays as long as it is more than half: another build may look at that part.
        """
        if not self._learned:
            return
        self.listing("")
        known, self._known = self._known or {}, None
        for directory, files in self._singles.items():
            seen = self._seen.get(directory) or known.get(directory)
            self._seen[directory] = _with_files(seen, files)
        asked = sum(map(len, self._seen.values()))
        whole = asked < sum(map(len, known.values())) // 2
        left = known.items() if whole else ()
        kept = {**dict(left), **{path: self._settled(found) for path, found in self._seen.items() if len(found)}}
        self._table.set(f"stat:{self._name}", b"".join(_encode(kept)))
        self._learned = False

    def _settled(self, listing: Listing) -> Listing:
        """Return a listing without the digests of files that are too young."""
        young = [number for number, row in enumerate(ROW.iter_unpack(listing.rows)) if max(row[-2:]) >= self._limit_ns]
        if not young:
            return listing
        digests = bytearray(listing.digests)
        for number in young:
            digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = UNKNOWN
        return Listing(listing.names, listing.rows, digests)


def _with_files(listing: Listing | None, files: dict[str, tuple[Buffer, Buffer]]) -> Listing:
    known = enumerate(listing.split()) if listing is not None else ()
    before = {name: (listing.row(place), listing.digest(place)) for place, name in known} if listing is not None else {}
    found = dict(sorted({**before, **files}.items()))
    rows, digests = (b"".join(column) for column in zip(*found.values(), strict=True))
    return Listing(BETWEEN.join(found), rows, digests)


def _encode(listings: dict[str, Listing]) -> Iterator[Buffer]:
    texts = [text for path, listing in listings.items() for text in (path, listing.names)]
    names = zlib.compress("\0".join(texts).encode("utf-8", "surrogateescape"), 1)
    yield _HEADER.pack(VERSION, sum(map(len, listings.values())), len(names))
    yield names
    yield from (listing.rows for listing in listings.values())
    yield from (listing.digests for listing in listings.values())


def _decode(data: bytes) -> dict[str, Listing]:
    """Raise ValueError, struct.error, zlib.error for what `_encode` did not write; nothing is an empty table."""
    version, count, packed = _HEADER.unpack_from(data) if data else (VERSION, 0, 0)
    if version != VERSION or not count:
        return {}
    at = _HEADER.size + packed
    texts = zlib.decompress(data[_HEADER.size : at]).decode("utf-8", "surrogateescape").split("\0")
    rest = memoryview(data)[at:]
    if len(rest) != count * (ROW.size + DIGEST_BYTES):
        raise ValueError("a table of files is torn")
    rows, digests = rest[: count * ROW.size], rest[count * ROW.size :]
    result, first = {}, 0
    for path, names in zip(texts[::2], texts[1::2], strict=True):
        end = first + names.count(BETWEEN) + 1
        result[path] = Listing(
            names, rows[first * ROW.size : end * ROW.size], digests[first * DIGEST_BYTES : end * DIGEST_BYTES]
        )
        first = end
    if first != count:
        raise ValueError("a table of files is torn")
    return result

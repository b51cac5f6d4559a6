"""What is known of the files of one directory: their digests, trusted while stat says they are the same (as git's
index).

One row of the Table per directory, in columns that load in milliseconds for a hundred thousand files: the paths, NUL
between them, as zlib; then a column of 64-bit numbers for each part of the key; then the digests. A header tells the
version and the lengths.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from array import array
from collections.abc import Mapping

from tiffin.cache.store.local import Table

VERSION = 2
_HEADER = struct.Struct("<IIQ")  # version, number of files, bytes of the packed paths
_CODES = "QQqqq"  # of the numbers: 64 bits, times may lie before 1970
_DIGEST_BYTES = 32
# A file written in the same clock tick as the table was saved could change again unseen; git calls it racy. Coarse
# clocks tick every 4 ms, network file systems every 2 s.
RACY_NS = 2_000_000_000
_Key = tuple[int, int, int, int, int]


class _Columns:
    """What was kept, as it lay on disk: objects are made of what is asked for only."""

    def __init__(self, paths: list[str], numbers: list[array[int]], digests: bytes) -> None:
        if not all(len(column) == len(paths) for column in numbers) or len(digests) != _DIGEST_BYTES * len(paths):
            raise ValueError("a table of files is torn")
        self.places = {path: place for place, path in enumerate(paths)}
        self._numbers = numbers
        self._digests = digests

    def digest(self, place: int, key: _Key) -> str | None:
        """Return the digest of the file at that place if its key is still this one."""
        devices, inodes, sizes, mtimes, ctimes = self._numbers
        device, inode, size, mtime_ns, ctime_ns = key
        if (
            ctimes[place] != ctime_ns
            or mtimes[place] != mtime_ns
            or sizes[place] != size
            or inodes[place] != inode
            or devices[place] != device
        ):
            return None
        return self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES].hex()

    def row(self, place: int) -> tuple[_Key, bytes]:
        device, inode, size, mtime_ns, ctime_ns = (column[place] for column in self._numbers)
        digest = self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES]
        return (device, inode, size, mtime_ns, ctime_ns), digest


class StatTable:
    """Digests (sha256, hex) by path, valid for one exact (device, inode, size, mtime, ctime)."""

    def __init__(self, table: Table, name: str, known: _Columns) -> None:
        self._table = table
        self._name = name
        self._known = known
        self._valid = bytearray(len(known.places))  # 1 for what was asked for and is still right
        self._learned: dict[str, tuple[_Key, bytes]] = {}

    @classmethod
    def load(cls, table: Table, directory: str) -> StatTable:
        """Return what is remembered of `directory`; damaged or of another version is nothing."""
        name = f"stat:{directory}"
        data = table.get(name)
        try:
            known = _decode(data or b"")
        except (ValueError, struct.error, zlib.error):
            known = _decode(b"")
        return cls(table, name, known)

    def lookup(self, path: str, st: os.stat_result) -> str | None:
        """Return the digest of the file at `path` if `st` is what it was."""
        place = self._known.places.get(path)
        if place is None:
            return None
        digest = self._known.digest(place, _key(st))
        if digest is not None:
            self._valid[place] = 1
        return digest

    def record(self, path: str, st: os.stat_result, digest: str) -> None:
        """Remember a digest made from a file that had `st` before it was read."""
        self._learned[path] = (_key(st), bytes.fromhex(digest))

    def save(self) -> None:
        """Keep what was seen this time, if anything is new; racy entries are left out.

        What was known and not asked for stays as long as it is more than half: another build may look at that part.
        """
        limit = time.time_ns() - RACY_NS
        new = {path: row for path, row in self._learned.items() if max(row[0][3], row[0][4]) < limit}
        if not new:
            return
        places, valid = self._known.places, self._valid
        whole = sum(valid) + len(self._learned) < len(places) // 2
        kept = {path: self._known.row(place) for path, place in places.items() if whole or valid[place]}
        self._table.set(self._name, _encode({**kept, **new}))


def _key(st: os.stat_result) -> _Key:
    return (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)


def _encode(rows: Mapping[str, tuple[_Key, bytes]]) -> bytes:
    paths = zlib.compress("\0".join(rows).encode("utf-8", "surrogateescape"), 1)
    columns = zip(*(key for key, _ in rows.values()), strict=True)
    numbers = b"".join(array(code, column).tobytes() for code, column in zip(_CODES, columns, strict=True))
    digests = b"".join(digest for _, digest in rows.values())
    return b"".join((_HEADER.pack(VERSION, len(rows), len(paths)), paths, numbers, digests))


def _decode(data: bytes) -> _Columns:
    """Raise ValueError, struct.error, zlib.error for what `_encode` did not write; nothing is an empty table."""
    version, count, packed = _HEADER.unpack_from(data) if data else (VERSION, 0, 0)
    if version != VERSION or not count:
        return _Columns([], [array(code) for code in _CODES], b"")
    at = _HEADER.size + packed
    paths = zlib.decompress(data[_HEADER.size : at]).decode("utf-8", "surrogateescape").split("\0")
    columns = []
    for code in _CODES:
        columns.append(array(code, data[at : at + 8 * count]))
        at += 8 * count
    return _Columns(paths, columns, data[at:])

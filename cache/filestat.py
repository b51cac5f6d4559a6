"""What is known of the files of one directory: their digests, trusted while stat says they are the same (as git's index).

One row of the Table per directory: columns, so that thousands of files load in milliseconds.
"""

from __future__ import annotations

import json
import os
import time
import zlib

from cache.local import Table

VERSION = 1
# A file written in the same clock tick as the table was saved could change again unseen; git calls it racy. Coarse
# clocks tick every 4 ms, network file systems every 2 s.
RACY_NS = 2_000_000_000
_Key = tuple[int, int, int, int, int]


class StatTable:
    """Digests (sha256, hex) by path, valid for one exact (device, inode, size, mtime, ctime)."""

    def __init__(self, table: Table, name: str, known: dict[str, tuple[_Key, str]]) -> None:
        self._table = table
        self._name = name
        self._known = known
        self._seen: dict[str, tuple[_Key, str]] = {}

    @classmethod
    def load(cls, table: Table, directory: str) -> StatTable:
        """What is remembered of `directory`; damaged or of another version is nothing."""
        name = f"stat:{directory}"
        data = table.get(name)
        known: dict[str, tuple[_Key, str]] = {}
        if data is not None:
            try:
                version, paths, keys, digests = json.loads(zlib.decompress(data))
                if version == VERSION:
                    known = {path: (tuple(key), digest) for path, key, digest in zip(paths, keys, digests, strict=True)}
            except (ValueError, TypeError, zlib.error):
                known = {}
        return cls(table, name, known)

    def lookup(self, path: str, st: os.stat_result) -> str | None:
        """The digest of the file at `path` if `st` is what it was."""
        entry = self._known.get(path)
        if entry is None or entry[0] != _key(st):
            return None
        self._seen[path] = entry
        return entry[1]

    def record(self, path: str, st: os.stat_result, digest: str) -> None:
        """Remember a digest made from a file that had `st` before it was read."""
        self._seen[path] = (_key(st), digest)

    def save(self) -> None:
        """Keep what was seen this time, if it differs from what was loaded; racy entries are left out."""
        limit = time.time_ns() - RACY_NS
        kept = {path: entry for path, entry in self._seen.items() if max(entry[0][3], entry[0][4]) < limit}
        if not kept.items() - self._known.items():
            return
        merged = {**self._known, **kept} if len(self._seen) < len(self._known) // 2 else kept
        columns = [VERSION, list(merged), [list(key) for key, _ in merged.values()], [d for _, d in merged.values()]]
        text = json.dumps(columns, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self._table.set(self._name, zlib.compress(text, 1))


def _key(st: os.stat_result) -> _Key:
    return (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)

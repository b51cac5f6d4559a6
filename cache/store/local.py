"""The local cache: step records and small tables in diskcache, which no other module knows.

Values are bytes and keys are text, enforced below diskcache's own serialisation: by itself it unpickles what it finds,
and a state directory may be shared. Eviction is off; tiffin prunes by its own rules.
"""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import diskcache
from diskcache.core import MODE_BINARY, MODE_RAW

from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import CorruptError, DigestError, StoreError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.store.statedir import StateDir

LOCK_TIMEOUT_SECONDS = 60  # of SQLite, when many processes write at once
STEP_PREFIX = "step:"
JOURNAL = "cache.db-wal"  # of SQLite, while the database is open anywhere
_Result = TypeVar("_Result")
_tables: weakref.WeakSet[Table] = weakref.WeakSet()  # of this process


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Accepts text keys and bytes values only, in both directions; nothing is ever pickled."""

    def put(self, key: object) -> tuple[object, bool]:
        if not isinstance(key, str):
            raise TypeError("cache keys are text")
        return key, True

    def get(self, key: object, raw: bool) -> object:
        if not raw or not isinstance(key, str):
            raise CorruptError("a foreign key is in the local cache", remedy="run tiffin system prune --all")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, str | None, object]:
        if not isinstance(value, bytes):
            raise TypeError("cache values are bytes")
        return super().store(value, read, key)  # type: ignore[no-any-return]

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> object:
        if mode not in (MODE_RAW, MODE_BINARY):
            raise CorruptError("a foreign value is in the local cache", remedy="run tiffin system prune --all")
        data = super().fetch(mode, filename, value, read)
        if not isinstance(data, bytes):
            raise CorruptError("a foreign value is in the local cache", remedy="run tiffin system prune --all")
        return data


class Table:
    """Small values by name. A damaged database is told through `warn` and begun anew: it costs time, never a build."""

    def __init__(self, state: StateDir, warn: Callable[[str], None]) -> None:
        self._directory = state.cache
        self._warn = warn
        self._cache = self._open()
        _tables.add(self)

    def get(self, name: str) -> bytes | None:
        value = self._try(lambda: self._cache.get(name), "read")
        return value if isinstance(value, bytes) else None

    def get_dated(self, name: str) -> tuple[bytes, float | None] | None:
        """Return a value, and the Unix seconds when it was written, None where an older tiffin wrote it."""
        value, written = self._try(lambda: self._cache.get(name, tag=True), "read") or (None, None)
        if not isinstance(value, bytes):
            return None
        return value, float(written) if isinstance(written, (int, float)) else None

    def set(self, name: str, data: bytes) -> None:
        self._try(lambda: self._cache.set(name, data, tag=time.time()), "write")

    def delete(self, name: str) -> None:
        self._try(lambda: self._cache.delete(name), "write")

    def names(self) -> Iterator[str]:
        """Yield every name, in no order worth relying on."""
        yield from (name for name in list(self._cache) if isinstance(name, str))

    def close(self) -> bool:
        """Close what this thread has open of it; return whether it is at rest: nobody else has it open."""
        self._cache.close()
        return not (self._directory / JOURNAL).exists()

    def _open(self) -> diskcache.Cache:
        try:
            return _connect(self._directory)
        except sqlite3.OperationalError as exc:
            raise StoreError(
                f"cannot open the local cache {self._directory}: {exc}", remedy="check space and permissions there"
            ) from exc
        except (sqlite3.DatabaseError, CorruptError, ValueError) as exc:
            self._warn(f"the local cache {self._directory} is damaged ({exc}); starting a new one")
            for item in self._directory.iterdir():
                remove_tree(item)
            return _connect(self._directory)

    def _try(self, act: Callable[[], _Result], verb: str) -> _Result | None:
        try:
            return act()
        except (sqlite3.Error, CorruptError, OSError, diskcache.Timeout) as exc:
            self._warn(f"cannot {verb} the local cache: {exc}")
            return None


def close_tables() -> bool:
    """Close what this thread has open of every table, as the end of a process does otherwise; one that is used again
    is opened again, and what threads had open that ended. Return whether all are at rest.
    """
    in_use = [table for table in list(_tables) if not table.close()]
    if in_use:
        gc.collect(0)  # each connection is in a cycle with what it keeps of statements
        in_use = [table for table in in_use if not table.close()]
    return not in_use


def _connect(directory: Path) -> diskcache.Cache:
    return diskcache.Cache(
        str(directory),
        timeout=LOCK_TIMEOUT_SECONDS,
        disk=BytesDisk,
        eviction_policy="none",
        cull_limit=0,
        statistics=0,
        tag_index=0,
    )


class LocalCache:
    """Step records in a Table (the StepCache protocol)."""

    name = "local"

    def __init__(self, table: Table) -> None:
        self._table = table

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        found = {}
        for key in keys:
            data = self._table.get(STEP_PREFIX + key.hex)
            if data is not None:
                with contextlib.suppress(CorruptError, DigestError):  # damaged or foreign: not there
                    found[key] = StepRecord.decode(data)
        return found

    def put(self, key: Digest, record: StepRecord) -> None:
        self._table.set(STEP_PREFIX + key.hex, record.encode())

    def records(self) -> Iterator[tuple[str, StepRecord]]:
        """Yield every record with the name it is stored under."""
        for name, record, _ in self.dated_records():
            yield name, record

    def dated_records(self) -> Iterator[tuple[str, StepRecord, float]]:
        """Yield every record with its name and the Unix seconds when it was written, which `created` may not be: that
        is the time in the image.
        """
        for name in self._table.names():
            found = self._table.get_dated(name) if name.startswith(STEP_PREFIX) else None
            if found is not None:
                data, written = found
                with contextlib.suppress(CorruptError, DigestError):
                    record = StepRecord.decode(data)
                    yield name, record, _seconds(record.created) if written is None else written

    def forget(self, name: str) -> None:
        """Remove a record by the name `records` gave."""
        self._table.delete(name)


def _seconds(created: str) -> float:
    from datetime import datetime

    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(created).timestamp()
    return 0.0

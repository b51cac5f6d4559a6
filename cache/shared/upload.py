"""Filling a shared cache: packed layers go up beside the build, the rows that name them at its end.

A row is written only when the blob it names is there. Whatever fails is tried once more and then told in the result;
the build goes on.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import BinaryIO

from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import TiffinError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.shared.deadline import in_thread
from tiffin.cache.shared.protocol import SharedStore
from tiffin.cache.shared.signing import RecordSigner
from tiffin.cache.store.snapshots import BlobRef

PARALLEL_UPLOADS = 4
TRIES = 2
PAUSE_SECONDS = 0.5  # between them, and by chance up to twice that
ROUND_TRIPS = 4  # that writing rows may take
MIN_FINISH_SECONDS = 30.0
MIN_BYTES_PER_SECOND = 1 << 20  # what a cache must take on average, before the build goes on without it


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What came of it. `failure` "": everything is there."""

    rows: int
    layers: int
    size_bytes: int  # of those layers
    too_large: int  # layers the store has no room for
    failure: str = ""


class Uploader:
    """Fills one store.

    `open_blob` gives the bytes of a packed layer; `may_begin` tells whether threads are allowed yet.

    `doubted` holds the digests of blobs that came damaged or not at all, `refused` the keys of rows that did: they are
    written even where they seem to be.
    `seconds` bounds the wait for an answer.
    """

    def __init__(
        self,
        store: SharedStore,
        signer: RecordSigner,
        open_blob: Callable[[BlobRef], BinaryIO],
        may_begin: Callable[[], bool],
        doubted: AbstractSet[Digest],
        refused: AbstractSet[Digest],
        seconds: float,
    ) -> None:
        self._seconds = seconds
        self.store = store
        self._signer = signer
        self._open = open_blob
        self._may_begin = may_begin
        self._doubted = doubted
        self._refused = refused
        self._lock = threading.Lock()  # guards everything below but the queue
        self._queue: queue.SimpleQueue[BlobRef] = queue.SimpleQueue()
        self._threads = 0
        self._state: dict[Digest, bool | None] = {}  # of blobs: on its way, there, not there
        self._idle = threading.Condition(self._lock)
        self._moved = self._bytes = self._large = 0
        self._failure = ""

    def offer(self, ref: BlobRef) -> None:
        """Begin to bring a blob up, if that may begin already; from any thread."""
        if self._may_begin():
            self._submit(ref)

    def settle(self, refs: Sequence[BlobRef]) -> str:
        """Bring up these blobs, and wait until they are there; return why one is not, "" for none."""
        for ref in refs:
            self._submit(ref)
        self._wait(sum(ref.size_bytes for ref in refs))
        return self._failure

    def note(self, ref: BlobRef) -> None:
        """Note that a blob is there: somebody else brought it up."""
        if ref.digest not in self._doubted:
            with self._lock:
                self._state.setdefault(ref.digest, True)

    def has(self, refs: Sequence[BlobRef]) -> bool:
        """Whether all of these blobs were brought up, or are known to be there."""
        with self._lock:
            return all(self._state.get(ref.digest) for ref in refs)

    def finish(
        self,
        records: Mapping[Digest, StepRecord],
        requested_keys: Sequence[Digest],
        renewed: Mapping[Digest, StepRecord] = MappingProxyType({}),
    ) -> Uploaded:
        """Bring up what is not there yet: the layers of `records` (each has one), then their rows; `renewed` in any
        case.

        `requested_keys` are the keys that another builder will ask for together.
        """
        try:
            absent = {**self._absent(records), **renewed}
            refs = {record.layer.digest: record.layer for record in absent.values() if record.layer}
            for ref in refs.values():
                self._submit(ref)
            self._wait(sum(ref.size_bytes for ref in refs.values()))
            there = {key: record for key, record in absent.items() if record.layer and self._state[record.layer.digest]}
            rows = {key.hex: self._signer.sign(key.hex, record.encode()) for key, record in there.items()}
            if rows:
                in_thread(lambda: self._write(records, requested_keys, rows), self._seconds * ROUND_TRIPS)
        except TiffinError as exc:
            self._fail(exc.message)
            rows = {}
        return Uploaded(
            rows=len(rows),
            layers=self._moved,
            size_bytes=self._bytes,
            too_large=self._large,
            failure=self._failure,
        )

    def _absent(self, records: Mapping[Digest, StepRecord]) -> dict[Digest, StepRecord]:
        known = in_thread(lambda: self.store.known([key.hex for key in records]), self._seconds)
        return {
            key: record
            for key, record in records.items()
            if key.hex not in known
            or key in self._refused
            or (record.layer is not None and record.layer.digest in self._doubted)
        }

    def _write(
        self, records: Mapping[Digest, StepRecord], requested_keys: Sequence[Digest], rows: Mapping[str, bytes]
    ) -> None:
        self.store.write(rows)
        if not self.store.keeps_answers:
            return
        names = [key.hex for key in requested_keys]
        known = {key.hex: record for key, record in records.items()}
        signed = {
            name: rows.get(name) or self._signer.sign(name, known[name].encode()) for name in names if name in known
        }
        self.store.write_answer(names, signed)

    # -- blobs ---------------------------------------------------------------------------------------------------------

    def _submit(self, ref: BlobRef) -> None:
        with self._lock:
            if ref.digest in self._state or self._failure:
                self._state.setdefault(ref.digest, False)
                return
            self._state[ref.digest] = None
            self._queue.put(ref)
            if self._threads < PARALLEL_UPLOADS:
                self._threads += 1
                threading.Thread(target=self._work, name="share", daemon=True).start()

    def _work(self) -> None:
        """Work until there is nothing to do; a later blob starts another thread."""
        while True:
            with self._lock:
                try:
                    ref = self._queue.get_nowait()
                except queue.Empty:
                    self._threads -= 1
                    return
            try:
                there = not self._failure and self._bring_up(ref)
            except RuntimeError:  # the program ends, and no thread can be started any more: nobody waits for this one
                if not self._failure:
                    raise
                return
            with self._lock:
                self._state[ref.digest] = there
                self._idle.notify_all()

    def _bring_up(self, ref: BlobRef) -> bool:
        for number in range(TRIES):
            try:
                if ref.digest not in self._doubted and self.store.has_blob(ref):
                    return True
                if not self.store.write_blob(ref, lambda: self._open(ref)):
                    with self._lock:
                        self._large += 1
                    return False
                with self._lock:
                    self._moved += 1
                    self._bytes += ref.size_bytes
                return True
            except TiffinError as exc:
                if number == TRIES - 1:
                    self._fail(exc.message)
                else:
                    time.sleep(random.uniform(PAUSE_SECONDS, 2 * PAUSE_SECONDS))
        return False

    def _wait(self, size_bytes: int) -> None:
        deadline = time.monotonic() + max(MIN_FINISH_SECONDS, size_bytes / MIN_BYTES_PER_SECOND)
        with self._lock:
            while any(there is None for there in self._state.values()):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    self._failure = self._failure or "it took the layers too slowly"
                    return
                self._idle.wait(remaining)

    def _fail(self, reason: str) -> None:
        with self._lock:
            self._failure = self._failure or reason

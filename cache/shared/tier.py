"""Shared caches: what one builder made, other builders use.

A store holds rows (step records, sealed as bytes, by name) and blobs (packed layers, by digest). SharedCache makes a
step cache of one: every question is bounded in time, every answer is checked, and a store that failed once is not asked
again by this process. What a store says can cost time; it never decides bytes, which are verified by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import CorruptError, DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.deadline import CircuitBreaker
from tiffin.cache.shared.protocol import SharedStore
from tiffin.cache.shared.signing import RecordSigner
from tiffin.cache.store.snapshots import BlobRef


class SharedCache:
    """A store as a cache to look steps up in (the StepCache protocol).

    `found` is told every record that came, so that its layer can be fetched from here when something reads it; a record
    for which it says False is left out.
    """

    def __init__(
        self,
        store: SharedStore,
        breaker: CircuitBreaker,
        signer: RecordSigner,
        found: Callable[[BlobRef, Digest], bool],
    ) -> None:
        self.store = store
        self._breaker = breaker
        self._signer = signer
        self._found = found
        self._rows: dict[str, bytes] = {}  # came without being asked for
        self._absent: set[str] = set()
        self.refused: set[Digest] = set()  # keys of rows that are malformed, or whose layer was lost

    @property
    def name(self) -> str:
        return self.store.name

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        wanted = [key.hex for key in keys if key.hex not in self._rows and key.hex not in self._absent]
        if wanted:
            rows = self._breaker.rows(lambda: self.store.read(wanted))
            self._rows.update(rows)
            self._absent.update(name for name in wanted if name not in rows)
        result = {}
        for key in keys:
            record = self._opened(key)
            if record is None or record.layer is None:
                continue
            if self._found(record.layer, record.diff_id):
                result[key] = record
            else:
                self.refused.add(key)
        return result

    def everything(self) -> Mapping[Digest, StepRecord]:
        """Return all records of a store that can tell what it holds."""
        rows = self._breaker.rows(lambda: self.store.read(self.store.list_names()))
        self._rows.update(rows)
        return self.get_many([Digest("sha256", name) for name in rows])

    def records(self) -> list[StepRecord]:
        """Return every record that came so far, whatever it was asked for."""
        opened = [self._opened(Digest("sha256", name)) for name in list(self._rows)]
        return [record for record in opened if record is not None]

    def put(self, key: Digest, record: StepRecord) -> None:
        """Do nothing: an Uploader writes rows with their blobs."""

    def _opened(self, key: Digest) -> StepRecord | None:
        row = self._rows.get(key.hex)
        if row is None:
            return None
        try:
            record = StepRecord.decode(self._signer.verify(key.hex, row))
        except (CorruptError, DigestError) as exc:
            del self._rows[key.hex]
            self._absent.add(key.hex)
            self.refused.add(key)
            self._breaker.warn_once(f"refused a record: {exc.message}")
            return None
        return record

"""The step records of one shared cache as one document, fetched and kept whole: one question for a whole build.

Every record names a packed layer, which lies beside the document. A document that is damaged or of another schema is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from cache.backend import StepRecord
from cache.digest import Digest
from cache.errors import CorruptError, DigestError
from cache.keys import SCHEMA
from cache.snapshots import BlobRef

MAX_RECORDS = 5000  # of one document; the oldest go first
MAX_BUNDLE_BYTES = 64 << 20


class Bundle:
    """Records by key."""

    def __init__(self, records: Mapping[Digest, StepRecord]) -> None:
        self.records = dict(records)

    def encode(self) -> bytes:
        """Canonical JSON."""
        rows = {str(key): json.loads(record.encode()) for key, record in self.records.items()}
        return json.dumps({"schema": SCHEMA, "records": rows}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Raises CorruptError. A record without a layer is of no use to others and left out."""
        if len(data) > MAX_BUNDLE_BYTES:
            raise CorruptError(f"a shared cache is larger than {MAX_BUNDLE_BYTES} bytes", remedy="begin a new one")
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise ValueError("another schema")
            records = {
                Digest.parse(key): StepRecord.decode(json.dumps(row).encode())
                for key, row in document["records"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DigestError) as exc:
            raise CorruptError(f"a shared cache is malformed: {exc}", remedy="it is ignored") from exc
        return cls({key: record for key, record in records.items() if record.layer is not None})

    def merged(self, newer: Bundle) -> Bundle:
        """Both, `newer` first; the oldest records beyond the limit are dropped."""
        everything = {**self.records, **newer.records}
        latest = sorted(everything, key=lambda key: (key in newer.records, everything[key].created), reverse=True)
        return Bundle({key: everything[key] for key in latest[:MAX_RECORDS]})

    def layers(self) -> Iterator[tuple[Digest, BlobRef]]:
        """DiffID and packed form of every layer named, each once."""
        seen = set()
        for record in self.records.values():
            if record.layer is not None and record.layer.digest not in seen:
                seen.add(record.layer.digest)
                yield record.diff_id, record.layer


class BundleCache:
    """A bundle as a cache that is only asked (the StepCache protocol)."""

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name = name
        self._bundle = bundle

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        return {key: self._bundle.records[key] for key in keys if key in self._bundle.records}

    def put(self, key: Digest, record: StepRecord) -> None:
        """Sharing happens at the end of a build, all at once."""

"""The rows of one shared cache as one document, fetched and kept whole: one question for a whole build.

Rows are records as JSON, signed or not; every one names a packed layer, which lies beside the document.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Set
from datetime import datetime

from tiffin.cache.errors import CorruptError, DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.keys import SCHEMA
from tiffin.cache.store.snapshots import BlobRef

MAX_ROWS = 5000  # of one document; the oldest go first
MAX_BUNDLE_BYTES = 64 << 20


class Bundle:
    """Rows by name. A row that is malformed is none."""

    def __init__(self, rows: Mapping[str, bytes]) -> None:
        self.rows = dict(rows)

    def encode(self) -> bytes:
        """Encode as canonical JSON."""
        rows = {name: json.loads(row) for name, row in self.rows.items()}
        return json.dumps({"schema": SCHEMA, "records": rows}, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Raise CorruptError."""
        if len(data) > MAX_BUNDLE_BYTES:
            raise CorruptError(f"a shared cache is larger than {MAX_BUNDLE_BYTES} bytes", remedy="begin a new one")
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise ValueError("another schema")
            rows = {
                name: json.dumps(row, sort_keys=True, separators=(",", ":")).encode()
                for name, row in document["records"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise CorruptError(f"a shared cache is malformed: {exc}", remedy="it is ignored") from exc
        return cls(rows)

    def merged(self, newer: Bundle, ttl_seconds: float = 0) -> Bundle:
        """Merge both, `newer` first; rows older than `ttl_seconds`, and the oldest beyond the limit, are dropped."""
        everything = {**self.rows, **newer.rows}
        ages = {name: _created(row) for name, row in everything.items()}
        latest = sorted(everything, key=lambda name: (name in newer.rows, ages[name]), reverse=True)
        limit = time.time() - ttl_seconds if ttl_seconds else float("-inf")
        kept = [name for name in latest if name in newer.rows or ages[name] >= limit]
        return Bundle({name: everything[name] for name in kept[:MAX_ROWS]})

    def only(self, digests: Set[Digest]) -> Bundle:
        """Return the rows whose packed layer is one of `digests`."""
        return Bundle(
            {name: row for name, row in self.rows.items() if (ref := _layer(row)) is not None and ref.digest in digests}
        )

    def repacked(self, forms: Mapping[Digest, BlobRef]) -> Bundle:
        """Return the bundle with the packed layers that an image has now, by DiffID: who pushes it again may pack them
        anew.

        A signed row stays as it was signed.
        """
        return Bundle({name: _repacked(row, forms) for name, row in self.rows.items()})

    def layers(self) -> Iterator[BlobRef]:
        """Yield every packed layer named, each once."""
        seen = set()
        for row in self.rows.values():
            ref = _layer(row)
            if ref is not None and ref.digest not in seen:
                seen.add(ref.digest)
                yield ref


def _layer(row: bytes) -> BlobRef | None:
    try:
        return BlobRef.from_json(json.loads(row)["layer"])
    except (ValueError, KeyError, TypeError, CorruptError, DigestError):
        return None


def _repacked(row: bytes, forms: Mapping[Digest, BlobRef]) -> bytes:
    try:
        record = json.loads(row)
        form = forms.get(Digest.parse(record["diffId"]))
        if form is None or not record["layer"] or "signature" in record:
            return row
    except (ValueError, KeyError, TypeError, DigestError):
        return row
    return json.dumps({**record, "layer": form.to_json()}, sort_keys=True, separators=(",", ":")).encode()


def _created(row: bytes) -> float:
    try:
        return datetime.fromisoformat(json.loads(row)["created"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return 0.0

"""Step records, and the protocol of a cache that holds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tiffin.cache.errors import CorruptError
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.keys import SCHEMA, KeyPart
from tiffin.cache.store.snapshots import BlobRef

MAX_RECORD_BYTES = 4 << 20  # a RUN with a very long script; anything beyond is damage
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"  # RFC 3339
MAX_PART_CHARACTERS = 4096  # longer parts are kept shortened: they explain, they do not decide


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """The result of a step. It holds only over the layers whose ChainID is `parent_chain`."""

    diff_id: Digest
    parent_chain: Digest
    created: str  # RFC 3339
    seconds: float  # it took to make
    parts: tuple[KeyPart, ...]
    layer: BlobRef | None  # a packed form, where one was made
    empty: bool  # nothing changed
    description: str

    def encode(self) -> bytes:
        document = {
            "schema": SCHEMA,
            "diffId": str(self.diff_id),
            "parentChain": str(self.parent_chain),
            "created": self.created,
            "seconds": round(self.seconds, 3),
            "parts": [[part.name, part.value[:MAX_PART_CHARACTERS]] for part in self.parts],
            "layer": self.layer.to_json() if self.layer else None,
            "empty": self.empty,
            "description": self.description,
        }
        return json_text.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> StepRecord:
        """Read a record; raises CorruptError for anything of another form."""
        try:
            if len(data) > MAX_RECORD_BYTES:
                raise ValueError("too long")
            value = json_text.loads(data)
            if value["schema"] != SCHEMA or not isinstance(value["empty"], bool):
                raise ValueError("another schema")
            seconds = float(value["seconds"])
            if not 0 <= seconds < float("inf") or not re.fullmatch(_TIME, value["created"]):
                raise ValueError("times that are none")
            return cls(
                diff_id=Digest.parse(value["diffId"]),
                parent_chain=Digest.parse(value["parentChain"]),
                created=value["created"],
                seconds=seconds,
                parts=tuple(KeyPart(str(name), str(text)) for name, text in value["parts"]),
                layer=BlobRef.from_json(value["layer"]) if value["layer"] else None,
                empty=value["empty"],
                description=str(value["description"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise CorruptError(f"a step record is malformed: {exc}", remedy="it is ignored") from exc


class StepCache(Protocol):
    """Records by key.

    Look-ups leave out what is not there and raise StoreError for "could not ask"; puts are idempotent.
    """

    @property
    def name(self) -> str: ...

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]: ...

    def put(self, key: Digest, record: StepRecord) -> None: ...


class AvailableOnly:
    """Another cache without the records whose layer is not to be had (`has`); what is not, other caches may have."""

    def __init__(self, inner: StepCache, has: Callable[[Digest], bool]) -> None:
        self._inner = inner
        self._has = has

    @property
    def name(self) -> str:
        return self._inner.name

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        return {key: record for key, record in self._inner.get_many(keys).items() if self._has(record.diff_id)}

    def put(self, key: Digest, record: StepRecord) -> None:
        self._inner.put(key, record)


class Tiered:
    """Several caches, nearest first: each is asked for what the nearer ones lacked; hits are kept in the nearer
    ones.
    """

    def __init__(self, tiers: Sequence[StepCache]) -> None:
        self._tiers = tuple(tiers)
        self._sources: dict[Digest, str] = {}

    @property
    def name(self) -> str:
        return "+".join(tier.name for tier in self._tiers)

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        found: dict[Digest, StepRecord] = {}
        for number, tier in enumerate(self._tiers):
            missing = [key for key in keys if key not in found]
            if not missing:
                break
            for key, record in tier.get_many(missing).items():
                found[key] = record
                self._sources.setdefault(key, tier.name)  # asked again, a nearer one has it from there
                for nearer in self._tiers[:number]:
                    nearer.put(key, record)
        return found

    def source(self, key: Digest) -> str:
        """Return the name of the cache that had a key first."""
        return self._sources.get(key, self._tiers[0].name)

    def put(self, key: Digest, record: StepRecord) -> None:
        self._sources.pop(key, None)
        for tier in self._tiers:
            tier.put(key, record)

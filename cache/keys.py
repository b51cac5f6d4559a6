"""Cache keys: SHA-256 over a version and length-framed, named parts. The parts are kept so that a miss can be
explained.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.sha256 import sha256

SCHEMA = 3  # raise it when the meaning of any part changes: old records are then never found


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One thing a step's result depends on."""

    name: str
    value: str


def step_key(parts: Sequence[KeyPart]) -> Digest:
    """Return the key of `parts`, in their order.

    A length stands before every text, so no two lists share their bytes.
    """
    hasher = sha256(b"tiffin step %d\n" % SCHEMA)
    for part in parts:
        for text in (part.name, part.value):
            data = text.encode("utf-8", "surrogateescape")
            hasher.update(b"%d:" % len(data))
            hasher.update(data)
    return Digest("sha256", hasher.hexdigest())

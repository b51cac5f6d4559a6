"""What a shared cache's store is: where rows and blobs are kept that several builders use, and what one is made of.

A kind of store is a file in tiffin.cache.shared.stores and a row in tiffin.builder.sharing.kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Protocol

from tiffin.cache.errors import StoreError
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

MAX_ROW_BYTES = 4 << 20


class UnavailableError(StoreError):
    """A shared cache that refused, failed, hung, or is full."""


class SharedStore(Protocol):
    """Where rows and blobs are kept. Every method raises UnavailableError (or another TiffinError) and may be used by
    many threads; names are lower-case hexadecimal, so they are safe as file names and paths.

    A store derives from this; the methods that have a body here are those that only some stores can do better.
    """

    name: str  # what it is called on the terminal: its type
    place: str  # where it is, without credentials
    repository: str = ""  # the reference of an image whose registry has its blobs: a push there can mount them
    keeps_answers: bool = False  # each row costs a request, so `write_answer` saves some

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the rows that are there, in as few round trips as can be; more than was asked for may come."""

    def write(self, rows: Mapping[str, bytes]) -> None:
        """Keep rows whose blobs are all there."""

    def known(self, names: Sequence[str]) -> frozenset[str]:
        """Return which rows are there."""

    def has_blob(self, ref: BlobRef) -> bool:
        """Whether the blob is there."""

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        """Return the bytes of a blob, not verified; None if it is not there."""

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        """Keep a blob, read from what `open_blob` gives (called again for another try); return False if it is too large
        for here.
        """

    def list_names(self) -> Sequence[str]:
        """Return the names of all rows, as far as the store can tell without being asked for them."""
        return ()

    def write_answer(self, names: Sequence[str], rows: Mapping[str, bytes]) -> None:
        """Keep `rows` also as the answer to the very question for `names`."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a store is made of: `place` (an address, a path, a bucket) and the options of its kind, as they were given.

    `sizes` has those that are sizes, in bytes. `registry` makes the store of a reference, for kinds that leave blobs to
    one.
    """

    place: str
    timeout_seconds: float
    registry: Callable[[str], SharedStore]
    trust: Trust
    token: str = ""
    ttl_seconds: float = 0
    options: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

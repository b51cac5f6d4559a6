"""Digests: checked values, and streams that hash what passes through them.

image-spec descriptor.md#digests. sha256 and sha512 are accepted; sha256 is what tiffin writes.
"""

from __future__ import annotations

from tiffin.cache.errors import CorruptError, DigestError
from tiffin.cache.foundation.sha256 import hasher
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO, Final, NoReturn

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX_DIGITS = "0123456789abcdef"
COPY_CHUNK_BYTES = 1 << 20  # large enough that Python's share of a copy vanishes, small enough for constant memory


class Digest:
    """`ALGORITHM:HEX`, checked when made, so it is safe in a path or a URL.

    A value: it never changes, and has an order.

    Written out, because there are very many, and `dataclasses` takes longer to import than a small command to run.
    """

    __slots__ = ("algorithm", "hex")
    algorithm: Final[str]  # type: ignore[misc]  # set past the lock below
    hex: Final[str]  # type: ignore[misc]

    def __init__(self, algorithm: str, hex: str) -> None:
        if HEX_LENGTH.get(algorithm) != len(hex) or hex.strip(_HEX_DIGITS):
            raise DigestError(
                f'invalid digest "{algorithm}:{hex}"', remedy="expected sha256: and 64 lower-case hex digits"
            )
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "hex", hex)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a digest cannot be changed: {name}")

    def __reduce__(self) -> tuple[object, ...]:
        return Digest, (self.algorithm, self.hex)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self.hex == other.hex and self.algorithm == other.algorithm

    def __hash__(self) -> int:
        return hash((self.algorithm, self.hex))

    def __lt__(self, other: Digest) -> bool:
        return (self.algorithm, self.hex) < (other.algorithm, other.hex)

    def __repr__(self) -> str:
        return f"Digest({self.algorithm!r}, {self.hex!r})"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:…`; raises DigestError."""
        algorithm, _, hexdigest = text.partition(":")
        return cls(algorithm, hexdigest)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of `data`."""
        hashed = hasher(algorithm, len(data))
        hashed.update(data)
        return cls(algorithm, hashed.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """The first twelve hex digits, as Docker abbreviates ids."""
        return self.hex[:12]


class HashingWriter:
    """Pass writes on to `sink` (or nowhere), counting and hashing them."""

    def __init__(self, sink: BinaryIO | None = None, *, algorithm: str = "sha256") -> None:
        self._sink = sink
        self._algorithm = algorithm
        self._hash = hasher(algorithm)
        self.size_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self._hash.update(data)
        self.size_bytes += len(data)
        if self._sink is not None:
            self._sink.write(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        """The digest of everything written so far."""
        return Digest(self._algorithm, self._hash.hexdigest())


class VerifyingReader:
    """Read `source` to its end; the last read raises CorruptError unless digest and size were right.

    Also raises as soon as more than `size_bytes` arrive, so a lying server cannot fill the disk.
    Closing is the caller's business (`close` closes `source`).
    """

    def __init__(
        self,
        source: BinaryIO,
        digest: Digest,
        size_bytes: int | None,
        *,
        what: str = "blob",
        remedy: str = "the source sends wrong bytes; try again or use another source",
    ) -> None:
        self._source = source
        self._digest = digest
        self._size_bytes = size_bytes
        self._what = what
        self._remedy = remedy
        self._hash = hasher(digest.algorithm, size_bytes)
        self._done = False
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(COPY_CHUNK_BYTES), b""))
        data = self._source.read(size)
        if data:
            self._hash.update(data)
            self.read_bytes += len(data)
            if self._size_bytes is not None and self.read_bytes > self._size_bytes:
                raise CorruptError(
                    f"{self._what} {self._digest} is longer than the promised {self._size_bytes} bytes",
                    remedy=self._remedy,
                )
        elif size and not self._done:
            self._verify()
        return data

    def _verify(self) -> None:
        self._done = True
        if self._size_bytes is not None and self.read_bytes != self._size_bytes:
            raise CorruptError(
                f"{self._what} {self._digest} ended after {self.read_bytes} of {self._size_bytes} bytes",
                remedy="the transfer was cut off or the store is damaged; try again",
            )
        actual = f"{self._digest.algorithm}:{self._hash.hexdigest()}"
        if actual != str(self._digest):
            raise CorruptError(
                f"{self._what} {self._digest} has the wrong content ({actual})",
                remedy=self._remedy,
            )

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> VerifyingReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

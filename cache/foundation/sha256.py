"""SHA-256 of what is short, without OpenSSL: to load it takes 5 % of a rebuild with nothing changed, or as long as to
hash a megabyte without it.
"""

from __future__ import annotations

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib
    from hashlib import sha256 as sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # built without it
            from hashlib import sha256

SHORT_BYTES = 256 << 10


def hasher(algorithm: str, size_bytes: int | None = None) -> hashlib._Hash:
    """Return an empty one of `algorithm`, the best for so much data; None is any amount."""
    if algorithm == "sha256" and size_bytes is not None and size_bytes <= SHORT_BYTES:
        return sha256()
    import hashlib

    return hashlib.new(algorithm)


def short_sha256(data: bytes) -> str:
    """Return the SHA-256 of a short text, in hex."""
    return sha256(data).hexdigest()


class LateSha256:
    """A hash of data that comes in pieces: OpenSSL is loaded when they turn out not to be short."""

    def __init__(self) -> None:
        self._begin = bytearray()
        self._hash: hashlib._Hash | None = None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add data at the end."""
        if self._hash is not None:
            self._hash.update(data)
            return
        self._begin += data
        if len(self._begin) > SHORT_BYTES:
            self._hash = hasher("sha256")
            self._hash.update(self._begin)
            self._begin.clear()

    def hexdigest(self) -> str:
        """Return the SHA-256 of all data until now."""
        return (self._hash or sha256(self._begin)).hexdigest()

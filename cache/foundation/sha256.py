"""SHA-256 of what is short, without OpenSSL: to load it takes longer than to hash a megabyte without it."""

from __future__ import annotations

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib
    from hashlib import sha256
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

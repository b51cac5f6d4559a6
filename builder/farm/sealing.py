"""What only one worker may read: units, with their secrets, are sealed for the key that it announced."""

from __future__ import annotations

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from tiffin.builder.errors import CorruptError


class WorkerKey:
    """The key pair of one worker, made when it starts and never written."""

    def __init__(self) -> None:
        self._key = PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes (X25519)."""
        return bytes(self._key.public_key)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed for it. Raises CorruptError for anything else."""
        try:
            return bytes(SealedBox(self._key).decrypt(sealed))
        except CryptoError as exc:
            raise CorruptError("a unit is not sealed for this worker", remedy="start the worker again") from exc


def seal(public: bytes, data: bytes) -> bytes:
    """Return `data` as only the owner of that public key can read it."""
    return bytes(SealedBox(PublicKey(public)).encrypt(data))

"""Signed step records: with a key, what strangers put into a shared cache is refused.

A row is a record's canonical JSON with one more member, "signature": `hmac-sha256:BASE64` or `ed25519:BASE64` over the
row's name and the record. The key file is a PEM private key (ed25519: signs and verifies), a PEM public key (verifies
only), or at least 16 bytes of anything else (HMAC).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from pathlib import Path
from typing import Protocol

from tiffin.cache.errors import CorruptError, UsageError

MIN_SECRET_BYTES = 16


class RecordSigner(Protocol):
    """Turns records into rows and back."""

    def sign(self, name: str, record: bytes) -> bytes:
        """Return `record` as the row called `name`: canonical JSON with its signature."""

    def verify(self, name: str, row: bytes) -> bytes:
        """Return the record of a row; raises CorruptError where the signature does not hold."""


class Unsigned:
    """No signatures: anyone who can write to the cache is believed."""

    def sign(self, name: str, record: bytes) -> bytes:
        return record

    def verify(self, name: str, row: bytes) -> bytes:
        return row


class _SigningRecords(Protocol):
    """The frame of both kinds of signature."""

    kind: str

    def sign(self, name: str, record: bytes) -> bytes:
        document = json.loads(record)
        document["signature"] = f"{self.kind}:{base64.b64encode(self._signature(_message(name, record))).decode()}"
        return _canonical(document)

    def verify(self, name: str, row: bytes) -> bytes:
        try:
            document = json.loads(row)
            kind, _, text = document.pop("signature", "").partition(":")
            signature = base64.b64decode(text, validate=True)
        except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as exc:
            raise CorruptError("it is malformed", remedy="it is ignored") from exc
        record = _canonical(document)
        if kind != self.kind or not self._is_valid(_message(name, record), signature):
            raise CorruptError("it has no signature of the key given", remedy="it is ignored")
        return record

    def _signature(self, message: bytes) -> bytes:
        """Return the signature of a message."""

    def _is_valid(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is that of the message."""


class Hmac(_SigningRecords):
    """One secret for all builders."""

    kind = "hmac-sha256"

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def _signature(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, hashlib.sha256)

    def _is_valid(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self._signature(message), signature)


class Ed25519(_SigningRecords):
    """Some builders sign, all verify."""

    kind = "ed25519"

    def __init__(self, pem: bytes, path: Path) -> None:
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric import ed25519
            from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
        except ImportError as exc:
            raise UsageError(
                "keys in PEM need the package cryptography", remedy="pip install tiffin[sign], or use a secret"
            ) from exc
        self._private: ed25519.Ed25519PrivateKey | None = None
        try:
            key = load_pem_private_key(pem, None) if b"PRIVATE" in pem else load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise UsageError(f"cannot read the key {path}: {exc}", remedy="give a PEM without a password") from exc
        if isinstance(key, ed25519.Ed25519PrivateKey):
            self._private, self._public = key, key.public_key()
        elif isinstance(key, ed25519.Ed25519PublicKey):
            self._public = key
        else:
            raise UsageError(f"{path} is not an ed25519 key", remedy="make one: openssl genpkey -algorithm ed25519")

    def _signature(self, message: bytes) -> bytes:
        if self._private is None:
            raise UsageError("a public key cannot sign records", remedy="fill the cache with the private key")
        return self._private.sign(message)

    def _is_valid(self, message: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def signer_of(path: Path | None) -> RecordSigner:
    """Return the signer of a key file, or none; raises UsageError."""
    if path is None:
        return Unsigned()
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read the key {path}: {exc.strerror}", remedy="check --cache-sign-key") from exc
    if data.startswith(b"-----BEGIN"):
        return Ed25519(data, path)
    secret = data.strip()
    if len(secret) < MIN_SECRET_BYTES:
        raise UsageError(
            f"the key {path} is shorter than {MIN_SECRET_BYTES} bytes", remedy="make one: openssl rand -hex 32"
        )
    return Hmac(secret)


def _message(name: str, record: bytes) -> bytes:
    return b"tiffin record 1\n" + name.encode() + b"\n" + record


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

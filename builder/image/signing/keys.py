"""Keys that sign and verify: PEM of ECDSA P-256, RSA and ed25519, and the encrypted form of cosign."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.errors import ImageError, UsageError
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.sha256 import short_sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

    Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

PASSWORD = "COSIGN_PASSWORD"
ENVIRONMENT = "env://"
MAX_KEY_BYTES = 1 << 20
MIN_RSA_BITS = 2048  # cosign's
MAX_SCRYPT_BYTES = 256 << 20
_ENCRYPTED = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")
# what cosign and notation read besides, by how it begins
_REFUSED: Mapping[str, str] = {
    "pkcs11:": "keys in hardware (pkcs11) are not supported",
    "awskms://": "keys of AWS KMS are not supported",
    "azurekms://": "keys of Azure are not supported",
    "gcpkms://": "keys of Google Cloud KMS are not supported",
    "hashivault://": "keys of Vault are not supported",
    "k8s://": "keys in Kubernetes are not supported",
    "gitlab://": "keys in GitLab are not supported",
    "openbao://": "keys of OpenBao are not supported",
    "notation:": "signatures of notation are not supported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """A public key; `name` is where it came from, for messages."""

    key: Public
    name: str

    @property
    def is_ed25519(self) -> bool:
        from cryptography.hazmat.primitives.asymmetric import ed25519

        return isinstance(self.key, ed25519.Ed25519PublicKey)

    def is_valid(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature is that of the message by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            elif isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def der(self) -> bytes:
        """Return the key as X.509 has it (SubjectPublicKeyInfo)."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def hint(self) -> str:
        """Return what cosign writes into a bundle to tell keys apart."""
        return base64.b64encode(bytes.fromhex(short_sha256(self.der()))).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key; `name` is where it came from, for messages."""

    key: Private
    name: str

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(key=self.key.public_key(), name=self.name)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        if isinstance(self.key, rsa.RSAPrivateKey):
            from cryptography.hazmat.primitives.asymmetric import padding

            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(message)


def read_signing_key(place: str, environ: Mapping[str, str]) -> SigningKey:
    """Read a private key: a file, or env://NAME. Raises UsageError; no part of the key is in it."""
    _need_cryptography()
    pem = read_key(place, environ)
    password = environ.get(PASSWORD)
    if any(b"-----BEGIN " + name in pem for name in _ENCRYPTED):
        der, secret = _decrypted(pem, place, password), None
    else:
        der, secret = None, password.encode() if password and b"ENCRYPTED" in pem else None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    try:
        key = load_der_private_key(der, None) if der is not None else load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        if b"ENCRYPTED" in pem:
            remedy = f"put the password of the key into {PASSWORD}"
            raise UsageError(f"the key {place} cannot be decrypted", remedy=remedy) from exc
        if b"PUBLIC KEY" in pem:
            raise UsageError(f"{place} is a public key, which cannot sign", remedy="give the private key") from exc
        raise UsageError(f"{place} is not a private key in PEM", remedy=_MAKE) from exc
    return SigningKey(key=_usable_private(key, place), name=place)


def read_verifying_key(place: str, environ: Mapping[str, str]) -> VerifyingKey:
    """Read a public key, or the one of a private key that is not encrypted. Raises UsageError."""
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = read_key(place, environ)
    if b"PRIVATE KEY" in pem:
        return read_signing_key(place, environ).public
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise UsageError(f"{place} is not a public key in PEM", remedy=_MAKE_PUBLIC) from exc
    return VerifyingKey(key=usable_public(key, place), name=place)


def usable_public(key: PublicKeyTypes, place: str) -> Public:
    """Return a key of a kind that is used here. Raises UsageError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise UsageError(
        f"the key {place} is not ECDSA P-256, RSA of {MIN_RSA_BITS} bits or more, or ed25519", remedy=_MAKE
    )


_MAKE = "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sign.key"
_MAKE_PUBLIC = "make one: openssl pkey -in sign.key -pubout -out sign.pub"


def _usable_private(key: PrivateKeyTypes, place: str) -> Private:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise UsageError(f"the key {place} is of a kind that does not sign here", remedy=_MAKE)
    usable_public(key.public_key(), place)
    return key


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as exc:
        raise UsageError("signatures need the package cryptography", remedy="pip install tiffin[sign]") from exc


def read_key(place: str, environ: Mapping[str, str]) -> bytes:
    """Return what a file or a variable has for a key. Raises UsageError."""
    for prefix, reason in _REFUSED.items():
        if place.startswith(prefix):
            raise UsageError(f"{place}: {reason}", remedy="give a file, or env://NAME")
    if place.startswith(ENVIRONMENT):
        name = place.removeprefix(ENVIRONMENT)
        if name not in environ:
            raise UsageError(f"{place}: the variable {name} is not set", remedy="set it to a key in PEM")
        return environ[name].encode()
    try:
        with Path(place).open("rb") as stream:
            return stream.read(MAX_KEY_BYTES)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"cannot read the key {place}: {why}", remedy="name a file in PEM, or env://NAME") from exc


def _decrypted(pem: bytes, place: str, password: str | None) -> bytes:
    """Return what cosign encrypted: JSON in PEM, scrypt and NaCl's secretbox. Raises UsageError."""
    try:
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
    except ImportError as exc:
        remedy = "pip install tiffin[sign], or write the key in plain PEM"
        raise UsageError(
            f"the key {place} is encrypted by cosign, which needs the package PyNaCl", remedy=remedy
        ) from exc
    import hashlib  # OpenSSL: to load it takes as long as half of what a rebuild does for a signature

    if password is None:
        raise UsageError(f"the key {place} is encrypted", remedy=f"put its password into {PASSWORD}")
    body = b"".join(line for line in pem.splitlines() if line and not line.startswith(b"-----"))
    try:
        document = json.loads(base64.b64decode(body))
        kdf, cipher = document["kdf"], document["cipher"]
        if kdf["name"] != "scrypt" or cipher["name"] != "nacl/secretbox":
            raise ImageError("another cipher")
        cost = {name.lower(): int(kdf["params"][name]) for name in ("N", "r", "p")}
        salt, nonce, text = (base64.b64decode(item) for item in (kdf["salt"], cipher["nonce"], document["ciphertext"]))
        secret = hashlib.scrypt(password.encode(), salt=salt, maxmem=MAX_SCRYPT_BYTES, dklen=SecretBox.KEY_SIZE, **cost)
        return bytes(SecretBox(secret).decrypt(text, nonce))
    except CryptoError as exc:
        raise UsageError(
            f"the password in {PASSWORD} does not open the key {place}", remedy="set the right one"
        ) from exc
    except (ValueError, KeyError, TypeError, ImageError) as exc:
        raise UsageError(f"the key {place} is damaged, or of a newer form", remedy="copy it again") from exc

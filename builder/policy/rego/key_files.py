"""Signatures by keys in files of a policy: OpenPGP's, by pysequoia, and ssh's, as git and ssh-keygen make them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiffin.builder.errors import UsageError
from tiffin.builder.policy.rego.git_objects import PGP, SSH, GitObject
from tiffin.cache.foundation.frozen import dataclass

if TYPE_CHECKING:
    from pysequoia import Cert, Sig

MAGIC = b"SSHSIG"
GIT_NAMESPACE = "git"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_PGP_KEY = rb"-----BEGIN PGP (?:PUBLIC|PRIVATE) KEY BLOCK-----.*?-----END PGP (?:PUBLIC|PRIVATE) KEY BLOCK-----"
_SSH_KEY = re.compile(rb"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[\w@.-]+) ([A-Za-z0-9+/=]+)")
_WEAK = ("MD5", "SHA1", "RipeMD")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A signature of ssh (PROTOCOL.sshsig): by which key (in ssh's encoding), for what, of which hash."""

    version: int
    key: bytes
    namespace: str
    reserved: bytes
    hash_name: str
    signature: bytes

    @property
    def fingerprint(self) -> str:
        """Return the key as ssh shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip("=")


def signature_fields(found: GitObject) -> dict[str, object]:
    """Return what buildx tells of a signature, before anyone verified it; nothing for one that cannot be read."""
    if found.signature.startswith(PGP):
        sig = _pgp_signature(found.signature)
        if sig is None:
            return {}
        number = (sig.issuer_key_id or (sig.issuer_fingerprint or "")[-16:]).lower()
        return {"pgpSignature": {"version": sig.version, **({"keyID": number} if number else {})}}
    if found.signature.startswith(SSH):
        made = read_ssh_signature(found.signature)
        return {} if made is None else {"sshSignature": {"version": made.version, "pubKey": made.fingerprint}}
    return {}


def is_signed_by(found: GitObject, keys: bytes) -> bool:
    """Whether an object of git has a good signature of one of the keys in a file. Raises UsageError."""
    if found.signature.startswith(SSH):
        made = read_ssh_signature(found.signature)
        return made is not None and _is_ssh_valid(made, found.signed, keys)
    return found.signature.startswith(PGP) and _is_pgp_valid(found.signature, keys, data=found.signed)


def is_file_signed_by(file: Path, signature: bytes, keys: bytes) -> bool:
    """Whether an armored OpenPGP signature of a file is good, by one of the keys. Raises UsageError."""
    return _is_pgp_valid(signature, keys, file=file)


def has_keys(data: bytes) -> bool:
    """Whether a file has keys of OpenPGP or ssh."""
    return bool(re.search(_PGP_KEY, data, re.DOTALL) or _SSH_KEY.search(data))


def read_ssh_signature(armored: bytes) -> SshSignature | None:
    """Read a signature; None for one that is damaged."""
    found = re.search(rb"-----BEGIN SSH SIGNATURE-----\s(.*?)-----END SSH SIGNATURE-----", armored, re.DOTALL)
    try:
        data = base64.b64decode(b"".join((found[1] if found else b"").split()), validate=True)
        if not data.startswith(MAGIC):
            return None
        (version,) = struct.unpack_from(">I", data, len(MAGIC))
        key, namespace, reserved, hash_name, signature = _strings(data[len(MAGIC) + 4 :], 5)
        return SshSignature(
            version=version,
            key=key,
            namespace=namespace.decode(),
            reserved=reserved,
            hash_name=hash_name.decode(),
            signature=signature,
        )
    except (binascii.Error, struct.error, ValueError):
        return None


def _strings(data: bytes, count: int) -> list[bytes]:
    """Return strings in ssh's encoding: a length in 4 bytes, and as many bytes. Raises ValueError."""
    found = []
    for _ in range(count):
        if len(data) < 4 or len(data) - 4 < int.from_bytes(data[:4]):
            raise ValueError("too short")
        end = 4 + int.from_bytes(data[:4])
        found.append(data[4:end])
        data = data[end:]
    return found


def _is_ssh_valid(made: SshSignature, signed: bytes, keys: bytes) -> bool:
    if made.version != 1 or made.namespace != GIT_NAMESPACE or made.hash_name not in _HASHES:
        return False
    trusted = {_decoded(found[2]): found[1] for found in _SSH_KEY.finditer(keys)}
    if made.key not in trusted:
        return False
    if trusted[made.key].startswith(b"sk-"):
        raise UsageError(
            "signatures of ssh keys in hardware (sk-…) are not verified",
            remedy="use another key, or pin what you have verified by its commit",
        )
    message = MAGIC + b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (
            made.namespace.encode(),
            made.reserved,
            made.hash_name.encode(),
            _HASHES[made.hash_name](signed).digest(),
        )
    )
    return _fits(trusted[made.key] + b" " + base64.b64encode(made.key), made.signature, message)


def _fits(key_line: bytes, blob: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(key_line)
        algorithm, signature = _strings(blob, 2)
        if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm.startswith(b"ecdsa-sha2-"):
            r, s = (int.from_bytes(part) for part in _strings(signature, 2))
            by_size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(by_size[key.key_size]))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm in (b"rsa-sha2-256", b"rsa-sha2-512"):
            chosen = hashes.SHA256() if algorithm.endswith(b"256") else hashes.SHA512()
            key.verify(signature, message, padding.PKCS1v15(), chosen)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError):
        return False
    return True


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _pgp_signature(armored: bytes) -> Sig | None:
    try:
        return _sequoia().Sig.from_bytes(armored)  # type: ignore[no-any-return]
    except (RuntimeError, ValueError):
        return None


def _is_pgp_valid(armored: bytes, keys: bytes, *, data: bytes | None = None, file: Path | None = None) -> bool:
    sig = _pgp_signature(armored)
    if sig is None or any(str(sig.hash_algorithm).endswith(name) for name in _WEAK):
        return False
    certs = _certificates(keys)
    what = {"bytes": data} if file is None else {"file": str(file)}
    try:
        return bool(_sequoia().verify(**what, store=lambda ids: certs, signature=sig).valid_sigs)
    except (RuntimeError, ValueError):
        return False


def _certificates(keys: bytes) -> Sequence[Cert]:
    certs: list[Cert] = []
    for block in re.findall(_PGP_KEY, keys, re.DOTALL):
        try:
            certs += _sequoia().Cert.split_bytes(block)
        except (RuntimeError, ValueError):
            continue
    return certs


def _sequoia() -> Any:
    try:
        import pysequoia
    except ImportError as exc:
        raise UsageError(
            "signatures of OpenPGP need pysequoia", remedy='run pip install "tiffin[rego]", or have them made by ssh'
        ) from exc
    return pysequoia

"""Signatures without a key of one's own: a certificate for an identity, and an entry in a public log (Sigstore)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.errors import UsageError, VerificationError
from tiffin.builder.image.signing.envelope import Bundle, Envelope
from tiffin.builder.image.signing.simple import SimpleSignature
from tiffin.cache.foundation.frozen import dataclass

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.sign import SigningContext
    from sigstore.verify import Verifier

FULCIO = "1.3.6.1.4.1.57264.1"
ISSUERS = (f"{FULCIO}.8", f"{FULCIO}.1")  # Fulcio's extensions, the newer first
# its others by their last number, as Sigstore's tools name them
CLAIMS = {
    9: "buildSignerURI",
    10: "buildSignerDigest",
    11: "runnerEnvironment",
    12: "sourceRepositoryURI",
    13: "sourceRepositoryDigest",
    14: "sourceRepositoryRef",
    15: "sourceRepositoryIdentifier",
    16: "sourceRepositoryOwnerURI",
    17: "sourceRepositoryOwnerIdentifier",
    18: "buildConfigURI",
    19: "buildConfigDigest",
    20: "buildTrigger",
    21: "runInvocationURI",
    22: "sourceRepositoryVisibilityAtSigning",
}
_UTF8 = 0x0C


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who has to have signed: a name or a pattern of names, and who vouches for them."""

    name: str = ""
    name_pattern: str = ""
    issuer: str = ""
    issuer_pattern: str = ""

    def verify(self, cert: Certificate) -> None:
        """Raise sigstore's VerificationError for the certificate of another; the package calls this."""
        from sigstore.errors import VerificationError as NotVerified

        names, issuer = _names(cert), _issuer(cert)
        if not any(_fits(item, self.name, self.name_pattern) for item in names):
            raise NotVerified(f"the certificate is for {', '.join(names) or 'nobody'}")
        if not _fits(issuer, self.issuer, self.issuer_pattern):
            raise NotVerified(f"{issuer or 'nobody'} vouched for the identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A bundle that is good: what is signed, what the certificate says of the signer, and when a log saw it."""

    payload: bytes
    signer: Mapping[str, str]
    timestamps: Sequence[Mapping[str, str]]


class _Anyone:
    """Takes every identity: whoever asks looks at it."""

    def verify(self, cert: Certificate) -> None:
        """Accept a certificate; the package calls this."""


class KeylessReader:
    """Reads bundles that any identity signed; `trusted_root` as for KeylessChecker."""

    def __init__(self, trusted_root: str) -> None:
        self._verifier = _verifier(trusted_root)

    def read(self, data: bytes) -> Certified | None:
        """Return what a bundle says, None where it is not good, or not signed by an identity."""
        from sigstore.errors import Error
        from sigstore.models import Bundle as SigstoreBundle

        try:
            bundle = SigstoreBundle.from_json(data)
            _, payload = self._verifier.verify_dsse(bundle, _Anyone())
        except (Error, ValueError, KeyError):
            return None
        return Certified(payload=payload, signer=_signer(bundle.signing_certificate), timestamps=_timestamps(data))


class KeylessChecker:
    """Wants signatures of an identity; `trusted_root` is a file, "" for that of the public Sigstore as it is known."""

    def __init__(self, identity: Identity, trusted_root: str) -> None:
        self._identity = identity
        self._verifier = _verifier(trusted_root)

    def fault_of_bundle(self, bundle: Bundle) -> str:
        from sigstore.errors import Error
        from sigstore.models import Bundle as SigstoreBundle

        if not bundle.has_certificate:
            return "it was signed by a key, not by an identity"
        try:
            _, payload = self._verifier.verify_dsse(SigstoreBundle.from_json(bundle.data), self._identity)
        except (Error, ValueError, KeyError) as exc:
            return str(exc).strip() or "it is damaged"
        return "" if payload == bundle.envelope.payload else "it is damaged"

    def fault_of_envelope(self, envelope: Envelope) -> str:
        """Return a fault always: cosign's older form is not read."""
        return "it is an attestation of cosign's older form, without a bundle"

    def fault_of_simple(self, made: SimpleSignature) -> str:
        """Return a fault always: cosign's older form is not read."""
        return "it is a signature of cosign's older form, without a bundle"


class KeylessSigner:
    """Signs as an identity: the certificate's and the log's servers are those of `trust_config`."""

    def __init__(self, token: str, trust_config: str) -> None:
        self._token = token
        self._context = _signing_context(trust_config)

    @property
    def name(self) -> str:
        return "keyless"

    def bundle(self, statement: bytes) -> bytes:
        """Return a statement signed. Raises VerificationError."""
        from sigstore.dsse import Statement
        from sigstore.errors import Error
        from sigstore.oidc import IdentityError, IdentityToken

        try:
            with self._context.signer(IdentityToken(self._token)) as signer:
                text: str = signer.sign_dsse(Statement(statement)).to_json()
                return text.encode()
        except (Error, IdentityError, OSError) as exc:
            raise VerificationError(f"cannot sign as an identity: {exc}", remedy="see the identity token") from exc


def _fits(text: str, wanted: str, pattern: str) -> bool:
    return (not wanted or text == wanted) and (not pattern or re.fullmatch(pattern, text) is not None)


def _names(cert: Certificate) -> list[str]:
    from cryptography import x509

    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    plain = [*found.get_values_for_type(x509.RFC822Name), *found.get_values_for_type(x509.UniformResourceIdentifier)]
    return [str(name) for name in plain]


def _issuer(cert: Certificate) -> str:
    newer, older = (_extension(cert, oid) for oid in ISSUERS)
    return _utf8(newer) if newer else older.decode(errors="replace")


def _extension(cert: Certificate, oid: str) -> bytes:
    from cryptography import x509

    try:
        value = cert.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except x509.ExtensionNotFound:
        return b""
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def _utf8(der: bytes) -> str:
    """Return the text in a UTF8String of DER, "" for anything else."""
    if len(der) < 2 or der[0] != _UTF8:
        return ""
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)  # a long one tells in how many bytes its length is
    return der[start:].decode(errors="replace")


def _signer(cert: Certificate) -> dict[str, str]:
    told = {name: _utf8(_extension(cert, f"{FULCIO}.{number}")) for number, name in CLAIMS.items()}
    return {
        "certificateIssuer": cert.issuer.rfc4514_string(),
        "subjectAlternativeName": next(iter(_names(cert)), ""),
        "issuer": _issuer(cert),
        **{name: text for name, text in told.items() if text},
    }


def _timestamps(data: bytes) -> list[dict[str, str]]:
    """Return when logs saw a bundle that was verified; one with a timestamp of an authority alone has that."""
    material = json.loads(data)["verificationMaterial"]
    found = []
    for entry in material.get("tlogEntries", ()):
        if int(entry.get("integratedTime") or 0):
            moment = datetime.fromtimestamp(int(entry["integratedTime"]), UTC)
            found.append({"type": "Tlog", "timestamp": moment.isoformat().replace("+00:00", "Z")})
    if not found:  # the package wants one, or the other
        found += [{"type": "TimestampAuthority"}]
    return found


def _verifier(trusted_root: str) -> Verifier:
    _need_sigstore()
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    if not trusted_root:
        logging.getLogger("sigstore").setLevel(logging.ERROR)  # it warns that it is offline, as it is asked to be
        return Verifier.production(offline=True)
    try:
        return Verifier(trusted_root=TrustedRoot.from_file(trusted_root))
    except (Error, OSError, ValueError) as exc:
        remedy = "give a trusted_root.json of Sigstore"
        raise UsageError(f"cannot read the trusted root {trusted_root}: {exc}", remedy=remedy) from exc


def _signing_context(trust_config: str) -> SigningContext:
    _need_sigstore()
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.sign import SigningContext

    try:
        if not trust_config:
            return SigningContext.from_trust_config(ClientTrustConfig.production())
        return SigningContext.from_trust_config(ClientTrustConfig.from_json(Path(trust_config).read_text()))
    except (Error, OSError, ValueError) as exc:
        what = trust_config or "of Sigstore"
        raise UsageError(f"cannot read the trust configuration {what}: {exc}", remedy="check it") from exc


def _need_sigstore() -> None:
    try:
        import sigstore  # noqa: F401
    except ImportError as exc:
        raise UsageError(
            "signatures of identities (keyless) need the package sigstore", remedy="pip install tiffin[keyless]"
        ) from exc

"""Signatures without a key of one's own: a certificate for an identity, and an entry in a public log (Sigstore)."""

from __future__ import annotations

import re
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

ISSUERS = ("1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.1")  # Fulcio's extensions, the newer first


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
    from cryptography import x509

    for oid in ISSUERS:
        try:
            value = cert.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
        except x509.ExtensionNotFound:
            continue
        assert isinstance(value, x509.UnrecognizedExtension)
        # the newer one is DER: a UTF8String with its length in one byte, as issuers are short
        return (value.value[2:] if oid == ISSUERS[0] else value.value).decode(errors="replace")
    return ""


def _verifier(trusted_root: str) -> Verifier:
    _need_sigstore()
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    if not trusted_root:
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

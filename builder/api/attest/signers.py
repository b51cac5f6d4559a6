"""Who signs, as options say it; loaded by builds that sign, and so without what looks at images."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.api.build_options import SignOptions
from tiffin.builder.errors import UsageError
from tiffin.builder.image.signing.keys import read_key, read_signing_key
from tiffin.builder.image.signing.statements import KeySigner, Signer
from tiffin.cache.foundation.sha256 import short_sha256
from tiffin.cache.store.local import Table

SIMPLE, BUNDLE = "simple", "bundle"
NOTED = "signer-"  # before the hash of a key, in the table: by which name its public half is known


class NotedSigner:
    """Signs with a key that is read when something is to be signed; who signs is known from `table` before."""

    def __init__(self, options: SignOptions, environ: Mapping[str, str], table: Table) -> None:
        self._options = options
        self._environ = environ
        self._signer: Signer | None = None
        noted = NOTED + short_sha256(read_key(options.key, environ))
        known = table.get(noted)
        if known is None:
            known = self._loaded().name.encode()
            table.set(noted, known)
        self.name = known.decode()

    def bundle(self, statement: bytes) -> bytes:
        """Return a statement signed, as a bundle."""
        return self._loaded().bundle(statement)

    def _loaded(self) -> Signer:
        if self._signer is None:
            self._signer = signer_of(self._options, self._environ)
        return self._signer


def build_signer(options: SignOptions, environ: Mapping[str, str], table: Table) -> Signer:
    """Return who signs a build, which may have nothing to sign. Raises UsageError."""
    return NotedSigner(options, environ, table) if options.key else signer_of(options, environ)


def signer_of(options: SignOptions, environ: Mapping[str, str]) -> Signer:
    """Return who signs. Raises UsageError."""
    if options.key:
        return KeySigner(key=read_signing_key(options.key, environ))
    from tiffin.builder.image.signing.keyless import KeylessSigner

    token = options.identity_token or environ.get("SIGSTORE_ID_TOKEN", "")
    if not token:
        raise UsageError("keyless signing needs an identity token", remedy="set SIGSTORE_ID_TOKEN, or give key=FILE")
    return KeylessSigner(token, options.trust_config)

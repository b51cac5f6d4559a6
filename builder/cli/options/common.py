"""Options of several commands: registries and progress."""

from __future__ import annotations

from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.attest.signing import Trust
    from tiffin.builder.farm.address import FarmAccess, FarmTrust
    from tiffin.builder.settings.access import RegistryAccess

REFUSED_VARIABLES = ("DOCKER_CONTENT_TRUST", "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")  # see cli.variables
PROGRESS_ALIASES = {"rawjson": "json", "none": "quiet"}  # buildx's names, as BUILDKIT_PROGRESS may have them


class ProgressArguments(Arguments):
    """Of commands that take time."""

    progress = Text(
        "--progress",
        choices=("auto", "tty", "plain", "json", "quiet", *PROGRESS_ALIASES),
        default="auto",
        variable="BUILDKIT_PROGRESS",
        help="How to show progress.",
    )


class RegistryArguments(Arguments):
    """Of every command that talks to registries."""

    insecure = Many("--insecure-registry", metavar="HOST", help="Allow plain http and any certificate for HOST.")
    tls_verify = Flag(
        "--tls-verify", default=True, help="With =false: allow plain http and any certificate for all registries."
    )
    cert = Text("--registry-cert", metavar="FILE", help="PEM file of certificates to trust as well.")
    registry_mirrors = Many(
        "--registry-mirror", metavar="URL", help="Mirror of docker.io, asked before it; repeatable."
    )

    def registry_access(self) -> RegistryAccess:
        """Return what the options say.

        Raises UsageError for a file of certificates that is not there, and for variables that are refused.
        """
        import os
        from pathlib import Path

        from tiffin.builder.errors import UsageError
        from tiffin.builder.settings.access import RegistryAccess

        if any(name in os.environ for name in REFUSED_VARIABLES):
            from tiffin.builder.cli.variables import check_variables

            check_variables(os.environ)
        if self.cert and not Path(self.cert).is_file():
            raise UsageError(f"--registry-cert {self.cert} is not a file", remedy="name a PEM file of certificates")
        insecure = self.insecure if self.tls_verify else (*self.insecure, "*")
        return RegistryAccess(insecure=insecure, cert=self.cert, mirrors=self.registry_mirrors)


class PolicyArguments(RegistryArguments):
    """Of commands that a policy may stop."""

    policies = Many("--policy", metavar="FILE", help="Policy that has to be kept to; repeatable.")
    audit_log = Text("--audit-log", metavar="FILE", help="Add what is decided and done to this log.")

    def registry_access(self) -> RegistryAccess:
        """Return what the options say, the policies among it."""
        from tiffin.cache.foundation.frozen import replace

        return replace(super().registry_access(), policies=self.policies, audit_log=self.audit_log)


class LockArguments(Arguments):
    """Of commands that build: what a build may use."""

    locked = Flag("--locked", help="Use the digests of Dockerfile.lock, and no source that it does not have.")
    lock_file = Text("--lock-file", metavar="FILE", help="Lock file (default: the Dockerfile's name and .lock).")
    frozen = Flag("--frozen", help="Fail where a step would run: all must come from caches.")

    def lock_values(self) -> dict[str, bool | str]:
        """Return what was given, as a line of tiffin build has it."""
        given: dict[str, bool | str] = {"locked": self.locked, "lock_file": self.lock_file, "frozen": self.frozen}
        return {name: value for name, value in given.items() if value}


class EgressArguments(Arguments):
    """Of commands whose steps reach servers."""

    egress = Many("--egress", metavar="allow=HOST,…|deny|list", help="Where RUN may connect, by HTTP(S) proxy alone.")


class FetchArguments(EgressArguments):
    """Of the command that makes records."""

    record = Text("--record", metavar="DIR|docker-image://REF", help="Record all that is fetched there.")
    replay = Text("--replay", metavar="DIR|docker-image://REF", help="Build from such a record, with no other network.")


class FarmTrustArguments(Arguments):
    """Of what is part of a farm: whom it trusts."""

    farm_tls_ca = Text(
        "--farm-tls-ca",
        variable="TIFFIN_FARM_TLS_CA",
        metavar="FILE",
        help="Who signs certificates of the farm (PEM).",
    )
    farm_tls_cert = Text(
        "--farm-tls-cert", variable="TIFFIN_FARM_TLS_CERT", metavar="FILE", help="Certificate for the farm, in PEM."
    )
    farm_tls_key = Text(
        "--farm-tls-key", variable="TIFFIN_FARM_TLS_KEY", metavar="FILE", help="Key of that certificate, in PEM."
    )

    def farm_trust(self) -> FarmTrust:
        """Return what the options, or the configuration file, say. Raises UsageError."""
        import os

        from tiffin.builder.farm.address import trust_of
        from tiffin.builder.settings.farm import farm_table

        table = farm_table(os.environ)
        given = (self.farm_tls_ca, self.farm_tls_cert, self.farm_tls_key)
        return trust_of(*(given if any(given) else (table["tls-ca"], table["tls-cert"], table["tls-key"])))


class FarmArguments(FarmTrustArguments):
    """Of commands that may build on a farm."""

    farm = Text(
        "--farm", variable="TIFFIN_FARM", metavar="ADDRESS|none", help="Run steps on the farm of this scheduler."
    )

    farm_speculate = Flag(
        "--farm-speculate",
        variable="TIFFIN_FARM_SPECULATE",
        help="Have a second worker try what takes much longer than usual.",
    )

    def farm_access(self) -> FarmAccess | None:
        """Return the farm to build on, None for this machine. Raises UsageError."""
        import os

        from tiffin.builder.settings.access import config_path

        if not self.farm and config_path(os.environ) is None:
            return None
        from tiffin.builder.settings.farm import farm_table

        address = self.farm or farm_table(os.environ)["address"]
        if address in ("", "none"):
            return None
        from tiffin.builder.farm.address import access_of

        return access_of(address, self.farm_trust(), speculates=self.farm_speculate)


class OutputArguments(Arguments):
    """Of commands that write an archive."""

    output = Text("-o", "--output", metavar="FILE", default="-", help="File to write (default: stdout).")


class ListArguments(Arguments):
    """Of commands that list."""

    form = Text("--format", metavar="table|json|TEMPLATE", default="table", help="Go template.")


class SignatureArguments(Arguments):
    """Of commands that read or write a shared cache."""

    sign_key = Text(
        "--cache-sign-key",
        variable="TIFFIN_CACHE_SIGN_KEY",
        metavar="FILE",
        help="Sign step records with this key, and refuse others.",
    )


class TrustArguments(Arguments):
    """Whose signatures count, in cosign's words."""

    key = Text("--key", metavar="FILE|env://NAME", help="Public key of the signer, in PEM.")
    identity = Text("--certificate-identity", metavar="NAME", help="Who has to have signed without a key.")
    identity_pattern = Text("--certificate-identity-regexp", metavar="PATTERN", help="The same, as a pattern.")
    issuer = Text("--certificate-oidc-issuer", metavar="URL", help="Who has to vouch for the identity.")
    issuer_pattern = Text("--certificate-oidc-issuer-regexp", metavar="PATTERN", help="The same, as a pattern.")
    trusted_root = Text("--trusted-root", metavar="FILE", help="Trusted root of Sigstore (default: the public one).")

    def trust(self) -> Trust:
        """Return whose signatures count."""
        from tiffin.builder.api.attest.signing import Trust

        return Trust(
            key=self.key,
            identity=self.identity,
            identity_pattern=self.identity_pattern,
            issuer=self.issuer,
            issuer_pattern=self.issuer_pattern,
            trusted_root=self.trusted_root,
        )

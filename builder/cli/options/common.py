"""Options of several commands: registries and progress."""

from __future__ import annotations

from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
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

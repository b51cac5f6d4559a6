"""Options of several commands: registries and progress."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.cli.options.option import Arguments, many, text
from tiffin.builder.cli.output.renderer import PROGRESS_ALIASES
from tiffin.builder.errors import UsageError
from tiffin.builder.settings.access import RegistryAccess


class ProgressArguments(Arguments):
    """Of commands that take time."""

    progress = text(
        "--progress",
        choices=("auto", "tty", "plain", "json", "quiet", *PROGRESS_ALIASES),
        default="auto",
        variable="BUILDKIT_PROGRESS",
        help="How to show progress.",
    )


class RegistryArguments(Arguments):
    """Of every command that talks to registries."""

    insecure = many("--insecure-registry", metavar="HOST", help="Plain http, or any certificate, will do for HOST.")
    cert = text("--registry-cert", metavar="FILE", help="PEM file of certificates to trust as well.")
    registry_mirrors = many(
        "--registry-mirror", metavar="URL", help="Mirror of docker.io, asked before it; repeatable."
    )

    def registry_access(self) -> RegistryAccess:
        """Return what the options say. Raises UsageError for a file of certificates that is not there."""
        if self.cert and not Path(self.cert).is_file():
            raise UsageError(f"--registry-cert {self.cert} is not a file", remedy="name a PEM file of certificates")
        return RegistryAccess(insecure=self.insecure, cert=self.cert, mirrors=self.registry_mirrors)

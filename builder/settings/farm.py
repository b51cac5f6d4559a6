"""The farm of the configuration file: the table [farm]."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.errors import UsageError
from tiffin.builder.settings.config_file import config_path, table_of

NAMES = ("address", "tls-ca", "tls-cert", "tls-key")


def farm_table(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the configuration file says, "" for what it does not. Raises UsageError."""
    path = config_path(environ)
    table = table_of(path, "farm") if path is not None else {}
    for name, value in table.items():
        if name not in NAMES or not isinstance(value, str):
            raise UsageError(f"{path}: farm.{name} is not understood", remedy='write address = "tls://HOST:8786"')
    return {name: str(table.get(name, "")) for name in NAMES}

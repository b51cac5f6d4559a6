"""The configuration file: $TIFFIN_CONFIG, or tiffin/config.toml in the user's configuration directory (XDG base
directories).

[[cache]]                     # see tiffin.builder.sharing.options
[registries]
insecure = ["*.corp.example", "10.0.0.0/8"]
mirrors = ["https://mirror.corp.example"]    # of docker.io
private = ["registry.corp.example"]          # may lead to private addresses
pull-after = ["12h"]                         # bases are looked up again
[storage]                                    # kept to after each build
max-size = "20g"
keep = "30d"
[build]
cache-reads = true                           # as --cache-reads, and verify-reads
[farm]                                       # see tiffin.builder.farm.address
address = "tls://farm.corp.example:8786"
tls-ca = "/etc/tiffin/farm-ca.pem"           # and tls-cert, tls-key
[policy]                                     # see tiffin.builder.policy
files = ["/etc/tiffin/policy.toml"]
audit-log = "/var/log/tiffin/audit.jsonl"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiffin.builder.errors import UsageError
from tiffin.builder.settings.access import config_path as config_path
from tiffin.cache.foundation.typing_shim import cast

TABLES = ("build", "cache", "farm", "policy", "registries", "storage")


def cache_tables(path: Path) -> list[dict[str, object]]:
    """Return the tables [[cache]]."""
    tables = _document(path).get("cache", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path}: cache is not a list of tables", remedy="write [[cache]]")
    return cast("list[dict[str, object]]", tables)


def table_of(path: Path, name: str) -> Mapping[str, object]:
    """Return a table, an empty one where there is none. Raises UsageError."""
    table = _document(path).get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is not a table", remedy=f"write [{name}]")
    return table


def registry_texts(path: Path | None, name: str) -> tuple[str, ...]:
    """Return a list of texts of the table [registries]."""
    table = table_of(path, "registries") if path is not None else {}
    texts = table.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{path}: registries.{name} is not a list of texts", remedy=f'write {name} = ["…"]')
    return tuple(texts)


def _document(path: Path) -> dict[str, object]:
    import tomllib

    try:
        document: dict[str, object] = tomllib.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {path}: {exc}", remedy="write TOML, or remove the file") from exc
    unknown = [name for name in document if name not in TABLES]
    if unknown:
        raise UsageError(
            f'{path} has "{unknown[0]}", which means nothing here',
            remedy="take it out; there are [build], [[cache]], [farm], [policy], [registries] and [storage]",
        )
    return document

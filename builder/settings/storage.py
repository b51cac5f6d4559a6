"""How much the state directory may keep: the table [storage] of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.errors import UsageError
from tiffin.builder.options import size_bytes
from tiffin.builder.settings.config_file import config_path, table_of
from tiffin.builder.settings.times import seconds_of
from tiffin.cache.foundation.frozen import dataclass

MAX_SIZE, KEEP = NAMES = ("max-size", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageBounds:
    """`max_bytes`: of the whole state directory; `keep_seconds`: how old a step may become. None: as much as comes."""

    max_bytes: int | None = None
    keep_seconds: float | None = None

    def __bool__(self) -> bool:
        return self.max_bytes is not None or self.keep_seconds is not None


def storage_bounds(environ: Mapping[str, str]) -> StorageBounds:
    """Return what the configuration file says. Raises UsageError."""
    path = config_path(environ)
    table = table_of(path, "storage") if path is not None else {}
    for name, value in table.items():
        if name not in NAMES or not isinstance(value, str):
            raise UsageError(f"{path}: storage.{name} is not understood", remedy='write max-size = "20g", keep = "30d"')
    size, age = str(table.get(MAX_SIZE, "")), str(table.get(KEEP, ""))
    try:
        max_bytes = size_bytes(size) if size else None
    except ValueError as exc:
        raise UsageError(
            f"{path}: storage.max-size {size} is not a valid size", remedy='write max-size = "20g"'
        ) from exc
    return StorageBounds(max_bytes=max_bytes, keep_seconds=seconds_of(age, f"{path}: storage.keep ") if age else None)

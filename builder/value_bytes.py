"""Our own values as bytes, for another process, or for a later one of the same version.

Bytes are pickles of which only values are read: no class but those of tiffin that hold data is ever made.
"""

from __future__ import annotations

import io
from _pickle import Pickler, Unpickler  # which load no more than they need, as `pickle` does
from types import MappingProxyType
from typing import Any

from tiffin.builder.errors import CorruptError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import is_value_class

_PLAIN = {("builtins", name) for name in ("dict", "frozenset", "set")}
_OTHERS = (Digest,)  # of ours that hold data and are written out
_OURS = ("tiffin.builder.", "tiffin.cache.")
_RESTORE = ("tiffin.cache.foundation.frozen", "restore")


class _OurValues(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a class of values; raises CorruptError for anything else."""
        if (module, name) in _PLAIN or (module, name) == _RESTORE:
            return super().find_class(module, name)
        if module.startswith(_OURS) and "." not in name:
            found = super().find_class(module, name)
            if is_value_class(found) or found in _OTHERS:
                return found
        raise CorruptError(f"it holds {module}.{name}", remedy="use one version of tiffin everywhere")


class _Pickler(Pickler):
    """Sends a read-only mapping as what it shows."""

    dispatch_table: dict[type, Any] = {MappingProxyType: lambda value: (dict, (dict(value),))}  # noqa: RUF012


def encode(value: object) -> bytes:
    """Return a value as bytes."""
    data = io.BytesIO()
    _Pickler(data, protocol=5).dump(value)
    return data.getvalue()


def decode(data: bytes, what: str = "a message of the farm") -> Any:
    """Return the value of bytes that came from elsewhere. Raises CorruptError, which says that it is `what`, for bytes
    that hold anything but values.
    """
    try:
        return _OurValues(io.BytesIO(data)).load()
    except Exception as exc:  # a damaged pickle raises what it likes
        reason = exc.message if isinstance(exc, CorruptError) else exc
        raise CorruptError(f"{what} cannot be read: {reason}", remedy="use one version of tiffin") from exc

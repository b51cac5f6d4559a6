"""JSON by the C code of Python's `json`, without that module: it compiles regular expressions as it is loaded, which is
3 % of a small command. What is not plain JSON in UTF-8 is left to it, and so are errors.
"""

from __future__ import annotations

from collections.abc import Callable

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    _json: Any
else:
    try:
        import _json
    except ImportError:  # another Python than CPython
        _json = None

_SPACE = " \t\n\r"
_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _Reading:
    """What json.JSONDecoder gives the scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int

    def __init__(self, parse_constant: Callable[[str], object]) -> None:
        self.parse_constant = parse_constant


_scan = _json and _json.make_scanner(_Reading(_CONSTANTS.__getitem__))


def loads(data: str | bytes, *, parse_constant: Callable[[str], object] | None = None) -> Any:
    """Return what json.loads does; raises ValueError and RecursionError as it does."""
    if _json is not None:
        scan = _scan if parse_constant is None else _json.make_scanner(_Reading(parse_constant))
        try:
            text = data if isinstance(data, str) else data.decode()
            value, end = scan(text, len(text) - len(text.lstrip(_SPACE)))
            if not text[end:].strip(_SPACE):
                return value
        except (ValueError, StopIteration):
            pass
    import json

    return json.loads(data, parse_constant=parse_constant)


def dumps(
    value: object,
    *,
    sort_keys: bool = False,
    separators: tuple[str, str] = (", ", ": "),
    ensure_ascii: bool = True,
) -> str:
    """Return what json.dumps does; raises TypeError and ValueError as it does."""
    if _json is None:
        import json

        return json.dumps(value, sort_keys=sort_keys, separators=separators, ensure_ascii=ensure_ascii)
    encode_text = _json.encode_basestring_ascii if ensure_ascii else _json.encode_basestring
    between_items, after_name = separators
    encode = _json.make_encoder({}, _refuse, encode_text, None, after_name, between_items, sort_keys, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

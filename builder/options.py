"""Notations that several options share: comma-separated NAME=VALUE with CSV quoting, sizes, switches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SIZE = r"(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])(?:i?b)?|b)?"  # what Docker's go-units takes
MAX_SIZE_BYTES, MAX_DIGITS = (1 << 63) - 1, 19
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SWITCH = {"": True, "1": True, "true": True, "0": False, "false": False}
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def has_labels(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Tell whether all of NAME or NAME=VALUE are there."""
    pairs = (text.partition("=") for text in wanted)
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in pairs)


def csv_pairs(text: str) -> list[tuple[str, str | None]]:
    """Return the items of a comma-separated list as (lower-case name, value); None where there is no `=`.

    Raises ValueError for an empty item, or one with a line's end in it.
    """
    items = [text]
    if '"' in text:
        import csv

        try:
            items = next(csv.reader([text]), [])
        except csv.Error as exc:
            raise ValueError(text) from exc
    else:
        items = text.split(",")
    result: list[tuple[str, str | None]] = []
    for item in items:
        name, equals, value = item.partition("=")
        if not name.strip():
            raise ValueError(item)
        result.append((name.strip().lower(), value if equals else None))
    return result


def size_bytes(text: str) -> int:
    """Return bytes of a number such as 64, 64m or 1.5GB, with suffixes k to p of powers of 1024; raises ValueError."""
    match = re.fullmatch(_SIZE, text, re.IGNORECASE | re.ASCII)
    if not match or len(match[1]) > MAX_DIGITS:
        raise ValueError(text)
    unit = _UNITS[match[2].lower()] if match[2] else 1
    size = int(match[1]) * unit if match[1].isdigit() else int(float(match[1]) * unit)
    if size > MAX_SIZE_BYTES:  # the kernel would take the rest of a division for it
        raise ValueError(text)
    return size


def switch(text: str) -> bool:
    """Parse true, false, 1, 0, or nothing for true; raises ValueError."""
    try:
        return _SWITCH[text.lower()]
    except KeyError as exc:
        raise ValueError(text) from exc


def epoch_seconds(text: str) -> int | None:
    """Parse SOURCE_DATE_EPOCH: whole seconds since 1970, None for an empty text; raises ValueError."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise ValueError(text)
    return int(text)


def is_on(args: Mapping[str, str], name: str) -> bool:
    """Whether a variable, or a build argument, that is a switch is set to 1 or true."""
    return args.get(name, "").lower() in ("1", "true")


def truth(text: str) -> bool | None:
    """Return what Go's programs take a word for, None where it is neither true nor false."""
    return True if text in _TRUE else False if text in _FALSE else None

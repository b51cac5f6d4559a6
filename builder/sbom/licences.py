"""Licences as SPDX expressions. What is not one of SPDX's becomes a LicenseRef, so that nothing told is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from tiffin.builder.sbom.licence_names import ALIASES

if TYPE_CHECKING:
    from license_expression import Licensing

MAX_CHARACTERS = 300  # of what can be a name or an expression; longer is a text
REFERENCE = "LicenseRef-"
_TOKEN = re.compile(r"[A-Za-z0-9.+:/_-]+")
_OPERATORS = ("and", "or", "with")


def expression(texts: Sequence[str]) -> str:
    """Return one expression of what is told in several texts, which all hold; "" for none."""
    found = dict.fromkeys(filter(None, (_one(text.strip()) for text in texts if text)))
    if len(found) == 1:
        return next(iter(found))
    parts = [[f"({text})"] if " OR " in text else text.split(" AND ") for text in found]
    return " AND ".join(dict.fromkeys(part for split in parts for part in split))


def references(text: str) -> list[str]:
    """Return the names in an expression that SPDX does not have."""
    return [name for name in dict.fromkeys(_TOKEN.findall(text)) if name.startswith(REFERENCE)]


def is_single(text: str) -> bool:
    """Whether an expression is one name of SPDX's list alone."""
    return " " not in text and not text.startswith(REFERENCE) and text in _known()


@cache
def _one(text: str) -> str:
    if not text or len(text) > MAX_CHARACTERS or "\n" in text or text.upper() in ("UNKNOWN", "NONE", "NOASSERTION"):
        return ""
    alias = ALIASES.get(text.lower())
    if alias is not None:
        return alias
    parsed = _parsed(text)
    return parsed if parsed is not None else _reference(text)


def _parsed(text: str) -> str | None:
    """Return an expression with all its names known to SPDX or written as references; None for what is not one."""
    from license_expression import ExpressionError

    names = [name for name in _TOKEN.findall(text) if name.lower() not in _OPERATORS]
    replaced = {name: _name(name) for name in names}
    if any(" " in value for value in replaced.values()) and len(names) > 1:
        replaced = {name: f"({value})" if " " in value else value for name, value in replaced.items()}
    plain = _TOKEN.sub(lambda match: replaced.get(match[0], match[0].upper()), text)
    try:
        return str(_licensing().parse(plain, simple=True))
    except (ExpressionError, ValueError, TypeError):
        return None


def _name(text: str) -> str:
    known = _known().get(text.lower()) or _known().get(text)
    return known or ALIASES.get(text.lower()) or _reference(text)


def _reference(text: str) -> str:
    if text.startswith(REFERENCE):
        return text
    return REFERENCE + (re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "unknown")


@cache
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@cache
def _known() -> dict[str, str]:
    """Return SPDX's names by themselves and in small letters; its exceptions are among them."""
    symbols = [item for item in _licensing().known_symbols.values() if not str(item.key).startswith(REFERENCE)]
    aliases = {str(alias).lower(): str(item.key) for item in symbols for alias in item.aliases}
    names = [str(item.key) for item in symbols]
    return {**aliases, **{name.lower(): name for name in names}, **{name: name for name in names}}

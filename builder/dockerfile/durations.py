"""Go's durations, as HEALTHCHECK writes them: `1m30s`, `1.5s`, `500ms`."""

from __future__ import annotations

import re

from tiffin.builder.errors import DockerfileError

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_MAX_NS = 2**63 - 1
_MAX_CHARS = 100  # no duration needs more; keeps the numbers small


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a Go duration; raises DockerfileError without a span."""
    from fractions import Fraction

    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    wanted = "write a number with a unit, such as 30s or 1m30s"
    if not rest or len(rest) > _MAX_CHARS or re.sub(_PART, "", rest):
        raise DockerfileError(f'invalid duration "{text}"', remedy=wanted)
    total = int(sum(Fraction(number) * _UNITS[unit] for number, unit in re.findall(_PART, rest)))
    if total > _MAX_NS:
        raise DockerfileError(f'invalid duration "{text}": more than 292 years', remedy=wanted)
    return sign * total


def format_duration(value: int) -> str:
    """Format nanoseconds as Go prints them: 90 s is `1m30s`, zero is `0s`."""
    if value == 0:
        return "0s"
    if value < 0:
        return "-" + format_duration(-value)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 10**6)):
        if value < size * 1000:
            return f"{_decimal(value, size)}{unit}"
    minutes, rest = divmod(value, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    if not rest:
        return str(whole)
    digits = len(str(size)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")

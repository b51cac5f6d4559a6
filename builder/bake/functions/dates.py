"""Functions of time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tiffin.builder.bake.functions.function import Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import ANY, NUMBER, STRING
from tiffin.builder.bake.hcl.values import Value, as_integer

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_PART = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|([^A-Za-z'])|(')")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
UNIX = "X"


def read_time(text: str) -> datetime:
    """Return the time that a text of RFC 3339 says. Raises ExpressionError."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as exc:
        raise ExpressionError(f'"{text}" is not a timestamp of RFC 3339', remedy="write 2024-01-31T12:00:00Z") from exc


def write_time(time: datetime) -> str:
    """Return a time as RFC 3339 has it."""
    text = time.replace(microsecond=0, tzinfo=None).isoformat()
    return text + _zone(time, ":", utc="Z")


def _zone(time: datetime, colon: str, *, utc: str) -> str:
    seconds = int((time.utcoffset() or timedelta()).total_seconds())
    if not seconds and utc:
        return utc
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{abs(seconds) // 3600:02d}{colon}{abs(seconds) // 60 % 60:02d}"


VERBS: Mapping[str, Callable[[datetime], str]] = {
    "YYYY": lambda time: f"{time.year:04d}",
    "YY": lambda time: f"{time.year % 100:02d}",
    "MMMM": lambda time: MONTHS[time.month - 1],
    "MMM": lambda time: MONTHS[time.month - 1][:3],
    "MM": lambda time: f"{time.month:02d}",
    "M": lambda time: str(time.month),
    "DD": lambda time: f"{time.day:02d}",
    "D": lambda time: str(time.day),
    "EEEE": lambda time: WEEKDAYS[time.isoweekday() % 7],
    "EEE": lambda time: WEEKDAYS[time.isoweekday() % 7][:3],
    "hh": lambda time: f"{time.hour:02d}",
    "h": lambda time: str(time.hour),
    "HH": lambda time: f"{(time.hour % 12) or 12:02d}",
    "H": lambda time: str(time.hour % 12 or 12),
    "AA": lambda time: "AM" if time.hour < 12 else "PM",
    "aa": lambda time: "am" if time.hour < 12 else "pm",
    "mm": lambda time: f"{time.minute:02d}",
    "m": lambda time: str(time.minute),
    "ss": lambda time: f"{time.second:02d}",
    "s": lambda time: str(time.second),
    "ZZZZZ": lambda time: _zone(time, ":", utc=""),
    "ZZZZ": lambda time: _zone(time, "", utc=""),
    "ZZZ": lambda time: _zone(time, "", utc="UTC"),
    "Z": lambda time: _zone(time, ":", utc="Z"),
}


def format_time(pattern: str, time: datetime) -> str:
    """Return a time by HCL's verbs. Raises ExpressionError."""
    pieces = []
    for match in _PART.finditer(pattern):
        if match[4]:
            raise ExpressionError("unterminated literal '", remedy="close the quote")
        if match[2]:
            if match[0] not in VERBS:
                known = ", ".join(name for name in VERBS if name[0] == match[0][0])
                raise ExpressionError(f'invalid date format verb "{match[0]}"', remedy=f"use {known}" if known else "")
            pieces.append(VERBS[match[0]](time))
        else:
            pieces.append(match[1].replace("''", "'") if match[1] is not None else match[3])
    return "".join(pieces)


def _of_unix(value: Value) -> datetime:
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=as_integer(value))
    except (OverflowError, ExpressionError) as exc:
        raise ExpressionError("unix timestamp must be an integer") from exc


def _format_timestamp(pattern: str, value: Value) -> str:
    if isinstance(value, Decimal):
        time = _of_unix(value)
    elif isinstance(value, str):
        time = read_time(value)
    else:
        raise ExpressionError("must be a string timestamp or a unix timestamp number")
    return str(int(time.timestamp())) if pattern == UNIX else format_time(pattern, time)


def _added(timestamp: str, duration: str) -> str:
    digits = duration.removeprefix("-").removeprefix("+")
    if not digits or (_DURATION.sub("", digits) and digits != "0"):
        raise ExpressionError(f'"{duration}" is not a duration', remedy="write 1h30m")
    seconds = sum(float(match[1]) * _UNITS[match[2]] for match in _DURATION.finditer(digits))
    return write_time(read_time(timestamp) + timedelta(seconds=-seconds if duration.startswith("-") else seconds))


def _parsed(value: Decimal) -> dict[str, Value]:
    time = _of_unix(value)
    iso = time.isocalendar()
    numbers = {
        "year": time.year,
        "year_day": time.timetuple().tm_yday,
        "day": time.day,
        "month": time.month,
        "weekday": time.isoweekday() % 7,
        "hour": time.hour,
        "minute": time.minute,
        "second": time.second,
        "iso_year": iso.year,
        "iso_week": iso.week,
    }
    names = {"month_name": MONTHS[time.month - 1], "weekday_name": WEEKDAYS[time.isoweekday() % 7]}
    return {**{name: Decimal(item) for name, item in numbers.items()}, **names, "rfc3339": write_time(time)}


FUNCTIONS = {
    "formatdate": Function(takes=(STRING, STRING), do=lambda pattern, time: format_time(pattern, read_time(time))),
    "formattimestamp": Function(takes=(STRING, ANY), do=_format_timestamp),
    "timeadd": Function(takes=(STRING, STRING), do=_added),
    "timestamp": Function(do=lambda: write_time(datetime.now(UTC))),
    "unixtimestampparse": Function(takes=(NUMBER,), do=_parsed),
}

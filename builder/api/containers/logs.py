"""What a container printed."""

from __future__ import annotations

import calendar
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.changes import Changes
from tiffin.builder.containers.lifecycle.log import NANOSECONDS, LogEntry, read_entries, time_text
from tiffin.builder.errors import UsageError

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_UNITS = (3600, 60, 1)
LOOK_SECONDS = 0.5  # for what no file tells: that it is late enough, or that somebody else holds the container now
_OFFSET = re.compile(r"(.*T.*?)(?:Z|([+-])(\d\d):(\d\d))?")


def read_log(
    name: str,
    session: Session,
    *,
    follows: bool = False,
    last: int | None = None,
    since_ns: int = 0,
    until_ns: int | None = None,
) -> Iterator[LogEntry]:
    """Yield the entries of a container's log, oldest first: the `last` ones, of a span of Unix nanoseconds.

    Where it `follows`, those that are to come too. Raises ImageNotFoundError.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    folder = containers.folder(state.id)

    since, until = time_text(since_ns), time_text(until_ns) if until_ns is not None else ""

    def is_wanted(entry: LogEntry) -> bool:
        return entry.time >= since and (not until or entry.time <= until)

    def goes_on() -> bool:
        return containers.is_alive(state.id) and (until_ns is None or time.time_ns() <= until_ns)

    def followed() -> Iterator[LogEntry]:
        with Changes(folder) as changes:
            changes.add_holder(state)
            yield from read_entries(folder, is_alive=goes_on, wait=lambda: changes.wait(LOOK_SECONDS))

    if not follows:
        return iter(_last(filter(is_wanted, read_entries(folder)), last))
    if last is None:
        return filter(is_wanted, followed())
    seen = list(read_entries(folder))
    later = (entry for number, entry in enumerate(followed()) if number >= len(seen))
    return chain(_last(filter(is_wanted, seen), last), filter(is_wanted, later))


def _last(entries: Iterable[LogEntry], count: int | None) -> Iterable[LogEntry]:
    """Return the last lines: entries without a line end belong to the line that follows."""
    if count is None:
        return entries
    lines: deque[list[LogEntry]] = deque(maxlen=count)
    pending: list[LogEntry] = []
    for entry in entries:
        pending.append(entry)
        if entry.text.endswith(b"\n"):
            lines.append(pending)
            pending = []
    if pending:
        lines.append(pending)
    return chain.from_iterable(lines)


def parse_moment(text: str) -> int:
    """Return the Unix nanoseconds of a time as docker takes it: RFC 3339, Unix seconds, or how long ago (1h30m).

    Raises UsageError.
    """
    match = _DURATION.fullmatch(text)
    if text and match is not None:
        ago = sum(float(number) * unit for number, unit in zip(match.groups(), _UNITS, strict=True) if number)
        return time.time_ns() - round(ago * NANOSECONDS)
    try:
        if text.replace(".", "", 1).isdecimal():
            seconds, _, fraction = text.partition(".")
            return int(seconds) * NANOSECONDS + int((fraction + "0" * 9)[:9])
        return _parse_date(text)
    except ValueError as exc:
        raise UsageError(f'"{text}" is not a time', remedy="write 2026-11-29T10:00:00Z, 1764410400 or 10m") from exc


def _parse_time(text: str) -> int:
    """Return the Unix nanoseconds of a time in UTC. Raises ValueError."""
    date, _, fraction = text.partition(".")
    seconds = calendar.timegm(time.strptime(date, "%Y-%m-%dT%H:%M:%S"))
    return seconds * NANOSECONDS + int((fraction + "0" * 9)[:9])


def _parse_date(text: str) -> int:
    if "T" not in text:
        text += "T00:00:00"
    match = _OFFSET.fullmatch(text)
    assert match is not None
    date, sign, hours, minutes = match.groups()
    if date.count(":") == 0:
        date += ":00:00"
    elif date.count(":") == 1:
        date += ":00"
    moment = _parse_time(date)
    if sign is None and not text.endswith("Z"):
        return moment + round(time.timezone * NANOSECONDS)  # the machine's own time
    offset = (int(hours) * 3600 + int(minutes) * 60) * NANOSECONDS if sign else 0
    return moment - offset if sign == "+" else moment + offset

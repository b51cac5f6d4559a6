"""Which builds `buildx history ls --filter` means, by buildx's rules: texts by = and !=, times by < <= > >=."""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Sequence

from tiffin.builder.api.buildx.recorder import BuildRecord
from tiffin.builder.dockerfile.durations import parse_duration
from tiffin.builder.errors import DockerfileError, UsageError

_FILTER = re.compile(r"(\w+)(!=|=|<=|<|>=|>)(.*)")
TEXTS, TIMES = ("ref", "repository", "status"), ("startedAt", "completedAt", "duration")
KNOWN = f"use {', '.join(TEXTS)} with = or !=, or {', '.join(TIMES)} with <, <=, > or >="
_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Filter = Callable[[BuildRecord], bool]


def filters_of(texts: Sequence[str]) -> Sequence[Filter]:
    """Return what each filter demands of a build; all of them have to be met. Raises UsageError."""
    return [_filter(text) for text in texts]


def _filter(text: str) -> Filter:
    found = _FILTER.fullmatch(text)
    name, sign, value = found.groups() if found else (text, "", "")
    if name in TEXTS and sign in ("=", "!="):
        return lambda record: _has(record, name, value) == (sign == "=")
    if name in TIMES and sign in _COMPARED:
        compare, limit = _COMPARED[sign], _limit(name, value)
        return lambda record: compare(_seconds(record, name), limit)
    raise UsageError(f'--filter "{text}" is not supported', remedy=KNOWN)


def _has(record: BuildRecord, name: str, value: str) -> bool:
    """Whether a text of a build is that; of references and repositories a part is enough."""
    if name == "status":
        return record.status.lower() == value.lower()
    if name == "ref":
        return value in record.ref
    return "://" in record.context and value in record.context.partition("#")[0]


def _limit(name: str, value: str) -> float:
    """Return seconds: of a duration, or since 1970, where a duration is that before now."""
    try:
        seconds = parse_duration(value) / 1e9
        return seconds if name == "duration" else time.time() - seconds
    except DockerfileError as exc:
        if name == "duration":
            raise UsageError(f'--filter: "{value}" is not a duration', remedy="write 30s or 1m30s") from exc
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f'--filter: "{value}" is not a time', remedy="write 20h, or 2026-01-31T12:00:00Z")
    return moment.timestamp()


def _seconds(record: BuildRecord, name: str) -> float:
    return {"startedAt": record.started, "completedAt": record.finished}.get(name, record.seconds)

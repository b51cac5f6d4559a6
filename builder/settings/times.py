"""Times as options and settings give them."""

from __future__ import annotations

import re

from tiffin.builder.dockerfile.durations import parse_duration
from tiffin.builder.errors import DockerfileError, UsageError
from tiffin.builder.options import epoch_seconds

EPOCH = "SOURCE_DATE_EPOCH"


def seconds_of(text: str, what: str) -> float:
    """Parse plain seconds, or a duration such as 90s, 12h, 7d; raises UsageError beginning with `what`."""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        if match := re.fullmatch(r"(\d+)d", text):
            return int(match[1]) * 86400
        return parse_duration(text) / 1e9
    except (ValueError, DockerfileError) as exc:
        raise UsageError(f"{what}{text} is not a valid time", remedy="write it as 7d, 12h or 90s") from exc


def epoch(text: str, what: str = EPOCH) -> int | None:
    """Return SOURCE_DATE_EPOCH (or what else gave the time) in seconds, None when it is not set."""
    try:
        return epoch_seconds(text)
    except ValueError as exc:
        raise UsageError(f'{what} "{text}" is not a valid time', remedy="give whole seconds since 1970") from exc

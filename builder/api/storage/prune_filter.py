"""Which images, containers and steps `prune --filter` means: until=TIME, label=K[=V], label!=K[=V]."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tiffin.builder.options import has_labels
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneFilter:
    """What was made before `before` (Unix seconds, None for all), has all of `labels` and none of `absent`."""

    before: float | None = None
    labels: Sequence[str] = ()
    absent: Sequence[str] = ()

    @classmethod
    def parse(cls, filters: Mapping[str, Sequence[str]]) -> PruneFilter:
        """Read the values of `until`, `label` and `label!`. Raises UsageError for what is not a time."""
        from tiffin.builder.api.containers.logs import parse_moment

        return cls(
            before=min((parse_moment(text) / 1e9 for text in filters.get("until", ())), default=None),
            labels=tuple(filters.get("label", ())),
            absent=tuple(filters.get("label!", ())),
        )

    @property
    def max_age_seconds(self) -> float | None:
        """Return how old what stays is at most, None for no bound."""
        return None if self.before is None else max(0.0, time.time() - self.before)

    def fits(self, created: float | str, labels: Mapping[str, str]) -> bool:
        """Tell whether something is meant; `created` are Unix seconds or an RFC 3339 time, "" for long ago."""
        moment = _seconds(created) if isinstance(created, str) else created
        return (
            (self.before is None or moment < self.before)
            and has_labels(labels, self.labels)
            and not any(has_labels(labels, [text]) for text in self.absent)
        )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0

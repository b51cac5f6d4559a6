"""Breakpoints on lines of a Dockerfile, as an editor sets them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.builder.api.dap.places import Place, place_at
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakpoint:
    """One that was asked for: a line of a file, and its place where the build has one."""

    id: int
    path: str
    line: int
    place: int | None = None


class Breakpoints:
    """All that are set."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Breakpoint]] = {}
        self._last = 0
        self._places: Sequence[Place] = ()
        self._path = ""

    def set(self, path: str, lines: Sequence[int]) -> list[dict[str, object]]:
        """Set those of a file in the place of what was set there; return them as the protocol has them."""
        rows = []
        for line in lines:
            self._last += 1
            rows.append(self._placed(Breakpoint(id=self._last, path=path, line=line)))
        self._rows[path] = rows
        return [self._told(row) for row in rows]

    def plan(self, places: Sequence[Place], path: str) -> list[dict[str, object]]:
        """Find the places of all in a build of the Dockerfile at `path`; return them as the protocol has them."""
        self._places, self._path = places, path
        for name, rows in self._rows.items():
            self._rows[name] = [self._placed(row) for row in rows]
        return [self._told(row) for rows in self._rows.values() for row in rows]

    def at(self, place: int) -> list[int]:
        """Return the ids of those at a place."""
        return [row.id for rows in self._rows.values() for row in rows if row.place == place]

    def next(self, after: int) -> int | None:
        """Return the first place after one that has any."""
        return min((place for place in self._set() if place > after), default=None)

    def before(self, place: int) -> int | None:
        """Return the last place before one that has any."""
        return max((other for other in self._set() if other < place), default=None)

    def _set(self) -> list[int]:
        return [row.place for rows in self._rows.values() for row in rows if row.place is not None]

    def _placed(self, row: Breakpoint) -> Breakpoint:
        place = place_at(self._places, row.line) if self._places and self._is_here(row.path) else None
        return Breakpoint(id=row.id, path=row.path, line=row.line, place=place)

    def _is_here(self, path: str) -> bool:
        if not self._path:  # the Dockerfile is in an archive, or elsewhere
            return True
        return os.path.realpath(path).casefold() == os.path.realpath(self._path).casefold()

    def _told(self, row: Breakpoint) -> dict[str, object]:
        if row.place is None:
            reason = "pending" if not self._places else "failed"
            text = "the build has not begun" if not self._places else "no step of this build is at or below this line"
            return {"id": row.id, "verified": False, "line": row.line, "reason": reason, "message": text}
        span = self._places[row.place].span
        return {"id": row.id, "verified": True, "line": span.first_line, "endLine": span.last_line}


def lines_of(arguments: Mapping[str, Any]) -> list[int]:
    """Return the lines of a request setBreakpoints."""
    rows = arguments.get("breakpoints")
    return (
        [int(row["line"]) for row in rows] if rows is not None else [int(line) for line in arguments.get("lines", ())]
    )

"""The audit log: JSON lines, each with the SHA-256 of the line before it; only ever appended to.

Writers take turns by a lock on the file, and a line is on the disk before anything goes on. FILE.head says how many
lines there are and what the last one's hash is: without it the end could be cut off unseen. Whoever may write both
files can write another history; keep the head elsewhere to rule that out (`tiffin policy audit verify --head`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tiffin.builder.errors import TiffinError
from tiffin.builder.plain_text import rfc3339
from tiffin.cache.foundation.files import disk_errors, flocked, write_atomically
from tiffin.cache.foundation.frozen import dataclass

SCHEMA = 1
FIRST = "0" * 64  # what stands before the first line
TAIL_BYTES = 1 << 20  # in which the last line is looked for; lines are far shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How many lines there are, and the hash of the last one."""

    lines: int = 0
    digest: str = FIRST

    def __str__(self) -> str:
        return f"{self.lines} {self.digest}"


class AuditLog:
    """One file. Raises TiffinError where it cannot be written, or was changed: nothing goes on without it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: str, fields: Mapping[str, object]) -> None:
        """Add a line."""
        with flocked(self._path, shared=False, blocking=True):
            head = read_head(self._path)
            last = _last_line(self._path)
            digest = FIRST if last is None else _digest(last[:-1]) if last.endswith(b"\n") else ""
            if digest != head.digest:
                head = self._caught_up(head)
            row = {"schema": SCHEMA, "time": rfc3339(time.time()), "event": event, **fields, "previous": head.digest}
            line = json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode()
            with disk_errors(self._path), self._path.open("ab") as stream:
                stream.write(line + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            write_atomically(_head_path(self._path), f"{Head(lines=head.lines + 1, digest=_digest(line))}\n".encode())

    def _caught_up(self, head: Head) -> Head:
        """Return the head of a file whose last writer was ended before it noted its line."""
        found, problems = verify(self._path)
        if problems or found.lines != head.lines + 1:
            reason = problems[0] if problems else f"{self._path} and its head do not fit"
            raise TiffinError(f"the audit log was changed: {reason}", remedy="keep it as it is, and name another file")
        return found


def verify(path: Path, expected: Head | None = None) -> tuple[Head, list[str]]:
    """Return the head that a file has now, and what is wrong with it. `expected`: a head that was kept elsewhere."""
    known = expected or read_head(path)
    found = Head()
    problems: list[str] = []
    passed = known == found
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                problem = _problem(line, found)
                if problem:
                    return found, [f"{path}:{number}: {problem}"]
                found = Head(lines=number, digest=_digest(line[:-1]))
                passed = passed or found == known
    except OSError as exc:
        return found, [f"{path}: {exc.strerror}"]
    if not passed:
        where = "its head" if expected is None else "the head that was kept"
        problems.append(
            f"{path}: {known.lines} lines are noted in {where}, and {found.lines} are there"
            if known.lines != found.lines
            else f"{path}:{found.lines}: the line is not the one that {where} notes"
        )
    return found, problems


def read_head(path: Path) -> Head:
    """Return what is noted of a file; an empty one where nothing is."""
    try:
        return parse_head(_head_path(path).read_text())
    except FileNotFoundError:
        return Head()


def parse_head(text: str) -> Head:
    """Read a head as it is written. Raises TiffinError."""
    lines, _, digest = text.strip().partition(" ")
    if not lines.isdigit() or len(digest) != len(FIRST):
        raise TiffinError(f'"{text.strip()}" is not the head of an audit log', remedy="give the number and the hash")
    return Head(lines=int(lines), digest=digest)


def _problem(line: bytes, before: Head) -> str:
    """Return what is wrong with a line that follows others, "" for nothing."""
    if not line.endswith(b"\n"):
        return "the line has no end"
    try:
        row = json.loads(line)
        previous = row["previous"]
    except (ValueError, KeyError, TypeError):
        return "the line is not a line of an audit log"
    return "" if previous == before.digest else "the line before it was changed, or removed"


def _last_line(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))
        lines = stream.read().splitlines(keepends=True)
    return lines[-1] if lines else None


def _digest(line: bytes) -> str:
    return sha256(line).hexdigest()


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")

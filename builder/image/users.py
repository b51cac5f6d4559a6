"""USER and --chown: names and numbers to ids, by the image's own passwd and group files.

A text that is digits is always a number, even if a user is called so (CVE-2016-3697).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiffin.builder.errors import BuildError, Span
from tiffin.cache.foundation.frozen import dataclass

MAX_ID = (1 << 31) - 1  # beyond, kernels and files disagree on the sign
ROOT = "root"  # is 0 also where no file says so, as in an empty image
ReadFile = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUser:
    """Whom a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve_user(
    text: str, read_file: ReadFile, *, further: Sequence[str] = (), span: Span | None = None
) -> ProcessUser:
    """Return `USER[:GROUP]` as a process runs, with `further` groups; "" is root.

    Raises BuildError for unknown names and ids out of range.
    """
    name, colon, group = text.partition(":")
    rows = _rows(read_file("etc/passwd"), 7)
    uid, row = _user(name or "0", rows, span)
    gid = _checked(row[3], span) if row and row[3].isdigit() else 0
    home = row[5] if row and row[5] else "/"
    added = [_group(one, read_file, span) for one in further]
    if colon and group:
        gid = _group(group, read_file, span)
        return ProcessUser(uid=uid, gid=gid, groups=tuple(dict.fromkeys((gid, *added))), home=home)
    groups = [gid]
    if row:
        for entry in _rows(read_file("etc/group"), 4):
            members = entry[3].split(",")
            number = _number(entry[2])
            if row[0] in members and number is not None and number not in groups:
                groups.append(number)
    return ProcessUser(uid=uid, gid=gid, groups=tuple(dict.fromkeys((*groups, *added))), home=home)


def resolve_owner(text: str, read_file: ReadFile, *, span: Span | None = None) -> tuple[int, int]:
    """Return `USER[:GROUP]` as --chown: a number alone is also the group, a name alone its primary one; `USER:` is
    group 0.
    """
    name, colon, group = text.partition(":")
    uid, row = _user(name or "0", _rows(read_file("etc/passwd"), 7) if not name.isdigit() else [], span)
    if colon:
        return uid, _group(group, read_file, span) if group else 0
    if name.isdigit() or not row:
        return uid, uid
    return uid, _checked(row[3], span) if row[3].isdigit() else 0


def _user(name: str, rows: list[list[str]], span: Span | None) -> tuple[int, list[str] | None]:
    if name.isdigit():
        uid = _checked(name, span)
        return uid, next((row for row in rows if row[2] == str(uid)), None)
    row = next((row for row in rows if row[0] == name), None)
    if row is None and name == ROOT:
        return 0, None
    if row is None or not row[2].isdigit():
        raise BuildError(
            f'no user is called "{name}" in the image\'s /etc/passwd', span=span, remedy="create it, or use a number"
        )
    return _checked(row[2], span), row


def _group(name: str, read_file: ReadFile, span: Span | None) -> int:
    if name.isdigit():
        return _checked(name, span)
    row = next((row for row in _rows(read_file("etc/group"), 3) if row[0] == name), None)
    if row is None and name == ROOT:
        return 0
    if row is None or not row[2].isdigit():
        raise BuildError(
            f'no group is called "{name}" in the image\'s /etc/group', span=span, remedy="create it, or use a number"
        )
    return _checked(row[2], span)


def _number(text: str) -> int | None:
    """Return an id, or None for what the kernel could not take for one; `isdigit` alone also takes digits of other
    scripts.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID else None


def _checked(text: str, span: Span | None) -> int:
    number = _number(text)
    if number is None:
        raise BuildError(f"id {text[:20]} is out of range", span=span, remedy=f"use a number from 0 to {MAX_ID}")
    return number


def _rows(data: bytes | None, fields: int) -> list[list[str]]:
    text = (data or b"").decode("utf-8", "surrogateescape")
    rows = (line.split(":") for line in text.split("\n") if line and not line.startswith("#"))
    return [row for row in rows if len(row) >= fields]

"""What a directory's default access list makes of new things in it: the rules of acl(5), compared with Linux."""

from __future__ import annotations

import struct

import pytest

from tiffin.builder.layer.disk.xattrs import ACCESS_LIST, DEFAULT_LIST, handed_on

NOBODY = 0xFFFFFFFF
OWNER, USER, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


def packed(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def full(owner: int, user: int, group: int, mask: int, other: int) -> bytes:
    return packed(
        (OWNER, owner, NOBODY), (USER, user, 1000), (GROUP, group, NOBODY), (MASK, mask, NOBODY), (OTHER, other, NOBODY)
    )


def short(owner: int, group: int, other: int) -> bytes:
    return packed((OWNER, owner, NOBODY), (GROUP, group, NOBODY), (OTHER, other, NOBODY))


@pytest.mark.parametrize(
    ("default", "kind", "mode", "made", "access"),
    [
        (full(7, 7, 5, 7, 0), "dir", 0o755, 0o750, full(7, 7, 5, 5, 0)),
        (full(7, 7, 5, 7, 5), "dir", 0o700, 0o700, full(7, 7, 5, 0, 0)),
        (full(6, 7, 7, 6, 4), "file", 0o777, 0o664, full(6, 7, 7, 6, 4)),
        (full(7, 7, 5, 7, 0), "file", 0o4644, 0o4640, full(6, 7, 5, 4, 0)),
        (full(7, 7, 5, 7, 0), "fifo", 0o666, 0o660, full(6, 7, 5, 6, 0)),
        (short(7, 5, 0), "dir", 0o777, 0o750, b""),
        (short(6, 4, 4), "file", 0o600, 0o600, b""),
        (full(7, 7, 5, 7, 0), "symlink", 0o777, 0o777, b""),
    ],
)
def test_new_things_get_what_mode_and_default_list_both_allow(
    default: bytes, kind: str, mode: int, made: int, access: bytes
) -> None:
    found, lists = handed_on(((DEFAULT_LIST, default),), kind, mode)
    assert (found, dict(lists).get(ACCESS_LIST, b"")) == (made, access)
    assert dict(lists).get(DEFAULT_LIST) == (default if kind == "dir" else None)


def test_without_a_default_list_nothing_is_handed_on() -> None:
    assert handed_on(((ACCESS_LIST, full(7, 7, 5, 7, 0)), ("user.x", b"y")), "dir", 0o755) == (0o755, ())

"""The kernel's rules about who may do what to a file, as values, and where a run is to be asked about them."""

from __future__ import annotations

import stat
import struct

import pytest

from tiffin.builder.sandbox.child.emulation import credentials as rules
from tiffin.builder.sandbox.child.emulation.checks.permissions import (
    READ,
    SEARCH,
    WRITE,
    Facts,
    is_kept_by_sticky,
    is_mighty,
    is_safe_to_link,
    keeps_set_group_id,
    may,
    may_signal,
    owns,
)
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES
from tiffin.builder.sandbox.expected_users import expects_users
from tiffin.cache.foundation.frozen import replace

FILE, DIRECTORY = stat.S_IFREG, stat.S_IFDIR
USER = Credentials(
    ruid=1000,
    euid=1000,
    suid=1000,
    fsuid=1000,
    rgid=5,
    egid=5,
    sgid=5,
    fsgid=5,
    groups=(7, 8),
    permitted=0,
    effective=0,
)
ANY = READ | WRITE | SEARCH


def with_capability(number: int) -> Credentials:
    return replace(USER, permitted=1 << number, effective=1 << number)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Of tags, permissions, ids: 1 owner, 2 user, 4 group, 8 named group, 16 mask, 32 other."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize(
    ("facts", "granted"),
    [
        (Facts(FILE | 0o640, 1000, 5), READ | WRITE),
        (Facts(FILE | 0o077, 1000, 5), 0),  # the owner has what the owner has
        (Facts(FILE | 0o750, 0, 5), READ | SEARCH),
        (Facts(FILE | 0o707, 0, 5), 0),  # of a group is nobody else
        (Facts(FILE | 0o740, 0, 8), READ),
        (Facts(FILE | 0o754, 0, 9), READ),
        (Facts(DIRECTORY | 0o711, 0, 0), SEARCH),
        (Facts(DIRECTORY | 0o1777, 0, 0), ANY),
        (Facts(FILE | 0o000, 0, 0), 0),
    ],
)
def test_one_class_counts(facts: Facts, granted: int) -> None:
    for want in range(8):
        assert may(USER, facts, want) == (not want & ~granted), want


@pytest.mark.parametrize(
    ("mode", "list_of_entries", "granted"),
    [
        (0o660, [(1, 6, 0), (2, 6, 1000), (4, 0, 0), (16, 6, 0), (32, 0, 0)], READ | WRITE),
        (0o640, [(1, 6, 0), (2, 6, 1000), (4, 0, 0), (16, 4, 0), (32, 0, 0)], READ),  # the mask
        (0o677, [(1, 6, 0), (2, 0, 1000), (4, 7, 0), (16, 7, 0), (32, 7, 0)], 0),  # named, and given nothing
        (0o670, [(1, 6, 0), (4, 0, 0), (8, 4, 7), (8, 1, 8), (16, 7, 0), (32, 7, 0)], None),  # no union of groups
        (0o647, [(1, 6, 0), (4, 0, 0), (8, 6, 7), (16, 4, 0), (32, 7, 0)], READ),
        (0o677, [(1, 6, 0), (4, 7, 0), (8, 7, 99), (16, 7, 0), (32, 5, 0)], READ | SEARCH),
    ],
)
def test_access_lists(mode: int, list_of_entries: list[tuple[int, int, int]], granted: int | None) -> None:
    facts = Facts(FILE | mode, 0, 33, acl(*list_of_entries))
    if granted is None:
        assert may(USER, facts, READ) and may(USER, facts, SEARCH) and not may(USER, facts, READ | SEARCH)
        return
    for want in range(8):
        assert may(USER, facts, want) == (not want & ~granted), want


def test_what_is_no_list_counts_for_nothing() -> None:
    for value in (b"", b"\2\0\0\0\1", b"\1\0\0\0" + bytes(8), b"\2"):
        assert may(USER, Facts(FILE | 0o604, 0, 0, value), READ)


@pytest.mark.parametrize(
    ("capability", "facts", "want", "expected"),
    [
        (rules.CAP_DAC_OVERRIDE, Facts(FILE | 0o000, 0, 0), READ | WRITE, True),
        (rules.CAP_DAC_OVERRIDE, Facts(FILE | 0o000, 0, 0), SEARCH, False),  # nobody may execute it
        (rules.CAP_DAC_OVERRIDE, Facts(FILE | 0o100, 0, 0), SEARCH, True),
        (rules.CAP_DAC_OVERRIDE, Facts(DIRECTORY | 0o000, 0, 0), ANY, True),
        (rules.CAP_DAC_READ_SEARCH, Facts(FILE | 0o000, 0, 0), READ, True),
        (rules.CAP_DAC_READ_SEARCH, Facts(FILE | 0o000, 0, 0), WRITE, False),
        (rules.CAP_DAC_READ_SEARCH, Facts(DIRECTORY | 0o000, 0, 0), READ | SEARCH, True),
        (rules.CAP_DAC_READ_SEARCH, Facts(DIRECTORY | 0o000, 0, 0), WRITE, False),
        (rules.CAP_FOWNER, Facts(FILE | 0o000, 0, 0), READ, False),
    ],
)
def test_capabilities_lift(capability: int, facts: Facts, want: int, expected: bool) -> None:
    assert may(with_capability(capability), facts, want) is expected


def test_owners_do_what_only_owners_may() -> None:
    own, others = Facts(FILE | 0o444, 1000, 9), Facts(FILE | 0o777, 0, 5)
    assert owns(USER, own) and not owns(USER, others) and owns(with_capability(rules.CAP_FOWNER), others)
    assert keeps_set_group_id(USER, others) and not keeps_set_group_id(USER, own)
    assert keeps_set_group_id(with_capability(rules.CAP_FSETID), own)


def test_sticky_directories_keep_the_files_of_others() -> None:
    shared, own = Facts(DIRECTORY | 0o1777, 0, 0), Facts(DIRECTORY | 0o1777, 1000, 0)
    mine, others = Facts(FILE, 1000, 0), Facts(FILE, 33, 0)
    assert is_kept_by_sticky(USER, shared, others)
    assert not is_kept_by_sticky(USER, shared, mine) and not is_kept_by_sticky(USER, own, others)
    assert not is_kept_by_sticky(with_capability(rules.CAP_FOWNER), shared, others)
    assert not is_kept_by_sticky(USER, Facts(DIRECTORY | 0o777, 0, 0), others)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(FILE | 0o600, 1000, 0), True),
        (Facts(FILE | 0o666, 0, 0), True),
        (Facts(FILE | 0o644, 0, 0), False),
        (Facts(FILE | 0o4666, 0, 0), False),
        (Facts(FILE | 0o2676, 0, 0), False),
        (Facts(stat.S_IFIFO | 0o666, 0, 0), False),
    ],
)
def test_protected_hard_links(facts: Facts, expected: bool) -> None:
    assert is_safe_to_link(USER, facts) is expected


def test_signals() -> None:
    other = replace(USER, ruid=33, euid=33, suid=33)
    switched = replace(other, suid=1000)
    assert may_signal(USER, USER) and may_signal(USER, switched) and not may_signal(USER, other)
    assert may_signal(with_capability(rules.CAP_KILL), other)


def test_root_is_asked_about_nothing_and_a_lesser_one_is() -> None:
    assert is_mighty(Credentials()) and not is_mighty(USER)
    assert not is_mighty(replace(Credentials(), effective=rules.ALL_CAPABILITIES & ~(1 << rules.CAP_FOWNER)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("su app -c 'npm ci'", True),
        ("apt-get update && exec gosu app make", True),
        ("/usr/sbin/runuser -u app -- sh", True),
        ("cd /srv\nif true; then sudo -u app x; fi", True),
        ("FOO=1 env setpriv --reuid 5 x", True),
        ("chroot --userspec=5:5 / id", True),
        ("python3 -c 'import os; os.setuid(5)'", True),
        ("apt-get install -y sudo su-exec && rm -rf /x", False),
        ("apk add --no-cache \\\n  su-exec \\\n  curl", False),
        ("make sure && echo subject > /summary", False),
        ("gcc -o /a /a.c", False),
    ],
)
def test_runs_that_will_have_users(text: str, expected: bool) -> None:
    assert expects_users(0, DEFAULT_CAPABILITIES, ("/bin/sh", "-c", text)) is expected
    assert expects_users(1000, DEFAULT_CAPABILITIES, ("true",))
    assert expects_users(0, [name for name in DEFAULT_CAPABILITIES if name != "DAC_OVERRIDE"], ("true",))

"""Id maps: planned, written, entered and joined by children of the test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox import keepid, userns
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.userns import IdMap
from tiffin.cache.foundation.frozen import replace

PLAN = IdMap(tag="t", uids=((0, 1000, 1), (1, 100000, 65536)), gids=((0, 100, 1), (1, 100000, 65536)), helpers=("", ""))


def in_child(function: Callable[[], object]) -> str:
    """What a function says in a child; an error by its class and text."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(function())
        except BaseException as exc:
            said = f"{type(exc).__name__}: {exc}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


def test_the_own_id_becomes_root_and_the_rest_is_nobodys() -> None:
    def enter() -> object:
        seen: list[object] = []
        userns.enter(userns.plan_single(), lambda: seen.append(os.getuid()))
        return seen, os.getuid(), os.getgid(), Path("/proc/self/uid_map").read_text().split()

    assert in_child(enter) == str(([0], 0, 0, ["0", str(os.getuid()), "1"]))


def test_a_namespace_is_joined_and_one_of_others_is_not() -> None:
    def join() -> object:
        ready, go = os.pipe(), os.pipe()
        other = os.fork()
        if not other:
            userns.enter(userns.plan_single())
            os.write(ready[1], b"x")
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        namespace = os.open(f"/proc/{other}/ns/user", os.O_RDONLY)
        userns.join(namespace)
        same = os.readlink("/proc/self/ns/user") == os.readlink(f"/proc/{other}/ns/user")
        os.close(go[1])
        os.waitpid(other, 0)
        return same, os.getuid()

    assert in_child(join) == str((True, 0))
    refused = in_child(lambda: userns.join(os.open("/proc/self/ns/user", os.O_RDONLY)))
    assert refused.startswith("SandboxError: the user namespace of other containers cannot be entered")


@pytest.mark.parametrize("needs_mapper", [True, False])
def test_a_map_that_the_kernel_refuses_is_told(needs_mapper: bool) -> None:
    wrong = IdMap(tag="x", uids=((0, 0, 1), (0, 5, 1)), gids=((0, 0, 1),), helpers=None, needs_mapper=needs_mapper)
    assert in_child(lambda: userns.enter(wrong)).startswith("SandboxError: the id map was refused")


def test_helpers_that_fail_are_told_and_what_runs_meanwhile_has_run() -> None:
    def enter() -> object:
        ran: list[int] = []
        try:
            userns.enter(
                replace(userns.plan_single(), helpers=("/bin/false", "/bin/false"), needs_mapper=True),
                lambda: ran.append(1),
            )
        except SandboxError as exc:
            return ran, exc.remedy
        return "entered"

    assert in_child(enter) == str(
        ([1], "check the user's lines in /etc/subuid and /etc/subgid, and that newuidmap is setuid")
    )


def test_a_user_without_a_range_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user of an id that no line of this machine names."""

    def as_stranger() -> object:
        if os.getuid() == 0:
            os.setresgid(54321, 54321, 54321)
            os.setresuid(54321, 54321, 54321)
        return userns.plan_range(), userns.why_no_range()

    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(userns, "HELPER_DIRECTORIES", (str(tmp_path / "none"),))
    assert in_child(as_stranger) == str((None, "newuidmap and newgidmap are not installed (Debian package uidmap)"))


def test_a_range_is_the_largest_of_the_users_lines(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("54321:1000:65536\n54321:200000:131072\n54321:5:9\nother:1:900000\n54321:x:1\n")
    assert userns._subordinate(str(path), 54321) == (200000, 131072)
    assert userns._subordinate(str(path), 54322) is None
    assert userns._subordinate(str(tmp_path / "none"), 54321) is None


def test_the_own_id_stays_where_it_is_kept() -> None:
    kept = keepid.keeping(PLAN, 1000, 0)
    assert kept.uids == ((0, 100000, 1000), (1000, 1000, 1), (1001, 101000, 64536))
    assert kept.gids == ((0, 100, 1), (1, 100000, 65536))
    assert (kept.tag, kept.keeps, kept.limits) == ("t-keep-1000-0", True, (65537, 65537))


def test_files_are_made_as_root_where_an_id_is_kept() -> None:
    """Root of the tests maps two of its ids; anybody else has one alone, and is root in it already."""

    def make() -> object:
        if os.getuid():
            userns.enter(userns.plan_single())
            with userns.root_of_files():
                return userns.is_kept(), os.getuid()
        pair = ((0, 0, 1), (7, 7, 1))
        userns.enter(IdMap(tag="x", uids=pair, gids=pair, helpers=None, keeps=True))
        kernel.prctl(userns.PR_SET_SECUREBITS, userns.SECBIT_NO_SETUID_FIXUP)  # as one who never was root there
        os.setresgid(7, 7, 7)
        os.setresuid(7, 7, 7)
        kept = userns.is_kept()
        with userns.root_of_files():
            fd = os.memfd_create("x")
        return kept, os.fstat(fd).st_uid

    assert in_child(make) == str((os.getuid() == 0, 0))


def test_a_kept_map_as_it_is_seen_from_the_map_of_others() -> None:
    kept = keepid.keeping(PLAN, 1000, 100)
    seen = keepid.within_base(kept)
    assert seen.uids == ((0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536))
    assert seen.gids == ((0, 1, 100), (100, 0, 1), (101, 101, 65436))
    assert (seen.tag, seen.keeps, seen.needs_mapper, seen.helpers) == (kept.tag, True, True, None)
    assert kept.base == PLAN
    assert (keepid.base_tag(kept.tag), keepid.base_tag(PLAN.tag)) == (PLAN.tag, PLAN.tag)

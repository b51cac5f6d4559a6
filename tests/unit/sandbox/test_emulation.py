"""What a supervisor of one id answers, as values: credentials, the filter, records, paths."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sandbox.interpreter import call, run
from tiffin.builder import owner_xattrs
from tiffin.builder.sandbox.child import bpf, syscalls
from tiffin.builder.sandbox.child.emulation import (
    creation_calls,
    credential_calls,
    devices,
    filter,
    inodes,
    notification,
    owner_calls,
    process,
)
from tiffin.builder.sandbox.child.emulation import credentials as rules
from tiffin.builder.sandbox.child.emulation.checks import enforcement
from tiffin.builder.sandbox.child.emulation.credentials import ALL_CAPABILITIES, Credentials
from tiffin.cache.foundation.frozen import replace

ROOT = Credentials()
USER = rules.set_users(rules.set_groups_of_ids(ROOT, 5, 5, 5), 1000, 1000, 1000)
SETUID_PROGRAM = rules.executed(USER, 0, None, None)


def test_becoming_a_user_takes_every_capability() -> None:
    assert (USER.permitted, USER.effective, USER.fsuid, USER.fsgid) == (0, 0, 1000, 5)
    with pytest.raises(PermissionError):
        rules.set_user(USER, 0)
    with pytest.raises(PermissionError):
        rules.set_supplementary(USER, ())


def test_effective_user_comes_and_goes() -> None:
    away = rules.set_users(ROOT, -1, 33, -1)
    assert (away.effective, away.permitted, away.fsuid) == (0, ALL_CAPABILITIES, 33)
    back = rules.set_users(away, -1, 0, -1)
    assert back == ROOT
    assert rules.set_file_system_user(ROOT, 33).can(rules.CAP_SETUID)
    assert not rules.set_file_system_user(ROOT, 33).can(rules.CAP_CHOWN)
    assert rules.set_file_system_user(USER, 7) == USER


def test_kept_capabilities_last_to_the_next_program() -> None:
    kept = rules.set_users(replace(ROOT, keep_capabilities=True), 9, 9, 9)
    assert (kept.permitted, kept.effective) == (ALL_CAPABILITIES, 0)
    assert rules.executed(kept, None, None, None).permitted == 0
    raised = rules.set_capabilities(kept, 1 << rules.CAP_SETUID, kept.permitted, kept.permitted)
    assert rules.set_user(raised, 12).ruid == 12


def test_set_id_program_and_back() -> None:
    assert (SETUID_PROGRAM.ruid, SETUID_PROGRAM.euid, SETUID_PROGRAM.suid) == (1000, 0, 0)
    assert SETUID_PROGRAM.effective == ALL_CAPABILITIES
    dropped = rules.set_user(SETUID_PROGRAM, 1000)
    assert dropped == USER
    grouped = rules.executed(USER, None, 42, None)
    assert (grouped.rgid, grouped.egid, grouped.fsgid, grouped.effective) == (5, 42, 42, 0)


@pytest.mark.parametrize(
    ("change", "arguments", "expected"),
    [
        (rules.set_real_and_effective_user, (1000, 0), (1000, 0, 0)),
        (rules.set_real_and_effective_user, (-1, 1000), (1000, 1000, 0)),
        (rules.set_real_and_effective_user, (0, 1000), (0, 1000, 1000)),
        (rules.set_users, (-1, 1000, -1), (1000, 1000, 0)),
    ],
    ids=["both", "effective-is-real", "swapped", "resuid"],
)
def test_saved_user(change: Callable[..., Credentials], arguments: tuple[int, ...], expected: tuple[int, ...]) -> None:
    new = change(SETUID_PROGRAM, *arguments)
    assert (new.ruid, new.euid, new.suid) == expected


def test_capabilities_are_never_gained() -> None:
    less = rules.set_capabilities(ROOT, 0b1, 0b11, 0)
    with pytest.raises(PermissionError):
        rules.set_capabilities(less, 0b100, 0b100, 0)
    with pytest.raises(PermissionError):
        rules.set_capabilities(less, 0b10, 0b1, 0)
    bounded = replace(ROOT, bounding=0b111)
    assert rules.executed(bounded, None, None, None).effective == 0b111
    given_by_file = rules.executed(replace(USER, bounding=0b11), None, None, (0b110, 0, True))
    assert (given_by_file.permitted, given_by_file.effective) == (0b10, 0b10)


def test_no_id_is_an_error() -> None:
    for change in (rules.set_user, rules.set_group):
        with pytest.raises(OSError, match="no such id") as caught:
            change(ROOT, -1)
        assert caught.value.errno == errno.EINVAL


# -- records ---------------------------------------------------------------------------------------------------------

IDS = st.integers(0, owner_xattrs.NO_ID - 1)


@given(IDS, IDS)
def test_owners_survive_both_records(uid: int, gid: int) -> None:
    assert owner_xattrs.parse_owner(owner_xattrs.owner_text(uid, gid)) == (uid, gid)
    record = owner_xattrs.link_record(uid, gid)
    assert owner_xattrs.parse_link_record(record) == (uid, gid)
    assert owner_xattrs.parse_link_record(record + struct.pack("<I", 1000)) == (
        uid,
        gid,
    )  # as another namespace sees it


@given(st.binary(max_size=40))
def test_hostile_records_are_read_or_refused(value: bytes) -> None:
    for parse in (owner_xattrs.parse_owner, owner_xattrs.parse_link_record):
        found = parse(value)
        assert found is None or max(found) < owner_xattrs.NO_ID
    device = owner_xattrs.parse_device(value)
    assert device is None or device.mode <= 0o7777


def test_capability_is_no_record() -> None:
    assert owner_xattrs.parse_link_record(struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)) is None
    assert owner_xattrs.parse_link_record(b"") is None


@pytest.mark.parametrize("kind", ["char", "block"])
@pytest.mark.parametrize("numbers", [(1, 3), (8, 0), (0, 1), (4095, (1 << 20) - 1)])
def test_records_of_device_nodes(kind: str, numbers: tuple[int, int]) -> None:
    device = owner_xattrs.Device(kind, *numbers, 0)
    assert owner_xattrs.parse_device_record(owner_xattrs.device_record(device)) == (device, None)
    assert owner_xattrs.parse_device_record(owner_xattrs.device_record(device, 70000, 5)) == (device, (70000, 5))
    assert owner_xattrs.parse_link_record(owner_xattrs.device_record(device, 70000, 5)) is None


def test_what_is_no_record_of_a_device_node() -> None:
    for value in (b"", owner_xattrs.link_record(1, 2), struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)):
        assert owner_xattrs.parse_device_record(value) is None
    whiteout = bytearray(owner_xattrs.device_record(owner_xattrs.Device("char", 1, 3, 0)))
    whiteout[8:12] = bytes(4)
    assert owner_xattrs.parse_device_record(bytes(whiteout)) is None
    for major, minor in ((4096, 0), (0, 1 << 20)):
        with pytest.raises(OSError):
            owner_xattrs.device_record(owner_xattrs.Device("block", major, minor, 0))


# -- the filter ------------------------------------------------------------------------------------------------------

MACHINES = tuple(syscalls.TABLES)


def answer(machine: str, name: str, *arguments: int, looks: bool = False) -> int:
    number = syscalls.TABLES[machine][name]
    code = filter.owner_filter(machine, looks=looks)
    return run(code, call(number, *arguments, arch=syscalls.AUDIT_ARCHES[machine]))


@pytest.mark.thorough
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.heavy
def test_filter_asks_about_owners_and_changes_alone(machine: str) -> None:
    asked = {name for name in syscalls.TABLES[machine] if answer(machine, name) == bpf.RET_USER_NOTIF}
    assert asked == ({*filter.ALWAYS, *filter.CHANGES} - {"utimensat"}) & syscalls.TABLES[machine].keys()
    absent = {name for name in syscalls.TABLES[machine] if answer(machine, name) == bpf.errno_action(errno.ENOSYS)}
    assert absent == set(filter.ABSENT)


@pytest.mark.thorough
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.heavy
def test_filter_asks_what_users_look_at_where_they_are_expected(machine: str) -> None:
    names = {name for name in syscalls.TABLES[machine] if answer(machine, name, looks=True) == bpf.RET_USER_NOTIF}
    expected = {*filter.ALWAYS, *filter.CHANGES, *filter.LOOKS, *filter.OPENS}
    assert names == expected & syscalls.TABLES[machine].keys()


@pytest.mark.parametrize("machine", MACHINES)
def test_filter_looks_at_arguments(machine: str) -> None:
    ask, allow, done = bpf.RET_USER_NOTIF, bpf.RET_ALLOW, bpf.errno_action(0)
    for arguments, expected in (
        (("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC), allow),
        (("openat", 0, 0, os.O_WRONLY | 0o100), ask),
        (("openat", 0, 0, os.O_RDWR), ask),
        (("utimensat", 3, 0), allow),
        (("utimensat", 3, 1 << 32), ask),
        (("openat", 0, 0, os.O_TRUNC), ask),
        (("openat", 0, 0, 0o20000000), ask),
        (("clone", 17), allow),
        (("clone", 0x20000 | 17), ask),
        (("unshare", 0x10000000), allow),
        (("unshare", 0x10020000), ask),
        (("prctl", 38, 1), ask),
        (("prctl", 15), allow),
        (("prctl", 4, 0), done),
        (("setrlimit", 7), allow),
        (("setrlimit", 10), done),
        (("prlimit64", 0, 10, 0, 1), allow),
        (("prlimit64", 0, 10, 1 << 33, 0), done),
        (("prlimit64", 0, 7, 1, 0), allow),
        (("getsockopt", 3, 1, 17), ask),
        (("getsockopt", 3, 1, 4), allow),
    ):
        name, *values = arguments
        assert answer(machine, str(name), *map(int, values)) == expected, arguments


def test_other_abis() -> None:
    number = syscalls.X86_64["chown"]
    code = filter.owner_filter("x86_64")
    assert run(code, call(number, arch=syscalls.AUDIT_ARCH_I386)) == bpf.RET_ALLOW
    x32 = call(syscalls.X32_BIT | number, arch=syscalls.AUDIT_ARCH_X86_64)
    assert run(code, x32) == bpf.errno_action(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_boundary_filter_asks_about_devices(machine: str) -> None:
    number, arch = syscalls.TABLES[machine]["mknodat"], syscalls.AUDIT_ARCHES[machine]
    for limits in ((1001, 1001), (owner_xattrs.NO_ID, owner_xattrs.NO_ID)):
        code = filter.boundary_filter(limits, machine)
        answers = {kind: run(code, call(number, 0, 0, kind | 0o644, arch=arch)) for kind in (0o10000, 0o20000, 0o60000)}
        assert answers == {0o10000: bpf.RET_ALLOW, 0o20000: bpf.RET_USER_NOTIF, 0o60000: bpf.RET_USER_NOTIF}


@pytest.mark.parametrize("machine", MACHINES)
def test_boundary_filter_asks_about_ids_beyond_the_map_alone(machine: str) -> None:
    ask, allow = bpf.RET_USER_NOTIF, bpf.RET_ALLOW
    code, all_ids = (
        filter.boundary_filter((65537, 1001), machine),
        filter.boundary_filter((owner_xattrs.NO_ID, owner_xattrs.NO_ID), machine),
    )
    for arguments, expected in (
        (("fchownat", 3, 0, 65536, 1000), allow),
        (("fchownat", 3, 0, 65537, 0), ask),
        (("fchownat", 3, 0, 0, 1001), ask),
        (("fchownat", 3, 0, owner_xattrs.NO_ID, owner_xattrs.NO_ID), allow),
        (("fchownat", 3, 0, 0xFFFFFFFF_FFFFFFFF, 0), allow),
        (("fchownat", 3, 0, owner_xattrs.NO_ID, 70000), ask),
        (("fchownat", 3, 0, owner_xattrs.NO_ID - 1, 0), ask),
        (("fchown", 70000, 65536, 5), allow),
        (("setuid", 65536), allow),
        (("setuid", 65537), ask),
        (("setgid", 65536), ask),
        (("setresuid", 0, 0, 70000), ask),
        (("setresgid", owner_xattrs.NO_ID, 1000, owner_xattrs.NO_ID), allow),
        (("setreuid", 1, 65537), ask),
        (("setfsgid", 1001), ask),
        (("setgroups", 0, 0), ask),
        (("openat", 0, 0, os.O_CREAT), allow),
    ):
        name, *values = arguments
        number, arch = syscalls.TABLES[machine][str(name)], syscalls.AUDIT_ARCHES[machine]
        assert run(code, call(number, *map(int, values), arch=arch)) == expected, arguments
        assert run(all_ids, call(number, *map(int, values), arch=arch)) == allow, arguments


def test_everything_asked_about_is_answered() -> None:
    processes = process.Processes(ROOT, os.open("/proc", os.O_PATH))
    caller = notification.Caller(process.Memory(), processes, inodes.Inodes())
    handled = {
        *owner_calls.Owners(caller).handlers,
        *creation_calls.Creation(caller).handlers,
        *credential_calls.Identity(caller).handlers,
    }
    assert handled == {*filter.ALWAYS, *filter.OPENS, "bind", "prctl", "unshare", "clone", "getsockopt"}
    for looks in (False, True):
        guarded = enforcement.enforced(caller, {}, filter.asked(looks=looks))
        assert (
            {*filter.CHANGES, *filter.OPENS, "execve", "mkdir", "stat"} <= guarded.keys() <= filter.asked(looks=looks)
        )
        assert looks == (guarded.keys() >= set(filter.LOOKS))
    assert set(devices.Devices(caller).handlers) == {"mknod", "mknodat"}


# -- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/etc/passwd", b"/etc/passwd"),
        (b"f", b"7/cwd/f"),
        (b"/proc/self/fd/3", b"7/fd/3"),
        (b"/proc/selfish", b"/proc/selfish"),
        (b"/proc/thread-self/cwd", b"7/cwd"),
        (b"/dev/fd/4", b"7/fd/4"),
        (b"/dev/stderr", b"7/fd/2"),
        (b"/dev/stdx", b"/dev/stdx"),
    ],
)
def test_paths_mean_what_they_mean_to_the_caller(path: bytes, expected: bytes) -> None:
    assert process.located(7, process.AT_FDCWD, path) == expected


def test_paths_below_descriptors() -> None:
    assert process.located(7, 5, b"f") == b"7/fd/5/f"
    assert process.located(7, 5, b"/f") == b"/f"


def test_memory_of_a_process() -> None:
    import ctypes

    memory = process.Memory()
    own = ctypes.create_string_buffer(b"word\0and more", 5000)
    address = ctypes.addressof(own)
    assert memory.read_string(os.getpid(), address) == b"word"
    memory.write(os.getpid(), address + 5, b"new")
    assert memory.read(os.getpid(), address, 9) == b"word\0new "
    long = ctypes.create_string_buffer(b"x" * 4095 + b"\0", 5000)
    assert memory.read_string(os.getpid(), ctypes.addressof(long)) == b"x" * 4095
    endless = ctypes.create_string_buffer(b"x" * 9000)
    with pytest.raises(OSError, match="too long"):
        memory.read_string(os.getpid(), ctypes.addressof(endless))
    with pytest.raises(OSError, match="Bad address"):
        memory.read_string(os.getpid(), 1)


@pytest.mark.parametrize(
    "act",
    [
        lambda caller, place: owner_calls.Owners(caller)._give(os.getpid(), place + b"/file", 5, 6, follow=True),
        lambda caller, place: caller.write(os.getpid(), 0, b"x"),
        lambda caller, place: credential_calls.Identity(caller)._set(os.getpid(), ROOT, USER),
    ],
    ids=["chown", "memory", "credentials"],
)
def test_nothing_is_done_for_a_thread_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[notification.Caller, bytes], object]
) -> None:
    """Its number, its memory and its descriptors may be those of another by then."""
    (tmp_path / "file").touch()
    done: list[object] = []
    processes = process.Processes(ROOT, os.open("/proc", os.O_PATH))
    monkeypatch.setattr(process.Processes, "set_credentials", lambda *arguments: done.append(arguments))
    monkeypatch.setattr(process.Memory, "write", lambda *arguments: done.append(arguments))
    monkeypatch.setattr(owner_calls, "real_chown", lambda *arguments, **options: done.append(arguments))
    with (tmp_path / "file").open() as nobody, pytest.raises(notification.Gone):
        caller = notification.Caller(process.Memory(), processes, inodes.Inodes())
        caller.listener = nobody.fileno()
        act(caller, os.fsencode(tmp_path))
    assert not done and not os.listxattr(tmp_path / "file")


@pytest.mark.parametrize("name", ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "listxattrat"])
def test_what_goes_round_the_filter_does_not_exist(name: str) -> None:
    number = syscalls.TABLES["x86_64"].get(name)
    assert number is not None, name
    assert run(filter.owner_filter("x86_64"), call(number, arch=syscalls.AUDIT_ARCHES["x86_64"])) == bpf.errno_action(
        errno.ENOSYS
    )

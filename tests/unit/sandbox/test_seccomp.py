"""Seccomp profiles: what is read, what the filter answers, against libseccomp and against the kernel."""

from __future__ import annotations

import copy
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import libseccomp
from tests.support.fuzz import examples
from tests.unit.sandbox.interpreter import call, run
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child import bpf, syscalls
from tiffin.builder.sandbox.child.kernel import CAPABILITIES, SECCOMP_FILTER_LOG, SECCOMP_FILTER_SPEC_ALLOW
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES
from tiffin.builder.sandbox.seccomp.compiler import build_filter
from tiffin.builder.sandbox.seccomp.filters import DEFAULT_PROFILE, MAX_KEPT, filter_for
from tiffin.builder.sandbox.seccomp.profile import OPERATORS, Condition, Profile, Rule, Situation, read_profile
from tiffin.builder.sandbox.seccomp.syscalls_compat import ABIS

CHECKOUT = Path(__file__).parents[3]
PODMANS = Path("/usr/share/containers/seccomp.json")  # of the package containers-common
X86 = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
ARM = ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
EPERM, ENOSYS = bpf.errno_action(errno.EPERM), bpf.errno_action(errno.ENOSYS)
ALLOW = bpf.RET_ALLOW
NAMESPACES = 0x7E020000


def situation(machine: str = "x86_64", *capabilities: str, kernel: tuple[int, int] = (6, 1)) -> Situation:
    return Situation(capabilities=frozenset(capabilities or DEFAULT_CAPABILITIES), kernel=kernel, machine=machine)


def own(machine: str = "x86_64", *capabilities: str) -> Profile:
    return read_profile(Path(DEFAULT_PROFILE).read_bytes(), situation(machine, *capabilities), "own")


def answer(program: bytes, abi: str, name: str, *arguments: int) -> int:
    return run(program, call(ABIS[abi].numbers[name], *arguments, arch=ABIS[abi].audit))


def killed(action: int) -> bool:
    return action in (bpf.RET_KILL_PROCESS, bpf.RET_KILL_THREAD)


def assert_same(profile: Profile, samples: list[tuple[int, ...]]) -> None:
    """Every call of every ABI is answered as by libseccomp's filter, but for those it does not know."""
    ours, theirs = build_filter(profile), libseccomp.compile_profile(profile)
    assert len(theirs) > 8
    conditional = {name for rule in profile.rules if rule.conditions for name in rule.names}
    for abi in profile.abis:
        names = {number: name for name, number in ABIS[abi].numbers.items()}
        for number, name in names.items():
            if not libseccomp.knows(abi, name):
                continue
            for arguments in samples if name in conditional else samples[:1]:
                data = call(number, *arguments, arch=ABIS[abi].audit)
                assert run(ours, data) == run(theirs, data), (abi, name, arguments)


@pytest.mark.thorough
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, CAPABILITIES, ("CHOWN",)], ids=["docker", "all", "few"])
@pytest.mark.heavy
def test_own_profile_is_what_libseccomp_makes_of_it(machine: str, capabilities: tuple[str, ...]) -> None:
    samples: list[tuple[int, ...]] = [(0,), (8,), (40,), (NAMESPACES,), (0xFFFFFFFF,), (1 << 25, 1)]
    assert_same(own(machine, *capabilities), samples)


@pytest.mark.heavy
def test_podmans_profile_is_what_libseccomp_makes_of_it() -> None:
    """With its upper halves left alone: libseccomp compares them where the kernel does not look."""
    profile = read_profile(PODMANS.read_bytes(), situation(), "podman's")
    assert_same(profile, [(0,), (8,), (16, 3, 9), (16, 3, 8), (2, 1, 9), (NAMESPACES,)])


values = st.sampled_from([0, 1, 2, 0xFF, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
conditions = st.builds(
    lambda index, operator, value, second: Condition(
        index=index, operator=operator, value=value, second=second & value if operator == "MASKED_EQ" else 0
    ),
    st.integers(0, 2),
    st.sampled_from(OPERATORS),
    values,
    values,
)


condition_sets = st.lists(conditions, max_size=3, unique_by=lambda item: item.index)
argument_lists = st.lists(st.tuples(values, values, values), min_size=1, max_size=12)
MEANING: dict[str, Callable[[int, Condition], bool]] = {
    "EQ": lambda given, item: given == item.value,
    "NE": lambda given, item: given != item.value,
    "LT": lambda given, item: given < item.value,
    "LE": lambda given, item: given <= item.value,
    "GT": lambda given, item: given > item.value,
    "GE": lambda given, item: given >= item.value,
    "MASKED_EQ": lambda given, item: given & item.value == item.second,
}


@settings(max_examples=examples(100), deadline=None)
@given(condition_sets, argument_lists)
def test_conditions_mean_what_libseccomp_means(chosen: list[Condition], samples: list[tuple[int, ...]]) -> None:
    """One rule: of several on one call libseccomp 2.5 loses some (LT 0 beside LT 2**32)."""
    profile = written([(tuple(chosen), ALLOW)])
    ours, theirs = build_filter(profile), libseccomp.compile_profile(profile)
    for arguments in samples:
        data = call(syscalls.X86_64["write"], *arguments, arch=syscalls.AUDIT_ARCH_X86_64)
        assert run(ours, data) == run(theirs, data), arguments


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(condition_sets, st.sampled_from([ALLOW, bpf.RET_LOG])), max_size=4), argument_lists)
def test_first_rule_that_holds_decides(sets: list[tuple[list[Condition], int]], samples: list[tuple[int, ...]]) -> None:
    program = build_filter(written([(tuple(chosen), action) for chosen, action in sets]))
    for arguments in samples:
        held = [
            (not chosen, action)
            for chosen, action in sets
            if all(MEANING[item.operator](arguments[item.index], item) for item in chosen)
        ]
        wanted = next((action for alone, action in held if alone), held[0][1] if held else ENOSYS)
        assert answer(program, X86[0], "write", *arguments) == wanted


def written(sets: Sequence[tuple[tuple[Condition, ...], int]]) -> Profile:
    """A profile about the call write."""
    rules = tuple(Rule(names=("write",), action=action, conditions=conditions) for conditions, action in sets)
    return Profile(default=ENOSYS, abis=X86[:1], rules=rules, flags=0)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("openat", (), ALLOW),
        ("setresuid", (), ALLOW),
        ("chroot", (), ALLOW),
        ("unshare", (NAMESPACES,), EPERM),
        ("mount", (), EPERM),
        ("setns", (), EPERM),
        ("open_by_handle_at", (), EPERM),
        ("bpf", (), EPERM),
        ("keyctl", (), EPERM),
        ("add_key", (), EPERM),
        ("userfaultfd", (), EPERM),
        ("io_uring_setup", (), EPERM),
        ("kexec_load", (), EPERM),
        ("perf_event_open", (), EPERM),
        ("pidfd_getfd", (), EPERM),
        ("clone", (0x11,), ALLOW),
        ("clone", (0x11 | 1 << 28,), EPERM),
        ("clone3", (), ENOSYS),
        ("socket", (2, 1), ALLOW),
        ("socket", (40, 1), EPERM),
        ("socket", (40 | 1 << 32, 1), EPERM),
        ("personality", (8,), ALLOW),
        ("personality", (0x40000,), EPERM),
    ],
)
@pytest.mark.parametrize("abi", [*X86, *ARM])
def test_own_profile_answers(abi: str, name: str, arguments: tuple[int, ...], wanted: int) -> None:
    if name == "kexec_load" and abi == "SCMP_ARCH_AARCH64":
        name = "kexec_file_load"
    program = build_filter(own("x86_64" if abi in X86 else "aarch64"))
    assert answer(program, abi, name, *arguments) == wanted


def test_calls_newer_than_the_profile_are_not_there() -> None:
    program = build_filter(own())
    newest = max(syscalls.X86_64[name] for rule in own().rules for name in rule.names if name in syscalls.X86_64)
    for bit in (0, syscalls.X32_BIT):
        assert run(program, call(bit | newest, arch=syscalls.AUDIT_ARCH_X86_64)) == ALLOW
        for number in (newest + 1, 511, 548, 5000):
            assert run(program, call(bit | number, arch=syscalls.AUDIT_ARCH_X86_64)) == ENOSYS
    program = build_filter(own("aarch64"))
    for number in (newest + 1, 5000, 0xF0007, 0xF0010):
        assert run(program, call(number, arch=syscalls.AUDIT_ARCH_ARM)) == ENOSYS
    assert answer(program, "SCMP_ARCH_ARM", "set_tls") == ALLOW


def test_abis_the_profile_does_not_name_kill() -> None:
    document = {"defaultAction": "SCMP_ACT_ALLOW"}
    program = build_filter(read_profile(json.dumps(document).encode(), situation(), "p"))
    assert answer(program, "SCMP_ARCH_X86_64", "read") == ALLOW
    for abi in (*X86[1:], *ARM):
        assert killed(answer(program, abi, "read"))


def test_capabilities_open_calls() -> None:
    program = build_filter(own("x86_64", *DEFAULT_CAPABILITIES, "SYS_ADMIN", "SYS_TIME"))
    for name in ("mount", "unshare", "setns", "clone3", "settimeofday", "bpf"):
        assert answer(program, X86[0], name, NAMESPACES) == ALLOW
    assert answer(program, X86[0], "init_module") == EPERM
    assert answer(build_filter(own("x86_64", "CHOWN")), X86[0], "chroot") == EPERM


def rule(**more: object) -> dict[str, object]:
    return {"names": ["read"], "action": "SCMP_ACT_ALLOW", **more}


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (rule(), ALLOW),
        ({"name": "read", "action": "SCMP_ACT_ALLOW"}, ALLOW),
        (rule(action="SCMP_ACT_ERRNO"), EPERM),
        (rule(action="SCMP_ACT_ERRNO", errnoRet=5), bpf.errno_action(5)),
        (rule(action="SCMP_ACT_KILL_PROCESS"), bpf.RET_KILL_PROCESS),
        (rule(action="SCMP_ACT_LOG"), bpf.RET_LOG),
        (rule(action="SCMP_ACT_TRAP"), bpf.RET_TRAP),
        (rule(includes={"caps": ["CAP_CHOWN"]}), ALLOW),
        (rule(includes={"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}), ENOSYS),
        (rule(includes={"caps": ["CAP_FROM_THE_FUTURE"]}), ENOSYS),
        (rule(excludes={"caps": ["CAP_SYS_ADMIN"]}), ALLOW),
        (rule(excludes={"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}), ENOSYS),
        (rule(includes={"minKernel": "6.1"}), ALLOW),
        (rule(includes={"minKernel": "6.10"}), ENOSYS),
        (rule(excludes={"minKernel": "4.8"}), ENOSYS),
        (rule(includes={"arches": ["amd64", "arm64"]}), ALLOW),
        (rule(includes={"arches": ["s390x"]}), ENOSYS),
        (rule(excludes={"arches": ["amd64"]}), ENOSYS),
        (rule(args=[{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]),
            ALLOW),
        (rule(args=[{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]),
            ENOSYS),
        (rule(args=None, includes=None, excludes=None, comment="nulls are nothing"), ALLOW),
    ],
)  # fmt: skip
def test_members_of_a_rule(entry: dict[str, object], wanted: int) -> None:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.ENOSYS, "syscalls": [entry]}
    program = build_filter(read_profile(json.dumps(document).encode(), situation(), "p"))
    assert answer(program, X86[0], "read") == wanted


def test_first_rule_without_conditions_decides_alone() -> None:
    limited = rule(args=[{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}], action="SCMP_ACT_KILL")
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [limited, rule(), rule(action="SCMP_ACT_LOG")]}
    program = build_filter(read_profile(json.dumps(document).encode(), situation(), "p"))
    assert answer(program, X86[0], "read") == ALLOW


def test_flags() -> None:
    assert own().flags == SECCOMP_FILTER_SPEC_ALLOW
    document = {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}
    assert read_profile(json.dumps(document).encode(), situation(), "p").flags == SECCOMP_FILTER_LOG


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "defaultAction"),
        ({"defaultAction": None}, "defaultAction is missing"),
        ({"defaultErrnoRet": "EPERM"}, "defaultErrnoRet"),
        ({"defaultErrnoRet": 1 << 16}, "defaultErrnoRet"),
        ({"flags": ["FAST"]}, "flags"),
        ({"syscalls": {}}, "syscalls"),
        ({"syscalls": [1]}, r"syscalls\[0\]"),
        ({"syscalls": [{"names": ["read"]}]}, r"syscalls\[0\].action is missing"),
        ({"syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]}, r"syscalls\[0\].names"),
        ({"syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}, r"syscalls\[0\].names is empty"),
        ({"syscalls": [rule(action="SCMP_ACT_NOTIFY")]}, "SCMP_ACT_NOTIFY"),
        ({"syscalls": [rule(args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])]}, r"args\[0\].index is 6"),
        ({"syscalls": [rule(args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}])]}, r"args\[0\].value is -1"),
        ({"syscalls": [rule(args=[{"index": True, "value": 1, "op": "SCMP_CMP_EQ"}])]}, r"args\[0\].index is True"),
        ({"syscalls": [rule(args=[{"index": 0, "value": 0, "op": "=="}])]}, r"args\[0\].op"),
        ({"syscalls": [rule(includes={"minKernel": "new"})]}, r"includes.minKernel"),
        ({"archMap": [{}]}, r"archMap\[0\].architecture is missing"),
        ({"listenerPath": "/run/agent"}, "listenerPath"),
    ],
)
def test_faults_of_a_profile_are_named(change: dict[str, Any], place: str) -> None:
    document = copy.deepcopy({"defaultAction": "SCMP_ACT_ERRNO", **change})
    with pytest.raises(UsageError, match=place):
        read_profile(json.dumps(document).encode(), situation(), "file.json")


def test_no_json_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("{")
    with pytest.raises(UsageError, match="is not valid JSON"):
        filter_for(str(tmp_path / "p"), DEFAULT_CAPABILITIES, tmp_path / "kept")
    with pytest.raises(UsageError, match="cannot read the seccomp profile"):
        filter_for(str(tmp_path / "missing"), DEFAULT_CAPABILITIES, tmp_path / "kept")


def test_filters_are_kept_by_what_they_depend_on(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = filter_for("", DEFAULT_CAPABILITIES, kept)
    assert filter_for("builtin", tuple(reversed(DEFAULT_CAPABILITIES)), kept) == first
    assert len(list(kept.iterdir())) == 1
    assert filter_for("", CAPABILITIES, kept) != first
    assert filter_for("unconfined", CAPABILITIES, kept).program == b""
    for number in range(MAX_KEPT):
        (kept / f"old-{number}").touch()
    filter_for("", ("CHOWN",), kept)
    assert len(list(kept.iterdir())) == 1


def test_kernel_takes_the_filter_and_obeys(tmp_path: Path) -> None:
    script = (
        "import ctypes, os, pathlib, sys, tempfile\n"
        "from tiffin.builder.sandbox.child import kernel; from tiffin.builder.sandbox.seccomp import filters as "
        "seccomp\n"
        "from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES\n"
        "made = seccomp.filter_for('', DEFAULT_CAPABILITIES, pathlib.Path(sys.argv[1]))\n"
        "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)\n"
        "kernel.install_filter(made.program, made.flags)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def number(name, *arguments):\n"
        "    import tiffin.builder.sandbox.child.syscalls as s\n"
        "    return -1 if libc.syscall(s.NATIVE[name], *arguments) >= 0 else ctypes.get_errno()\n"
        "print(number('getppid'), number('unshare', 1 << 28), number('keyctl', 0), number('clone3', 0, 0), "
        "os.getpid() > 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.stdout.split() == ["-1", str(errno.EPERM), str(errno.EPERM), str(errno.ENOSYS), "True"], done.stderr

"""The assembler against an interpreter of classic BPF, and against the kernel."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sandbox.interpreter import call, run
from tiffin.builder.sandbox.child import bpf, syscalls
from tiffin.builder.sandbox.seccomp.syscalls_compat import I386

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


@pytest.mark.thorough
@given(
    st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 5), max_size=400),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
    st.integers(0, 700),
)
def test_dispatch_finds_each_value_and_nothing_else(table: dict[int, int], others: list[int], padding: int) -> None:
    program = bpf.Program()
    program.load(bpf.NUMBER)
    program.dispatch({value: f"target {target}" for value, target in table.items()}, "default")
    for _ in range(padding):  # so that jumps have to go far
        program.mask(0)
    for target in range(6):
        program.label(f"target {target}")
        program.answer(target)
    program.label("default")
    program.answer(99)
    code = program.assemble()
    for value in (*table, *others):
        assert run(code, call(value)) == table.get(value, 99)


@pytest.mark.parametrize("distance", [0, 1, 254, 255, 256, 1000])
@pytest.mark.parametrize("near", [True, False])
def test_both_targets_may_be_far(distance: int, near: bool) -> None:
    program = bpf.Program()
    program.load(bpf.argument(1))
    program.if_any_bit(4, then=None if near else "yes", otherwise="no")
    program.mask(0)
    for _ in range(distance):
        program.mask(0)
    program.label("yes")
    program.answer(1)
    program.label("no")
    program.answer(2)
    code = program.assemble()
    assert run(code, call(0, 0, 6)) == 1
    assert run(code, call(0, 4, 3)) == 2


def test_high_words_and_comparisons() -> None:
    program = bpf.Program()
    program.load(bpf.argument(5, high=True))
    program.if_greater(7, then="big")
    program.if_greater_equal(7, then="seven")
    program.answer(0)
    program.label("big")
    program.answer(1)
    program.label("seven")
    program.answer(2)
    code = program.assemble()
    answers = [run(code, call(0, 0, 0, 0, 0, 0, high << 32)) for high in (6, 7, 8, 2**32 - 1)]
    assert answers == [0, 2, 1, 1]


def test_mistakes_are_told() -> None:
    missing = bpf.Program()
    missing.jump("away")
    missing.answer(0)
    with pytest.raises(ValueError, match="away is placed nowhere"):
        missing.assemble()
    behind = bpf.Program()
    behind.label("here")
    behind.mask(1)
    behind.jump("here")
    behind.answer(0)
    with pytest.raises(ValueError, match="here is behind"):
        behind.assemble()
    twice = bpf.Program()
    twice.label("here")
    with pytest.raises(ValueError, match="placed twice"):
        twice.label("here")
    endless = bpf.Program()
    endless.load(0)
    with pytest.raises(ValueError, match="does not end"):
        endless.assemble()
    long = bpf.Program()
    for _ in range(bpf.MAX_INSTRUCTIONS):
        long.mask(1)
    long.answer(0)
    with pytest.raises(ValueError, match="4097 instructions"):
        long.assemble()


def test_tables_agree_where_the_kernel_has_one_number_for_all() -> None:
    for name, number in syscalls.X86_64.items():
        if number >= 424:
            assert syscalls.AARCH64[name] == number == I386[name]
    assert syscalls.X86_64["seccomp"] == 317 and syscalls.AARCH64["seccomp"] == 277 and I386["seccomp"] == 354
    assert syscalls.X86_64["openat2"] == syscalls.AARCH64["openat2"] == 437
    assert "chown" not in syscalls.AARCH64 and I386["chown32"] == 212


KERNEL = """
import ctypes, errno, os
from tiffin.builder.sandbox.child import bpf, kernel, syscalls
program = bpf.Program()
program.load(bpf.ARCH)
program.if_equal(syscalls.AUDIT_ARCHES[os.uname().machine], otherwise="kill")
program.load(bpf.NUMBER)
program.dispatch({syscalls.NATIVE["getppid"]: "refuse", syscalls.NATIVE["fchown"]: "look"}, "allow")
for _ in range(600):
    program.mask(0xFFFFFFFF)
program.label("look")
program.load(bpf.argument(1))
program.if_equal(33, then="lie", otherwise="allow")
program.label("refuse")
program.answer(bpf.errno_action(errno.ENOSYS))
program.label("lie")
program.answer(bpf.errno_action(0))
program.label("allow")
program.answer(bpf.RET_ALLOW)
program.label("kill")
program.answer(bpf.RET_KILL_PROCESS)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
assert kernel.install_filter(program.assemble(), kernel.SECCOMP_FILTER_TSYNC) == 0
ctypes.set_errno(0)
assert kernel.LIBC.syscall(syscalls.NATIVE["getppid"]) == -1 and ctypes.get_errno() == errno.ENOSYS
os.fchown(-1, 33, 0)
try:
    os.fchown(-1, 34, 0)
except OSError as exc:
    assert exc.errno == errno.EBADF
else:
    raise AssertionError
"""


def test_kernel_does_as_the_filter_says() -> None:
    done = subprocess.run([sys.executable, "-c", KERNEL], env={"PYTHONPATH": CHECKOUT}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bpf.errno_action(errno.EPERM) == 0x00050001

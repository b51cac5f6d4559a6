"""The last wall before the command: nothing but the three streams is open in it, whoever left what open before."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from tiffin.builder.sandbox.child import command, kernel
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.frozen import replace

PROGRAM = """
import os
for fd in range(1024):
    try:
        os.fstat(fd)
        print(fd)
    except OSError:
        pass
"""
SPEC = SandboxSpec(
    scratch_dir="", lower_dirs=(), upper_dir="", work_dir="", argv=(), env=(), has_namespaces=False, is_traced=True
)  # what takes no privileges


def open_in_a_command() -> set[int]:
    """What a program has open that `be_command` becomes."""
    output, output_writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _, error_writer = os.pipe2(os.O_CLOEXEC)
            argv = [sys.executable, "-I", "-S", "-c", PROGRAM]
            null = os.open(os.devnull, os.O_RDWR)
            command.be_command(replace(SPEC, argv=argv), [null, output_writer, null], error_writer, None, [], None)
        finally:
            os._exit(1)
    os.close(output_writer)
    with open(output) as stream:
        found = {int(line) for line in stream}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return found


@pytest.mark.attack("T31")
@pytest.mark.parametrize("has_call", [True, False], ids=["close_range", "old kernel"])
def test_only_the_streams_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool) -> None:
    if not has_call:

        def missing(first: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(kernel, "close_on_exec", missing)
    with (tmp_path / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert open_in_a_command() == {0, 1, 2}

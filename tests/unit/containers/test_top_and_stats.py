"""Columns of docker top by options of ps, and what processes use, with this very process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tiffin.builder.api.containers.watch import stats, top
from tiffin.builder.api.containers.watch.stats import Usage
from tiffin.builder.containers.lifecycle.freezer import freeze, state_of, thaw
from tiffin.builder.errors import UsageError


@pytest.mark.parametrize(
    ("words", "heads"),
    [
        ([], "UID PID PPID C STIME TTY TIME CMD"),
        (["-ef"], "UID PID PPID C STIME TTY TIME CMD"),
        (["-e"], "PID TTY TIME COMMAND"),
        (["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        (["-o", "pid,args"], "PID COMMAND"),
        (["-eo", "pid,comm=NAME"], "PID NAME"),
        (["axo", "pid,etime,rss"], "PID ELAPSED RSS"),
        (["--format=pid,user,vsz"], "PID USER VSZ"),
        (["-opid"], "PID"),
    ],
)
def test_options_choose_columns(words: list[str], heads: str) -> None:
    assert [head for _, head in top.parse_columns(words)] == heads.split()


@pytest.mark.parametrize("words", [["-Z"], ["-o", "comm"], ["-o", "nosuch"], ["--forest"]])
def test_what_ps_has_not_here_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        top.parse_columns(words)


def test_a_process_is_described_as_ps_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {process.pid: process for process in top.read_processes([os.getpid(), 1, 999_999_999])}
    assert set(found) == {os.getpid(), 1}
    process = found[os.getpid()]
    assert process.fields[1] == str(os.getppid())
    for column, (_, read) in top._COLUMNS.items():
        assert isinstance(read(process), str), column


def test_usage_of_processes_and_of_groups(tmp_path: Path) -> None:
    cpu, memory, tasks = stats._of_processes([os.getpid()])
    assert cpu > 0 and memory > 1 << 20 and tasks >= 1
    assert stats._network(os.getpid()) == (0, 0)
    assert len(stats._io([os.getpid()])) == 2
    group = tmp_path
    for name, text in {
        "cpu.stat": "usage_usec 2500000\n", "memory.current": "5000\n", "memory.stat": "anon 1\ninactive_file 1000\n",
        "memory.max": "8000\n", "io.stat": "8:0 rbytes=10 wbytes=20 rios=1\n8:1 rbytes=1 wbytes=2\n",
        "pids.current": "7\n",
    }.items():  # fmt: skip
        (group / name).write_text(text)
    assert stats._cpu([group], 0.0) == 2.5
    assert (stats._memory([group]), stats._memory_limit([group])) == (4000, 8000)
    assert stats._of_groups([group]) == (11, 22)
    assert (stats._number([group], "pids.current"), stats._memory([])) == (7, None)
    before, after = Usage(moment=1.0, cpu_seconds=1.0), Usage(moment=3.0, cpu_seconds=2.0, memory=1, memory_limit=4)
    assert (after.cpu_share(before), after.cpu_share(Usage()), after.memory_share) == (50.0, 0.0, 25.0)


def test_processes_are_stopped_and_go_on(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        assert not freeze([str(tmp_path)], lambda: [child.pid])
        assert state_of(child.pid) == b"T"
        thaw([str(tmp_path)], lambda: [child.pid])
        deadline = time.monotonic() + 5
        while state_of(child.pid) == b"T":
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGKILL)
    (tmp_path / "cgroup.freeze").write_text("0")
    assert freeze([str(tmp_path)], list)
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    thaw([str(tmp_path)], list)
    assert (tmp_path / "cgroup.freeze").read_text() == "0"

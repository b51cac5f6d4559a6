"""tiffin run: configuration, exit codes, signals, terminals, mounts; nothing left behind."""

from __future__ import annotations

import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


def test_exit_codes(tiffin: Run, base: str) -> None:
    for words, code in (
        (("sh", "-c", "exit 7"), 7),
        (("nothing-here",), 127),
        (("/etc/passwd",), 126),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137),
    ):
        assert tiffin("run", "--rm", base, *words, check=False).returncode == code
    assert tiffin("run", "--rm", "no-such-image:x", "--pull", "never", check=False).returncode == 125
    assert tiffin("run", "--rm", "--pull", "never", "no-such-image:x", check=False).returncode == 125
    assert tiffin("run", "--rm", "--user", "nobodyhere", base, "true", check=False).returncode == 125


def test_entrypoint_cmd_and_environment(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    tiffin("build", "-t", "e", context(f'FROM {base}\nENV A=1 B=2\nENTRYPOINT ["echo", "-n"]\nCMD ["cmd"]\nUSER app\n'))
    assert tiffin("run", "--rm", "e").stdout == "cmd"
    assert tiffin("run", "--rm", "e", "other").stdout == "other"
    assert tiffin("run", "--rm", "--entrypoint", "id", "e", "-u").stdout == "1000\n"
    (tmp_path / "env").write_text("# comment\nB=file\nC=3\n")
    out = tiffin("run", "--rm", "--env-file", tmp_path / "env", "-e", "D=4", "--entrypoint", "env", "e").stdout
    assert {"A=1", "B=file", "C=3", "D=4", "HOME=/home/app"} <= set(out.splitlines())
    out = tiffin("run", "--rm", "-u", "0:5", "-w", "/new/dir", "--entrypoint", "sh", "e", "-c", "id; pwd").stdout
    assert out == "uid=0(root) gid=5 groups=5\n/new/dir\n"


def test_mounts_hosts_and_names(tiffin: Run, base: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/f").write_text("x")
    volume = f"{tmp_path}/data:/mnt/deep/data"
    tiffin("run", "--rm", "-v", volume, base, "sh", "-c", "cat /mnt/deep/data/f && echo y > /mnt/deep/data/g")
    assert (tmp_path / "data/g").read_text() == "y\n"
    read_only = tiffin("run", "--rm", "-v", f"{volume}:ro", base, "touch", "/mnt/deep/data/h", check=False)
    assert read_only.returncode == 1 and "Read-only" in read_only.stderr
    out = tiffin(
        *("run", "--rm", "--tmpfs", "/t:size=1m,mode=700", "--mount", f"type=bind,src={tmp_path}/data/f,dst=/one,ro"),
        *("--hostname", "box", "--add-host", "db:10.0.0.9", base),
        *("sh", "-c", "hostname; cat /one; stat -c %a /t; df -k /t | tail -1; grep db /etc/hosts"),
    ).stdout
    assert out.startswith("box\nx700\n") and "1024" in out and "10.0.0.9\tdb" in out


def test_read_only_root(tiffin: Run, base: str) -> None:
    done = tiffin("run", "--rm", "--read-only", "--tmpfs", "/tmp", base, "sh", "-c", "touch /tmp/x && ! touch /y")
    assert "Read-only" in done.stderr


def test_network_none_has_loopback_only(tiffin: Run, base: str) -> None:
    out = tiffin("run", "--rm", "--network", "none", base, "ip", "-o", "link").stdout
    assert out.count("\n") == 1 and "LOOPBACK,UP" in out


def test_rm_leaves_nothing_and_without_it_the_folder_stays(tiffin: Run, root: Path, base: str) -> None:
    tiffin("run", "--rm", base, "sh", "-c", "mkdir -m 000 /z; echo x > /x")
    assert list((root / "containers").iterdir()) == []
    tiffin("run", "--name", "kept", base, "sh", "-c", "echo x > /x; exit 3", check=False)
    (folder,) = (root / "containers").iterdir()
    assert (folder / "upper/x").read_text() == "x\n" and '"exit_code": 3' in (folder / "state.json").read_text()
    assert "is already in use" in tiffin("run", "--name", "kept", base, "true", check=False).stderr
    tiffin("system", "prune", "-f")
    assert list((root / "containers").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_command(root: Path, tiffin: Run, base: str, number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "run", "--rm", base, "sh", "-c", script]
    process = subprocess.Popen(tool, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == "got\n"
    assert process.returncode == 9


def test_killed_container_is_swept_by_the_next_command(root: Path, tiffin: Run, base: str) -> None:
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "run", "--rm", base, "sh", "-c", "echo up; sleep 100"]
    process = subprocess.Popen(tool, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.kill()
    process.communicate(timeout=10)
    tiffin("run", "--rm", base, "true")
    assert list((root / "containers").iterdir()) == []


def test_stdin_only_with_interactive(tiffin: Run, base: str) -> None:
    assert tiffin("run", "--rm", base, "cat", input="text").stdout == ""
    assert tiffin("run", "--rm", "-i", base, "cat", input="text").stdout == "text"


def test_terminal_has_size_raw_mode_and_exit_code(root: Path, tiffin: Run, base: str) -> None:
    outer, inner = pty.openpty()
    ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    before = termios.tcgetattr(inner)
    script = "stty size; test -t 0 && echo tty; read line; echo got $line; exit 5"
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "run", "--rm", "-it", base, "sh", "-c", script]
    process = subprocess.Popen(tool, stdin=inner, stdout=inner, stderr=inner)
    text = _read_until(outer, b"tty\r\n")
    assert b"33 99" in text
    os.write(outer, b"word\r")
    text += _read_until(outer, b"got word")
    assert process.wait(10) == 5
    assert termios.tcgetattr(inner) == before
    os.close(outer)
    os.close(inner)


def _read_until(fd: int, wanted: bytes) -> bytes:
    data, deadline = b"", time.monotonic() + 10
    while wanted not in data:
        assert time.monotonic() < deadline, data
        data += os.read(fd, 4096)
    return data

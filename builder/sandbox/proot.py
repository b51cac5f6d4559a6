"""PRoot: runs a command in a root directory by translating its system calls with ptrace. It needs no privilege at all.

It pretends to be root and forgets what was chowned; it is slow, and used only when asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"  # never $PATH: what is found runs every command
TRY_SECONDS = 20
TEMPORARY = "PROOT_TMP_DIR"  # in the environment: where its loader lies
BOUND = ("/dev", "/proc", "/sys")


def find() -> str:
    """The program's absolute path, "" if it is not installed."""
    return which("proot", path=SEARCH_PATH) or ""


def try_out(directory: Path) -> str:
    """Run a command that does nothing, with temporary files in `directory`; why it failed, "" if it did not."""
    argv = command("/", [sys.executable, "-I", "-S", "-c", ""], cwd="/", uid=0, gid=0)
    try:
        environ = {**os.environ, TEMPORARY: os.fspath(directory)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TRY_SECONDS, env=environ)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"proot failed: {exc}"
    return "" if done.returncode == 0 else f"proot failed: {(done.stderr.splitlines() or ['no reason given'])[-1]}"


def command(root: str, argv: Sequence[str], *, cwd: str, uid: int, gid: int) -> tuple[str, ...]:
    """The command that runs `argv` in `root` as `uid`, as far as the program sees."""
    words = [find(), "-r", root, "-w", cwd, "-i", f"{uid}:{gid}"]
    for path in BOUND:
        words += ["-b", path]
    return (*words, *argv)

"""kill -9 at any moment: the next build succeeds and cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = [pytest.mark.userns, pytest.mark.slow]
MOMENTS = 10


def test_killed_at_ten_moments(tiffin: Run, root: Path, base: str, context: Callable[..., Path]) -> None:
    text = (
        f"FROM {base} AS a\nRUN dd if=/dev/urandom of=/big bs=1M count=20 2>/dev/null && sleep 0.2\nFROM {base}\n"
        "COPY --from=a /big /big\nCOPY data /data\nRUN sleep 0.2 && echo done > /d\n"
    )
    folder = context(text, data=os.urandom(5 << 20))
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-t", "killed", "--no-cache", str(folder)]
    began = time.monotonic()
    subprocess.run(tool, check=True, capture_output=True)
    duration = time.monotonic() - began
    for moment in range(1, MOMENTS + 1):
        process = subprocess.Popen(tool, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(duration * moment / (MOMENTS + 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / "data").write_bytes(b"other")
    tiffin("build", "-t", "killed", folder)
    assert tiffin("run", "--rm", "killed", "cat", "/d", "/data").stdout == "done\nother"
    # the root fixture checks that no temporary file, mount or process is left


def test_interrupt_ends_the_build_at_once(root: Path, tiffin: Run, base: str, context: Callable[..., Path]) -> None:
    folder = context(f"FROM {base}\nRUN trap '' TERM INT; sleep 100\n")
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "build", str(folder)]
    process = subprocess.Popen(tool, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        while "RUN trap" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(10) == 130
        finally:
            process.kill()
            process.wait()


def test_several_builds_share_a_state_directory(
    root: Path, tiffin: Run, base: str, context: Callable[..., Path]
) -> None:
    folder = context(f"FROM {base}\nRUN sleep 0.5 && date +%s%N > /stamp\n")
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-q", str(folder)]
    running = [subprocess.Popen(tool, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = {process.communicate(timeout=60)[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(ids) == 1, "a step ran twice"

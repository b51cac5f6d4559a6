"""A docker daemon of this machine's own package for a benchmark."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.servers import TIED

START_SECONDS = 30
# no network of its own: builds and runs use the machine's
OPTIONS = ("--iptables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false", "--storage-driver=overlay2")


@contextlib.contextmanager
def running_docker(folder: Path) -> Iterator[Sequence[str]]:
    """The words of Debian's client (another on PATH may be newer and lack a part) to a daemon whose state is in
    `folder`; it ends with the block.
    """
    places = [f"--data-root={folder}/d", f"--exec-root={folder}/e", f"--pidfile={folder}/pid", f"-H=unix://{folder}/s"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([*TIED, "dockerd", *OPTIONS, *places], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "s").exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: dockerd does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield ["/usr/bin/docker", "-H", f"unix://{folder}/s"]
    finally:
        daemon.terminate()
        daemon.wait(START_SECONDS)
        _unmount_below(folder)  # the daemon leaves a network namespace


def _unmount_below(folder: Path) -> None:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed([place for place in places if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", place], check=True, capture_output=True)

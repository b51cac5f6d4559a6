"""A farm on this machine: a scheduler and workers of real processes, each with a state directory of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.servers import TIED

READY_SECONDS = 60
END_SECONDS = 20


class Node:
    """One process of a farm. `line` is what it says when it is ready."""

    def __init__(self, words: Sequence[str | Path], root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        self.log = root.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TIED, *tiffin(root), *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environ},
            )

    def ready(self) -> str:
        """Wait for its line."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_text()
            if text.endswith("\n") and ("://" in text):
                return text.strip().splitlines()[-1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"it is not ready: {self.log.read_text()}")

    def end(self) -> str:
        """End it as Ctrl-C does; return what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return self.log.read_text()


class TestFarm:
    """A scheduler with its workers, by name."""

    __test__ = False

    def __init__(self, folder: Path, environ: Mapping[str, str], options: Sequence[str | Path] = ()) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.workers: dict[str, Node] = {}
        self._environ = environ
        self._options = options
        self._scheduler = Node(
            ["farm", "scheduler", "--listen", "127.0.0.1:0", *options], folder / "scheduler", environ
        )
        self.address = self._scheduler.ready()

    def start(self, name: str, *words: str | Path) -> Node:
        """Start a worker; it is ready when its `ready` returns."""
        argv = ["farm", "worker", self.address, "--name", name, *self._options, *words]
        node = self.workers[name] = Node(argv, self.folder / name, self._environ)
        return node

    def end(self) -> None:
        """End all."""
        for node in self.workers.values():
            node.end()
        self._scheduler.end()

    def build(
        self, root: Path, *words: str | Path, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `tiffin build --farm` to its end."""
        argv = [*tiffin(root), "build", "--farm", self.address, *self._options, *words]
        return subprocess.run(
            list(map(str, argv)),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, **self._environ, **(environ or {})},
        )


def tiffin(root: Path) -> list[str]:
    """The words that run tiffin with a state directory."""
    return [sys.executable, "-m", "tiffin", "--root", str(root)]


@contextlib.contextmanager
def farm_of(
    folder: Path, workers: Mapping[str, Sequence[str | Path]], *, options: Sequence[str | Path] = (), **environ: str
) -> Iterator[TestFarm]:
    """A farm with these workers, each with words of its command line."""
    farm = TestFarm(folder, environ, options)
    try:
        for name, words in workers.items():
            farm.start(name, *words)
        for node in farm.workers.values():
            node.ready()
        yield farm
    finally:
        farm.end()

"""tiffin with a busybox image in a state directory, as the user who runs the tests or as an unprivileged one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.minimal_image import Files, write_image
from tests.support.unprivileged import Users, interpreter, remove_folder

TIMEOUT_SECONDS = 180  # the machine may be busy with other tests
ENDED_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # a container's command need not care about SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class CliRunner:
    """`folder` belongs to the user, `state` is below it. `python`, `env` and `identity` make a process theirs."""

    folder: Path
    python: str
    env: Mapping[str, str]
    identity: Mapping[str, object] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def argv(self, *words: str | Path) -> list[str]:
        return [self.python, "-m", "tiffin", "--root", str(self.state), *map(str, words)]

    def options(self, **more: str) -> dict[str, object]:
        """For subprocess: environment, directory, user."""
        return {"env": {**self.env, **more}, "cwd": self.folder, **self.identity}

    def run(
        self, *words: str | Path, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run tiffin to its end; `input` None is an stdin that nobody may read from."""
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            **stdin,
            **self.options(**(env or {})),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def output(self, *words: str | Path, **options: str) -> str:
        """What `tiffin run --rm WORDS` prints; it must succeed."""
        done = self.run("run", "--rm", *words, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str | Path, **options: object) -> subprocess.Popen[str]:
        """Run tiffin in the background, with pipes."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*ENDED_WITH_US, *self.argv(*words)], **{**pipes, **self.options(), **options})  # type: ignore[call-overload,no-any-return]

    def begin(self, *words: str | Path) -> str:
        """`run -d WORDS`, which must succeed; returns the id."""
        done = self.run("run", "-d", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def remove_containers(self) -> None:
        """All there are, with their volumes that have no name."""
        names = self.run("ps", "-aq").stdout.split()
        if names:
            assert self.run("rm", "-fv", *names).returncode == 0
        wait_until(lambda: not self.processes())

    def make_image(self, *layers: Files, name: str, config: Mapping[str, object] | None = None) -> str:
        """Another image in the state directory."""
        identity = write_image(self.state, *layers, name=f"docker.io/library/{name}:latest", config=config)
        self.own(self.state / "images")
        return identity

    def own(self, path: Path) -> None:
        """Give files the test made to the user."""
        if "user" in self.identity:
            subprocess.run(["chown", "-R", f"{self.identity['user']}:{self.identity['group']}", path], check=True)

    def left(self) -> list[str]:
        """Containers, temporary files, mounts and processes of the state directory."""
        found = [str(item) for name in ("containers", "tmp") for item in (self.state / name).glob("*")]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.state) in line]
        return found + [f"process {pid}" for pid in self.processes()]

    def processes(self) -> list[int]:
        """Whose command line names the state directory."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.fsencode(str(self.state)) in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found


@contextlib.contextmanager
def own_cli(folder: Path) -> Iterator[CliRunner]:
    """As the user who runs the tests."""
    write_image(folder / "state")
    yield CliRunner(folder=folder, python=sys.executable, env={**os.environ, "HOME": str(folder)})


@contextlib.contextmanager
def user_cli(users: Users, user: str | None = None) -> Iterator[CliRunner]:
    """As an unprivileged user, with subordinate ids if there are any unless another is named."""
    user = user or users.usual
    folder = Path(tempfile.mkdtemp(prefix="machine-", dir=users.home(user)))
    cli = CliRunner(
        folder=folder,
        python=interpreter(),
        env={**users.environ(user), "HOME": str(folder)},
        identity=users.identity(user),
    )
    try:
        write_image(cli.state)
        cli.own(folder)
        yield cli
    finally:
        remove_folder(folder)


def wait_until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)

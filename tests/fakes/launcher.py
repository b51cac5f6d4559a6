"""A launcher whose sandboxes are directories: commands are lines of a small language, and change the upper
directory.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child.spec import Bind, SandboxSpec
from tiffin.builder.sandbox.launch import ExitStatus, Launcher, Running, StepAbandoned

WAIT_SECONDS = 10
KNOWN = ("write", "mkdir", "remove", "meddle", "say", "complain", "show", "exit", "sleep", "wish")


class FakeRunning(Running):
    """A command that runs in a thread (the contract of Running: one waits, any may kill)."""

    def __init__(self, spec: SandboxSpec, stdout: int, stderr: int) -> None:
        self._spec = spec
        self._streams = os.dup(stdout), os.dup(stderr)
        self._status: ExitStatus | SandboxError = ExitStatus(code=0)
        self._killed = threading.Event()
        self._end = os.pipe2(os.O_CLOEXEC)  # readable once the command has ended
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def await_start(self) -> bool:
        return not (words := self._text().split()) or words[0] in KNOWN

    def wait(self) -> ExitStatus:
        self._thread.join()
        os.close(self._end[0])
        if isinstance(self._status, SandboxError):
            raise self._status
        return self._status

    def fileno(self) -> int:
        return self._end[0]

    def kill(self, number: int) -> None:
        if number == signal.SIGKILL:
            self._killed.set()

    def _run(self) -> None:
        try:
            for line in self._text().splitlines():
                status = self._line(shlex.split(line))
                if status is not None:
                    self._status = status
                    return
        except SandboxError as exc:
            self._status = exc
        finally:
            for fd in (*self._streams, self._end[1]):
                os.close(fd)

    def _text(self) -> str:
        """What the command says, or the script that it names."""
        argv = self._spec.argv
        said = argv[-1] if argv[0] in ("/bin/sh", "sh") else shlex.join(argv)
        scripts = [mount for mount in self._spec.mounts if isinstance(mount, Bind) and mount.path == said]
        return Path(scripts[0].host_path).read_text().partition("\n")[2] if scripts else said

    def _line(self, words: list[str]) -> ExitStatus | None:
        """Do one thing; how the command ended, if with that."""
        match words:
            case ["write", path, text]:
                self._at(path).write_text(text)
            case ["mkdir", path]:
                self._at(path).mkdir()
            case ["remove", path]:
                assert self._spec.root_dir, "there is nobody who could make a whiteout"
                (Path(self._spec.root_dir) / path.strip("/")).unlink()
            case ["meddle", path]:
                Path(path).write_text("by somebody else, on the machine")
            case ["say", text]:
                os.write(self._streams[0], f"{text}\n".encode())
            case ["complain", text]:
                os.write(self._streams[1], f"{text}\n".encode())
            case ["show", path]:
                os.write(self._streams[0], self._seen(path.strip("/")))
            case ["exit", code]:
                return ExitStatus(code=int(code))
            case ["sleep"]:
                assert self._killed.wait(WAIT_SECONDS), "nobody killed it"
                return ExitStatus(code=128 + signal.SIGKILL)
            case ["wish", what]:
                if not self._spec.emulated:
                    raise StepAbandoned(what)
            case ["break", reason]:
                raise SandboxError(reason, remedy="see tiffin info")
            case []:
                return None
            case _:
                return ExitStatus(code=127, message="not found")
        return None

    def _at(self, path: str) -> Path:
        place = Path(self._spec.root_dir or self._spec.upper_dir) / path.strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _seen(self, path: str) -> bytes:
        trees = [self._spec.root_dir] if self._spec.root_dir else [self._spec.upper_dir, *self._spec.lower_dirs[::-1]]
        found = (Path(tree) / path for tree in trees)
        return next((place.read_bytes() for place in found if place.is_file()), b"(nothing)\n")


class FakeLauncher(Launcher):
    """Keeps the specs of what it started."""

    def __init__(self) -> None:
        self.specs: list[SandboxSpec] = []
        self.is_closed = False

    def run(self, spec: SandboxSpec, *, stdin: int, stdout: int, stderr: int, way_out: int | None = None) -> Running:
        assert not self.is_closed
        self.specs.append(spec)
        return FakeRunning(spec, stdout, stderr)

    def close(self) -> None:
        self.is_closed = True

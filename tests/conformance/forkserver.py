"""tiffin's commands from a process that has its modules loaded: each runs in a fork, so nothing is shared but the
imports.

Run as a program it reads one JSON request a line (`argv`, `env`, `cwd`, `stdin`, `out`: paths of files) and answers
with the exit code. `ForkServer` is the client.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

COMMAND_SECONDS = 60
END_SECONDS = 5  # for a launcher to see that its command has ended, on a busy machine
PACKAGES = ("tiffin",)
LAZY = ("dockerfile_parse", "diskcache", "sqlite3", "zlib_ng.zlib_ng", "zstandard")  # loaded by functions of ours


class ForkServer:
    """Runs tiffin commands one after the other."""

    def __init__(self, folder: Path, argv: Sequence[str] = (), **options: object) -> None:
        """`argv` (of this program; arguments are modules to load too) and `options` (of Popen) start it otherwise
        than as whoever runs the tests.
        """
        self._out = folder
        checkout = Path(__file__).parents[2]
        own: dict[str, object] = {"env": {**os.environ, "PYTHONPATH": str(checkout)}, "cwd": checkout}
        self._process = subprocess.Popen(  # type: ignore[call-overload]
            list(argv) or [sys.executable, "-m", "tests.conformance.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            **(options or own),
        )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(COMMAND_SECONDS)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        umask: int = 0o022,
        seconds: int = COMMAND_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run `tiffin ARGV` with exactly `env`, for `seconds` at most."""
        assert self._process.stdin and self._process.stdout
        (self._out / "stdin").write_bytes(stdin)
        request = {"argv": list(argv), "env": dict(env), "cwd": str(cwd), "out": str(self._out), "umask": umask}
        request["seconds"] = seconds
        self._process.stdin.write(json.dumps(request) + "\n")
        code = int(self._process.stdout.readline())
        texts = [(self._out / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(argv, code, *texts)

    def left(self) -> list[str]:
        """Processes that commands left behind, by name. Who dies with a command has a moment to do so."""
        until = time.monotonic() + END_SECONDS
        while (names := self._children()) and time.monotonic() < until:
            time.sleep(0.01)
        return names

    def _children(self) -> list[str]:
        """The server's children: processes of ended commands become that."""
        names = []
        server = self._process.pid
        for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                _, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")
                name, _, fields = rest.rpartition(")")
                names += [f"{name} ({pid})"] if fields.split()[0] != "Z" else []
        return names


def load_all(*more: str) -> None:
    """Load what commands may load, and the modules `more`, so that no fork loads it again."""
    modules = [found.name for name in PACKAGES for found in pkgutil.walk_packages([name], f"{name}.")]
    for name in (*modules, *LAZY, *more):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def _serve() -> None:
    load_all(*sys.argv[1:])
    from tiffin.builder.sandbox.child import kernel

    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # a fork need not copy what is never collected
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


def become(request: Mapping[str, object]) -> None:
    from tiffin.builder.__main__ import main

    out = str(request["out"])
    modes = {0: ("stdin", os.O_RDONLY), 1: ("stdout", os.O_WRONLY), 2: ("stderr", os.O_WRONLY)}
    for fd, (name, flags) in modes.items():
        opened = os.open(f"{out}/{name}", flags | (os.O_CREAT | os.O_TRUNC if fd else 0), 0o644)
        os.dup2(opened, fd)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]  # JSON of ours: texts
    os.chdir(str(request["cwd"]))
    os.umask(int(str(request["umask"])))
    sys.argv = ["tiffin", *request["argv"]]  # type: ignore[misc]  # likewise
    signal.alarm(int(str(request["seconds"])))  # ends a command that hangs
    code = 1
    try:
        main()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # taking down an interpreter with so many modules costs more than most commands


if __name__ == "__main__":
    _serve()

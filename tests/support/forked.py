"""tiffin's commands in forks of the test's own process, where they enter namespaces for real; what runs in a sandbox is
this Python, whose files are mounted, so nothing has to be installed. No root is needed, but user namespaces are.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.conformance.forkserver import become
from tests.support.minimal_image import write_image

SECONDS = 60
FOLDERS = ("usr", "etc", "tmp", "root", "srv", "opt")
LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # of a root like Debian's, into /usr
SLEEP = "import os, time, signal; signal.signal(15, lambda *_: os._exit(3)); print('up'); time.sleep(60)"
Begin = Callable[..., str]  # a name, flags, and the script
IMAGE = "docker.io/library/python:latest"


def python_mounts() -> list[str]:
    """The flags that mount this Python's files."""
    places = {"/usr", sys.base_prefix, os.path.dirname(sysconfig.get_config_var("LIBDIR") or "/usr/lib")}
    outer = [place for place in places if not any(place.startswith(f"{other}/") for other in places)]
    real = [f"/{name}" for name in LINKS if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")]
    return [word for place in sorted((*outer, *real)) for word in ("-v", f"{place}:{place}:ro")]


PYTHON_MOUNTS = python_mounts()
INTERPRETER = os.path.realpath(sys.executable)


def python(script: str) -> list[str]:
    """The words of a command that runs a script."""
    return [INTERPRETER, "-ISuc", textwrap.dedent(script)]


def python_image(state: Path) -> None:
    """Make the image in which Python's files can be mounted."""
    links = {name: f"-> {os.readlink(f'/{name}')}" for name in LINKS if os.path.islink(f"/{name}")}
    folders = dict.fromkeys((*FOLDERS, *(name for name in LINKS if os.path.isdir(f"/{name}"))))
    users = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n"
    files: dict[str, bytes | str | None] = {
        **folders,
        **links,
        "etc/passwd": users,
        "etc/group": "root:x:0:\nwww:x:33:\n",
    }
    write_image(state, files, name=IMAGE)


class Forked:
    """Runs commands on one state directory, each in a fork."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self._folder = folder

    def __call__(
        self,
        *words: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        before: Callable[[], object] = lambda: None,
        ended: Callable[[int], object] = lambda pid: None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a line; `before` is done in the fork; `ended` is called with its number before it is reaped."""
        argv = ["--root", str(self.root), *map(str, words)]
        (self._folder / "stdin").write_bytes(stdin)
        request = {"argv": argv, "env": {**os.environ, **(env or {})}, "cwd": str(self._folder), "umask": 0o022}
        child = os.fork()
        if not child:
            for fd, name in enumerate(("stdin", "stdout", "stderr")):  # pytest's own are in their place
                setattr(sys, name, io.TextIOWrapper(io.FileIO(fd, "w" if fd else "r", closefd=False)))
            before()
            become({**request, "out": str(self._folder), "seconds": SECONDS})
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        ended(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [(self._folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        done = subprocess.CompletedProcess(argv, code, *texts)
        assert "Traceback" not in done.stderr, done.stderr
        assert not check or code == 0, done.stderr
        return done

    def python(self, script: str, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script in a sandbox, with the image of `python_image`."""
        return self("run", *flags, *PYTHON_MOUNTS, "python", *python(script), check=check)


def wait_for(what: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a function says yes."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)

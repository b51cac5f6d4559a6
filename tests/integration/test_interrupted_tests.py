"""Tests that are interrupted, or killed, leave no server running, and for the next run no user and no directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.cli_runner import wait_until
from tests.support.servers import TIED

pytestmark = pytest.mark.network
FORKED = ("-p", "tests.support.workers", "--workers", "1")
SECONDS = 30  # a worker of xdist takes five to notice
WAITING = """
    import os
    import subprocess
    import time

    from tests.support.cache_servers import running_nginx, running_redis
    from tests.support.servers import running_git, running_registry


    def test_that_does_not_end(tmp_path):
        (tmp_path / "nginx").mkdir()
        with (
            running_registry(tmp_path),
            running_redis(tmp_path),
            running_nginx(tmp_path / "nginx"),
            running_git(tmp_path, tmp_path / "git.log"),
        ):
            with open(os.environ["SAID"] + ".part", "w") as file:
                file.write(str(tmp_path))
            os.rename(os.environ["SAID"] + ".part", os.environ["SAID"])
            time.sleep(1000)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """pytest in the midst of a test with servers, which name `folder` as argument or are in it."""

    process: subprocess.Popen[bytes]
    said: Path

    @property
    def folder(self) -> str:
        return self.said.read_text()

    def has_no_servers(self) -> bool:
        return not self.servers()

    def servers(self) -> dict[int, str]:
        """Names of the programs that run."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words, place = Path(f"/proc/{pid}/cmdline").read_bytes(), os.readlink(f"/proc/{pid}/cwd")
                if os.fsencode(self.folder) in words or place.startswith(self.folder):
                    found[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found


@contextlib.contextmanager
def started(folder: Path, *words: str) -> Iterator[Session]:
    folder.mkdir()
    (folder / "test_waiting.py").write_text(textwrap.dedent(WAITING))
    said = folder / "said"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
    ]
    environ = {**os.environ, "SAID": str(said), "PYTHONPATH": str(CHECKOUT)}
    for name in [name for name in environ if name.startswith("PYTEST_")]:
        del environ[name]
    with (folder / "log").open("wb") as log:
        argv += [f"--basetemp={folder / 'tmp'}", *words, str(folder / "test_waiting.py")]
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environ, cwd=folder)
    session = Session(process=process, said=said)
    try:
        yield session
    finally:
        process.kill()
        process.wait()
        for pid in session.servers() if said.exists() else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("workers", [(), ("-n", "1"), FORKED], ids=["alone", "xdist", "forked"])
def test_no_server_is_left(tmp_path: Path, workers: tuple[str, ...]) -> None:
    with contextlib.ExitStack() as stack:
        sessions = {
            number: stack.enter_context(started(tmp_path / number.name, *workers))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        }
        for number, session in sessions.items():
            wait_until(session.said.exists, seconds=SECONDS)
            assert {"docker-registry", "redis-server", "nginx", "git-daemon"} <= {*session.servers().values()}
            session.process.send_signal(number)
        for number, session in sessions.items():
            wait_until(session.has_no_servers, seconds=SECONDS)
            assert session.process.wait(SECONDS) == (
                -number if number == signal.SIGKILL else pytest.ExitCode.INTERRUPTED
            )


PREPARED = """
import os
import shutil
import sys
from pathlib import Path

from tests.support.unprivileged import Users

shutil.copytree = lambda *words, **options: None  # it is the places that count here
with Users.prepared(Path(sys.argv[1])) as users:
    made = map(users.name, users.names) if os.getuid() == 0 else ()
    print(users.code, *made, *users.homes.values(), flush=True)
    sys.stdin.read()
"""


def test_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """But nothing of one that goes on."""
    (tmp_path / "tmp").mkdir()
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(tmp_path / "tmp")}

    def prepared() -> tuple[subprocess.Popen[str], list[str]]:
        argv = [*TIED, sys.executable, "-c", PREPARED, str(tmp_path)]
        run = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        stack.callback(run.communicate)
        assert run.stdout is not None
        return run, run.stdout.readline().split()

    def there(names: list[str]) -> list[str]:
        users = {entry.pw_name for entry in pwd.getpwall()}
        return [name for name in names if (Path(name).exists() if "/" in name else name in users)]

    with contextlib.ExitStack() as stack:
        killed, left = prepared()
        _, others = prepared()
        killed.kill()
        killed.wait()
        assert there(left) == left and len(left) >= 2
        _, own = prepared()
        assert there(left) == []
        assert there(others) == others and there(own) == own
    assert {item.name for item in (tmp_path / "tmp").iterdir()} <= {"tiffin-users.lock"}

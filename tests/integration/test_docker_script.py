"""A script written for docker: the same assertions hold with Debian's docker and its daemon, and with tiffin."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.minimal_image import write_image
from tests.support.servers import TIED, free_port
from tests.support.unprivileged import Users

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.xdist_group("docker-script")]
SCRIPTS = sorted(path for path in Path(__file__).with_name("docker_script").glob("*.sh") if path.name != "lib.sh")
ENGINES = ("docker", "self", "user")
# docker-compose takes a second for each call: with $TIFFIN_WHOLE_SCRIPT these run, too
SLOW = set() if os.environ.get("TIFFIN_WHOLE_SCRIPT") else {("docker", "compose"), ("self", "compose")}
CASES = [(name, path) for name in ENGINES for path in SCRIPTS if (name, path.stem) not in SLOW]
LEAST_ASSERTIONS = 469  # of all scripts; it grows with them
START_SECONDS = 30
SCRIPT_SECONDS = 300
CONFIG = {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Whose `docker` a script calls; `run` executes a command as its user, in a directory."""

    name: str
    folder: Path
    argv: tuple[str, ...]  # before a command
    env: Mapping[str, str]
    options: Mapping[str, object]
    own: Callable[[Path], None]

    def run(self, script: Path) -> list[str]:
        """Return the lines that a script prints."""
        place = self.folder / script.stem
        place.mkdir()
        copy = shutil.copytree(script.parent, self.folder / "scripts", dirs_exist_ok=True)
        self.own(self.folder)
        env = {**self.env, "LIB": f"{copy}/lib.sh", "ENGINE": self.name, "PORT": str(free_port())}
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            [*self.argv, "sh", "-c", 'cd "$1" && exec sh "$2"', "sh", str(place), f"{copy}/{script.name}"],
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            stdin=subprocess.DEVNULL,
            env=env,
            **self.options,
        )
        assert "Traceback" not in done.stderr, done.stderr
        lines = done.stdout.splitlines()
        wrong = [line for line in lines if line.startswith("not ok")]
        assert not wrong, "\n".join([*wrong, done.stderr[-4000:]])
        assert done.returncode == 0, done.stderr
        return lines


def tiffin_engine(cli: CliRunner) -> Engine:
    """tiffin as `docker` and `docker-compose` on PATH."""
    write_image(cli.state, config=CONFIG)
    programs = cli.folder / "bin"
    programs.mkdir()
    for name, words in (("docker", cli.argv()), ("docker-compose", cli.argv("compose"))):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (programs / name).chmod(0o755)
    env = {**cli.env, "PATH": f"{programs}:{os.environ['PATH']}"}
    return Engine(name="tiffin", folder=cli.folder, argv=(), env=env, options=cli.identity, own=cli.own)


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[Engine]:
    """Debian's docker, its daemon in a network namespace of its own."""
    socket = folder / "s"
    command = (
        f"ip link set lo up; exec dockerd --storage-driver=overlay2 --data-root={folder}/d --exec-root={folder}/e"
        f" --pidfile={folder}/pid -H unix://{socket}"
    )
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [*TIED, "unshare", "--net", "--mount", "sh", "-c", command], stdout=log, stderr=log, cwd=folder
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "docker").symlink_to("/usr/bin/docker")
        env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DOCKER_HOST": f"unix://{socket}"}
        inside = ("nsenter", "--target", str(daemon.pid), "--net", "--mount")
        write_image(folder / "state", config=CONFIG)
        image = subprocess.run(
            ["python3", "-m", "tiffin", "--root", folder / "state", "save", "minimal"],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        ).stdout
        subprocess.run([*inside, "docker", "load", "-q"], input=image, check=True, capture_output=True, env=env)
        yield Engine(name="docker", folder=folder, argv=inside, env=env, options={}, own=lambda path: None)
    finally:
        daemon.terminate()
        daemon.wait(START_SECONDS)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("script")
    if request.param == "docker":
        if os.getuid() != 0:
            pytest.skip("Debian's docker daemon takes root")
        with docker_engine(folder) as made:
            yield made
    elif request.param == "self":
        with own_cli(folder) as cli:
            yield tiffin_engine(cli)
    else:
        users: Users = request.getfixturevalue("users")
        with user_cli(users) as cli:
            yield tiffin_engine(cli)


@pytest.mark.parametrize(
    ("engine", "script"), CASES, indirect=["engine"], ids=[f"{name}-{path.stem}" for name, path in CASES]
)
def test_every_assertion_holds(engine: Engine, script: Path) -> None:
    lines = engine.run(script)
    texts = [line for line in lines if line.startswith("ok - ")]
    assert texts
    assert len(set(texts)) == len(texts), "two assertions of one text"
    differences = (CHECKOUT / "docs/differences.md").read_text()
    for line in lines:
        if line.startswith("differs - "):
            assert line.removeprefix("differs - ") in differences


def test_there_are_enough() -> None:
    words = ("equal", "contains", "lacks", "matches", "succeeds", "fails", "eventually", "differs")
    count = sum(line.split(" ")[0] in words for path in SCRIPTS for line in path.read_text().splitlines())
    assert count >= LEAST_ASSERTIONS

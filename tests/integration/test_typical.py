"""Well-known kinds of Dockerfile, in their usual style (tests/dockerfiles): each builds and does what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, assert_nothing_left

FOLDER = CHECKOUT / "tests/dockerfiles"
BUILD_SECONDS = 600
SMALL, FULL = "small", "full"  # bases: busybox, Debian


@dataclass(frozen=True, slots=True)
class Kind:
    """A Dockerfile, its base, a part of what the run prints, and more words for build and run."""

    name: str
    base: str
    output: str
    build: Sequence[str] = ()
    run: Sequence[str] = ()


SERVE = (
    'nginx && perl -MIO::Socket::UNIX -e \'$s=IO::Socket::UNIX->new("/run/web"); print $s "GET / '
    "HTTP/1.0\\r\\n\\r\\n\"; print <$s>'"
)
PING = (
    "redis-server --port 0 --unixsocket /data/s --daemonize yes >/dev/null;"
    " until redis-cli -s /data/s ping 2>/dev/null; do sleep 0.1; done"
)
KINDS = (
    Kind("entrypoint", SMALL, "serving on 8080 in /app\n"),
    Kind("heredocs", SMALL, "name=lunch\nraw=${NAME}\na\nb\nawk\nhello box\n"),
    Kind("onbuild", SMALL, "LUNCH\nproduction\n"),
    Kind("monorepo", SMALL, "web\nshared\npackages/api/manifest\npackages/shared/manifest\n", ("--target", "web")),
    Kind("secrets", SMALL, "5\n", ("--secret", "id=netrc,env=NETRC", "--secret", "id=token,env=TOKEN")),
    Kind("alpine-style", SMALL, "2000\n2000 2000\n"),
    Kind("c-scratch", FULL, "static\n"),
    Kind("cron", FULL, "lunch", run=("crontab", "-l")),
    Kind("distroless", FULL, "/etc/passwd: ASCII text\n"),
    Kind("java-app", FULL, "java a b\n", run=("a", "b")),
    Kind("nginx-static", FULL, "<h1>lunch</h1>", run=("sh", "-c", SERVE)),
    Kind("php-cli", FULL, 'php {"lunch":true}\n'),
    Kind("postgres", FULL, "42", run=("sh", "-c", "echo 'select 6*7' | postgres --single postgres")),
    Kind("redis", FULL, "PONG\n", run=("sh", "-c", PING)),
    Kind("ruby-app", FULL, "ruby production true\n"),
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state directory for all, so that packages are downloaded once."""
    path = tmp_path_factory.mktemp("typical")
    yield path
    assert_nothing_left(path)


def tiffin(state: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tiffin", "--root", str(state), *map(str, words)]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), "NETRC": "machine a", "TOKEN": "12345"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_SECONDS, env=environ, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def check(state: Path, kind: Kind, base: str) -> None:
    name = f"typical-{kind.name}"
    build = [
        "build",
        "--progress",
        "plain",
        "-t",
        name,
        "--build-arg",
        f"BASE={base}",
        *kind.build,
        str(FOLDER / kind.name),
    ]
    first = tiffin(state, *build)
    assert kind.output in tiffin(state, "run", "--rm", name, *kind.run).stdout
    again = tiffin(state, *build)
    assert again.stdout == first.stdout and " DONE " not in again.stderr


@pytest.mark.userns
@pytest.mark.xdist_group("debian")  # one worker, which has the state directory
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.base == SMALL], ids=lambda kind: kind.name)
def test_small(state: Path, busybox: Path, kind: Kind) -> None:
    tiffin(state, "build", "-q", "-t", "busybox:base", busybox)
    check(state, kind, "busybox:base")


@pytest.mark.userns
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.xdist_group("debian")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.base == FULL], ids=lambda kind: kind.name)
def test_on_debian(state: Path, debian: str, kind: Kind) -> None:
    check(state, kind, debian)


def test_every_folder_is_tested() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {kind.name for kind in KINDS}

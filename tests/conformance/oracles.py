"""Real builders: BuildKit in the newest docker.io that Debian has, with a daemon of its own, and buildah."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.conformance.case import Case
from tests.conformance.images import Base, Result, read_result
from tests.support.servers import TIED

START_SECONDS = 30
BUILD_SECONDS = 120


class OracleError(Exception):
    """An oracle cannot tell what it built."""


class Oracle(Protocol):
    """A builder to compare with."""

    @property
    def name(self) -> str: ...

    def load(self, archive: Path, name: str) -> None:
        """Take a base image."""

    def build(self, case: Case, work: Path, bases: Sequence[Base]) -> Result:
        """Build a case whose files are in `work`."""


class _SocketConnection(http.client.HTTPConnection):
    """HTTP to a daemon on a socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKit:
    """buildx with a docker daemon that has a root directory of its own, `inside` which the client runs too."""

    inside: Sequence[str]
    socket: Path
    name: str = "buildkit"

    @property
    def docker(self) -> list[str]:
        """The client, connected with the daemon."""
        return [*self.inside, "/usr/bin/docker", "-H", f"unix://{self.socket}"]

    def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A request of Docker's API."""
        with contextlib.closing(_SocketConnection(self.socket)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/x-tar"})
            response = connection.getresponse()
            data = response.read()
        if response.status >= 300:
            raise OracleError(data.decode(errors="replace"))
        return data

    def load(self, archive: Path, name: str) -> None:
        answer = self._ask("POST", "/images/load", archive.read_bytes())
        assert b'"error"' not in answer, f"{name}: {answer!r}"

    def build(self, case: Case, work: Path, bases: Sequence[Base]) -> Result:
        # files of another case with the same names, sizes and times would be taken for those of this one
        self._ask("POST", f"/build/prune?filters={urllib.parse.quote(json.dumps({'type': {'source.local': True}}))}")
        environ = {**os.environ, **case.env, "BUILDKIT_PROGRESS": "plain", "DOCKER_HOST": f"unix://{self.socket}"}
        network = [] if any(flag.startswith("--network") for flag in case.flags) else ["--network=host"]
        client = [*self.inside, f"--wdns={work}", "/usr/libexec/docker/cli-plugins/docker-buildx"]
        done = _run([*client, "build", "--no-cache", *network, "-t", "result", *case.argv(work)], case, work, environ)
        if done.returncode:
            assert "unexpected EOF" not in done.stderr and "docker daemon" not in done.stderr, (
                f"{case.id} ended dockerd"
            )
            return {"error": _buildkit_error(done.stderr)}
        archive = work / "result.tar"
        archive.write_bytes(self._ask("GET", "/images/result/get"))
        return read_result(archive, bases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah:
    """buildah bud, with Docker's image format; its history is of its own kind and left out."""

    folder: Path
    name: str = "buildah"

    @property
    def _command(self) -> list[str]:
        places = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "overlay"]
        return ["buildah", *places]

    def load(self, archive: Path, name: str) -> None:
        argv = [*self._command, "pull", "-q", f"docker-archive:{archive}"]
        subprocess.run(argv, check=True, capture_output=True, env=self._environ({}))

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, **more, "CONTAINERS_REGISTRIES_CONF": f"{self.folder}/registries.conf"}

    def build(self, case: Case, work: Path, bases: Sequence[Base]) -> Result:
        options = ["--isolation", "chroot", "--format", "docker", "--no-cache", "--network", "host", "--pull-never"]
        argv = [*self._command, "bud", *options, "-t", "localhost/result", *case.argv(work)]
        done = _run(argv, case, work, self._environ(case.env))
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("Error")]
            return {"error": (lines or done.stderr.splitlines() or ["?"])[-1]}
        archive = work / "buildah.tar"
        push = [*self._command, "push", "-q", "localhost/result", f"docker-archive:{archive}"]
        done = subprocess.run(push, capture_output=True, text=True, env=self._environ({}), check=False)
        if done.returncode:
            return {"error": done.stderr.strip()}
        result = read_result(archive, bases)
        result["config"].get("Labels", {}).pop("io.buildah.version", None)
        result["config"] = {key: value for key, value in result["config"].items() if value and key != "Hostname"}
        del result["history"]
        return result


def _run(argv: Sequence[str], case: Case, work: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=work,
        env=environ,
        input=case.stdin,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )


def _buildkit_error(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    text = lines[-1] if lines else ""
    text = re.sub(
        r"^(ERROR: |failed to build: |failed to solve: |rpc error: code = \w+ desc = )+",
        "",
        text,
    )
    text = re.sub(r"failed to (create LLB definition|build LLB|read dockerfile|parse.*?): ", "", text)
    text = re.sub(r"sha256:[0-9a-f]{64}|[0-9a-z-]{25,36}::[0-9a-z]{25}", "ID", text)
    return re.sub(r"/\S*/(buildkit-mount|overlay2/)\w+\S*", "PATH", text)


NEWEST_SUITE = "sid"  # its docker.io is at most months behind
_PACKAGES = "docker.io,docker-cli,docker-buildx,git,iptables,ca-certificates,xz-utils"
# $1 is the root, $2 a folder that is in it by the same name; the rest is the daemon's command
_ENTER = """
mkdir -p "$1$2" && mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev" &&
mount --bind "$2" "$1$2" && root=$1 && shift 2 && exec chroot "$root" "$@"
"""


def make_newest_root(root: Path) -> None:
    """A root directory with Debian's newest docker, by the mirror that this machine uses."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], check=True, capture_output=True, text=True
    )
    source = f"deb [trusted=yes] {asked.stdout.split()[0]} {NEWEST_SUITE} main"  # a snapshot's key may have gone
    options = ["--variant=apt", f"--include={_PACKAGES}", '--aptopt=Acquire::Check-Valid-Until "false"']
    subprocess.run(["mmdebstrap", "-q", *options, NEWEST_SUITE, str(root), source], check=True)


@contextlib.contextmanager
def running_buildkit(folder: Path, root: Path | None = None) -> Iterator[BuildKit]:
    """The docker daemon of `root` (None: of this machine) with its state in `folder`, ended with the block; `folder`
    holds the cases too.
    """
    options = [
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        "--ip-forward=false",
        "--ip-masq=false",
        "--storage-driver=overlay2",
    ]
    places = [f"--data-root={folder}/d", f"--exec-root={folder}/e", f"--pidfile={folder}/pid", f"-H=unix://{folder}/s"]
    enter = ["unshare", "--mount", "--propagation=private", "sh", "-c", _ENTER, "enter", str(root), str(folder)]
    enter = enter if root else []
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([*TIED, *enter, "dockerd", *options, *places], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "s").exists():
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        inside = ["nsenter", f"--target={daemon.pid}", "--mount", f"--root=/proc/{daemon.pid}/root"]
        yield BuildKit(inside=inside if root else [], socket=folder / "s")
    finally:
        daemon.terminate()
        daemon.wait(START_SECONDS)
        _unmount_below(folder)  # the daemon leaves a network namespace


@contextlib.contextmanager
def prepared_buildah(folder: Path) -> Iterator[Buildah]:
    """buildah with stores in `folder`, which searches short names here only."""
    (folder / "registries.conf").write_text(
        'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
    )
    made = Buildah(folder=folder)
    try:
        yield made
    finally:
        _unmount_below(folder)


def _unmount_below(folder: Path) -> None:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed([place for place in places if place.startswith(f"{folder}/")]):
        subprocess.run(["umount", place], check=True, capture_output=True)

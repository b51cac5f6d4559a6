"""Real builders: BuildKit in Debian's docker.io with a daemon of its own, and buildah."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.conformance.case import Case
from tests.conformance.images import Base, Result, read_result

START_SECONDS = 30
BUILD_SECONDS = 120


class Oracle(Protocol):
    """A builder to compare with."""

    @property
    def name(self) -> str: ...

    def load(self, archive: Path, name: str) -> None:
        """Take a base image."""

    def build(self, case: Case, work: Path, bases: Sequence[Base]) -> Result:
        """Build a case whose files are in `work`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKit:
    """docker build with DOCKER_BUILDKIT=1."""

    docker: Sequence[str]
    name: str = "buildkit"

    def load(self, archive: Path, name: str) -> None:
        subprocess.run([*self.docker, "load", "-q", "-i", str(archive)], check=True, capture_output=True)

    def build(self, case: Case, work: Path, bases: Sequence[Base]) -> Result:
        environ = {**os.environ, **case.env, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
        network = [] if any(flag.startswith("--network") for flag in case.flags) else ["--network=host"]
        argv = [*self.docker, "build", "--no-cache", *network, "-t", "result", *case.argv(work)]
        done = _run(argv, case, work, environ)
        if done.returncode:
            assert "unexpected EOF" not in done.stderr and "docker daemon" not in done.stderr, (
                f"{case.id} ended dockerd"
            )
            return {"error": _buildkit_error(done.stderr)}
        archive = work / "result.tar"
        save = [*self.docker, "save", "-o", str(archive), "result"]
        done = subprocess.run(save, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{case.id}: {done.stderr}"
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
        r"^(ERROR: |failed to solve with frontend dockerfile.v0: |failed to solve: |rpc error: code = \w+ desc = )+",
        "",
        text,
    )
    text = re.sub(r"failed to (create LLB definition|build LLB|read dockerfile|parse.*?): ", "", text)
    text = re.sub(r"sha256:[0-9a-f]{64}|[0-9a-z]{25}::[0-9a-z]{25}", "ID", text)
    return re.sub(r"/\S*/(buildkit-mount|overlay2/)\w+\S*", "PATH", text)


@contextlib.contextmanager
def running_buildkit(folder: Path) -> Iterator[BuildKit]:
    """A docker daemon on a socket in `folder`, ended with the block."""
    options = [
        "--iptables=false",
        "--bridge=none",
        "--ip-forward=false",
        "--ip-masq=false",
        "--storage-driver=overlay2",
    ]
    places = [f"--data-root={folder}/d", f"--exec-root={folder}/e", f"--pidfile={folder}/pid", f"-H=unix://{folder}/s"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *options, *places], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "s").exists():
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield BuildKit(docker=["/usr/bin/docker", "-H", f"unix://{folder}/s"])
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

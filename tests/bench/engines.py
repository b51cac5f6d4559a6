"""The builders that are compared: how each is emptied, builds, pushes, pulls and runs."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.unprivileged import WITH_IDS, Users, interpreter

STORAGE_CONF = '[storage]\ndriver = "overlay"\n'
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run, as the unprivileged user or as root."""

    argv: Sequence[str]
    as_user: bool = True
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What commands took together: wall time, and the memory of the largest process (0 where a daemon does the work)."""

    seconds: float
    peak_bytes: int = 0


class Engine(Protocol):
    """One builder and runner."""

    @property
    def name(self) -> str: ...

    def reset(self) -> None:
        """Forget everything."""

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]: ...

    def pull(self, image: str) -> list[Command]:
        """Bring an image here, unpacked as far as a run needs it."""

    def run(self, image: str) -> list[Command]:
        """Run `true` in it."""


def measured(users: Users, commands: Sequence[Command]) -> Sample:
    """Run commands one after the other; stops at one that fails."""
    seconds, peak = 0.0, 0
    for command in commands:
        began = time.monotonic()
        process = _started(users, command)
        with process.stderr as stream:  # type: ignore[union-attr]  # it is a pipe
            errors = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds += time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = max(peak, usage.ru_maxrss * KIB)
        if process.returncode:
            raise SystemExit(f"{' '.join(command.argv)} failed: {errors[-2000:].decode('utf-8', 'replace')}")
    return Sample(seconds=seconds, peak_bytes=peak)


def _started(users: Users, command: Command) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ["PATH"], **command.env}
    if not command.as_user:
        return subprocess.Popen(
            list(command.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**env, "HOME": os.environ["HOME"]},
        )
    entry = pwd.getpwnam(WITH_IDS)
    return subprocess.Popen(
        list(command.argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd=entry.pw_dir,
        env={**env, "HOME": entry.pw_dir, "PYTHONPATH": f"{users.code}:{users.code / 'site'}", "XDG_RUNTIME_DIR": ""},
    )


def _args(args: Mapping[str, str]) -> list[str]:
    return [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiffin:
    """The project itself, as an unprivileged user with subordinate ids."""

    users: Users
    name: str = "tiffin"

    @property
    def _tool(self) -> list[str]:
        return [interpreter(), "-m", "builder"]

    def reset(self) -> None:
        measured(self.users, [Command(argv=[*self._tool, "system", "reset", "-f"])])

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]:
        words = ["build", "-q", *(["--push"] if push else []), "-t", image, *_args(args), str(context)]
        return [Command(argv=[*self._tool, *words])]

    def pull(self, image: str) -> list[Command]:
        return [Command(argv=[*self._tool, "pull", "-q", image]), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        return [Command(argv=[*self._tool, "run", "--rm", image, "true"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah:
    """Debian's buildah and podman, as the same user, with overlay."""

    users: Users
    name: str = "buildah"

    def prepare(self) -> None:
        conf = self.users.home(WITH_IDS) / ".config/containers/storage.conf"
        measured(self.users, [Command(argv=["mkdir", "-p", str(conf.parent)])])
        conf.write_text(STORAGE_CONF)

    def reset(self) -> None:
        home = self.users.home(WITH_IDS)
        measured(self.users, [Command(argv=["buildah", "unshare", "rm", "-rf", str(home / ".local/share/containers")])])

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]:
        options = ["--layers", "--isolation", "chroot", "--tls-verify=false", "--network", "host"]
        commands = [Command(argv=["buildah", "bud", *options, "-q", "-t", image, *_args(args), str(context)])]
        return [*commands, Command(argv=["buildah", "push", "-q", "--tls-verify=false", image])] if push else commands

    def pull(self, image: str) -> list[Command]:
        return [Command(argv=["podman", "pull", "-q", "--tls-verify=false", image]), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        podman = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--network=host"]
        return [Command(argv=[*podman, "--ulimit=nofile=1024:1024", image, "true"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Debian's docker.io with BuildKit: a warm daemon, as root."""

    users: Users
    docker: Sequence[str]
    name: str = "docker"

    def _command(self, *words: str) -> Command:
        return Command(argv=[*self.docker, *words], as_user=False, env={"DOCKER_BUILDKIT": "1"})

    def reset(self) -> None:
        measured(
            self.users, [self._command("system", "prune", "-af", "--volumes"), self._command("builder", "prune", "-af")]
        )

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]:
        commands = [self._command("build", "-q", "--network=host", "-t", image, *_args(args), str(context))]
        return [*commands, self._command("push", "-q", image)] if push else commands

    def pull(self, image: str) -> list[Command]:
        return [self._command("pull", "-q", image), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        return [self._command("run", "--rm", "--network=host", image, "true")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKit:
    """A BuildKit that runs already: `buildctl` named by TIFFIN_BENCH_BUILDCTL, its daemon by BUILDKIT_HOST."""

    users: Users
    buildctl: str
    name: str = "buildkit"

    def _command(self, *words: str) -> Command:
        host = os.environ.get("BUILDKIT_HOST", "")
        return Command(argv=[self.buildctl, *words], as_user=False, env={"BUILDKIT_HOST": host} if host else {})

    def reset(self) -> None:
        measured(self.users, [self._command("prune", "--all")])

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]:
        options = [f"--opt=build-arg:{name}={value}" for name, value in args.items()]
        output = f"type=image,name={image},push={'true' if push else 'false'},registry.insecure=true"
        places = [f"--local=context={context}", f"--local=dockerfile={context}"]
        return [self._command("build", "--frontend=dockerfile.v0", *places, *options, "--output", output)]

    def pull(self, image: str) -> list[Command]:
        return []

    def run(self, image: str) -> list[Command]:
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Kaniko:
    """A Kaniko executor image, named by TIFFIN_BENCH_KANIKO, run by docker; it keeps nothing and always pushes."""

    users: Users
    docker: Sequence[str]
    image: str
    name: str = "kaniko"

    def reset(self) -> None:
        """It has no state."""

    def build(self, context: Path, image: str, args: Mapping[str, str], *, push: bool) -> list[Command]:
        run = [*self.docker, "run", "--rm", "--network=host", "-v", f"{context}:/workspace:ro", self.image]
        options = ["--context", "dir:///workspace", "--destination", image, "--insecure", *_args(args)]
        return [Command(argv=[*run, *options], as_user=False)]

    def pull(self, image: str) -> list[Command]:
        return []

    def run(self, image: str) -> list[Command]:
        return []

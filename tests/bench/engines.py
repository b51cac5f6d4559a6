"""The builders that are compared: how each is emptied, builds, pushes, pulls and runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.measuring import Command, Place, measured

STORAGE_CONF = '[storage]\ndriver = "overlay"\n'
KEPT_CACHE = "cache"  # the tag of shared caches


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build. `cache` is the repository of a shared cache, which `fills` says to fill rather than to use; `splits`:
    large layers become several, `reads`: steps depend on what they read, where an engine can do that.
    """

    context: Path
    image: str
    args: Mapping[str, str] = field(default_factory=dict)
    push: bool = False
    cache: str = ""
    fills: bool = False
    splits: bool = False
    reads: bool = False


class Engine(Protocol):
    """One builder and runner. No commands: it has no such thing."""

    @property
    def name(self) -> str: ...

    @property
    def remembers(self) -> bool:
        """Whether it keeps anything between builds."""

    def reset(self) -> None:
        """Forget everything."""

    def build(self, job: BuildRequest) -> list[Command]: ...

    def pull(self, image: str) -> list[Command]:
        """Bring an image here, unpacked as far as a run needs it."""

    def run(self, image: str) -> list[Command]:
        """Run `true` in it."""


def _args(args: Mapping[str, str]) -> list[str]:
    return [word for name, value in args.items() for word in ("--build-arg", f"{name}={value}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiffin:
    """The project itself, as an unprivileged user with subordinate ids."""

    place: Place
    name: str = "tiffin"
    remembers: bool = True

    @property
    def _tool(self) -> list[str]:
        return [self.place.python, "-m", "tiffin"]

    def reset(self) -> None:
        measured(self.place, [Command(argv=[*self._tool, "system", "reset", "-f"])])

    def build(self, job: BuildRequest) -> list[Command]:
        trace = self.place.home / "trace.json"
        options = ["-q", "--profile", str(trace), *(["--push"] if job.push else []), *_args(job.args)]
        options += [*(["--split-layers"] if job.splits else []), *(["--cache-reads"] if job.reads else [])]
        if job.cache:
            options += [f"--cache-{'to' if job.fills else 'from'}=type=registry,ref={job.cache}-tiffin:{KEPT_CACHE}"]
        return [Command(argv=[*self._tool, "build", *options, "-t", job.image, str(job.context)], trace=trace)]

    def pull(self, image: str) -> list[Command]:
        return [Command(argv=[*self._tool, "pull", "-q", image]), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        return [Command(argv=[*self._tool, "run", "--rm", image, "true"])]

    def start(self, word: str) -> Command:
        """A command that does nothing but start."""
        return Command(argv=[*self._tool, word])


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah:
    """Debian's buildah and podman, as the same user, with overlay."""

    place: Place
    name: str = "buildah"
    remembers: bool = True

    def prepare(self) -> None:
        conf = self.place.home / ".config/containers/storage.conf"
        measured(self.place, [Command(argv=["mkdir", "-p", str(conf.parent)])])
        conf.write_text(STORAGE_CONF)

    def reset(self) -> None:
        store = self.place.home / ".local/share/containers"
        measured(self.place, [Command(argv=["buildah", "unshare", "rm", "-rf", str(store)])])

    def build(self, job: BuildRequest) -> list[Command]:
        options = ["--layers", "--isolation", "chroot", "--tls-verify=false", "--network", "host", "-q"]
        if job.cache:
            options += [f"--cache-{'to' if job.fills else 'from'}={job.cache}-buildah"]
        argv = ["buildah", "bud", *options, "-t", job.image, *_args(job.args), str(job.context)]
        push = Command(argv=["buildah", "push", "-q", "--tls-verify=false", job.image])
        return [Command(argv=argv), *([push] if job.push else [])]

    def pull(self, image: str) -> list[Command]:
        return [Command(argv=["podman", "pull", "-q", "--tls-verify=false", image]), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        podman = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--network=host"]
        return [Command(argv=[*podman, "--ulimit=nofile=1024:1024", image, "true"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """Debian's docker.io with BuildKit: a warm daemon, as root."""

    place: Place
    docker: Sequence[str]
    name: str = "docker"
    remembers: bool = True

    def _command(self, *words: str) -> Command:
        return Command(argv=[*self.docker, *words], as_user=False, env={"DOCKER_BUILDKIT": "1"})

    def reset(self) -> None:
        images, cache = ("system", "prune", "-af", "--volumes"), ("builder", "prune", "-af")
        measured(self.place, [self._command(*images), self._command(*cache)])

    def build(self, job: BuildRequest) -> list[Command]:
        options = ["-q", "--network=host", "-t", job.image, *_args(job.args)]
        if job.cache and job.fills:
            options += ["--build-arg", "BUILDKIT_INLINE_CACHE=1"]
        elif job.cache:
            options += ["--cache-from", f"{job.cache}-docker:{KEPT_CACHE}"]
        commands = [self._command("build", *options, str(job.context))]
        if job.cache and job.fills:
            kept = f"{job.cache}-docker:{KEPT_CACHE}"
            return [*commands, self._command("tag", job.image, kept), self._command("push", "-q", kept)]
        return [*commands, self._command("push", "-q", job.image)] if job.push else commands

    def pull(self, image: str) -> list[Command]:
        return [self._command("pull", "-q", image), *self.run(image)]

    def run(self, image: str) -> list[Command]:
        return [self._command("run", "--rm", "--network=host", image, "true")]


class _BuildsOnly:
    """What cannot pull and run."""

    def pull(self, image: str) -> list[Command]:
        return []

    def run(self, image: str) -> list[Command]:
        return []


@dataclass(frozen=True, kw_only=True)
class BuildKit(_BuildsOnly):
    """A BuildKit that runs already: `buildctl` named by TIFFIN_BENCH_BUILDCTL, its daemon by BUILDKIT_HOST."""

    place: Place
    buildctl: str
    name: str = "buildkit"
    remembers: bool = True

    def _command(self, *words: str) -> Command:
        host = os.environ.get("BUILDKIT_HOST", "")
        return Command(argv=[self.buildctl, *words], as_user=False, env={"BUILDKIT_HOST": host} if host else {})

    def reset(self) -> None:
        measured(self.place, [self._command("prune", "--all")])

    def build(self, job: BuildRequest) -> list[Command]:
        words = ["--frontend=dockerfile.v0", f"--local=context={job.context}", f"--local=dockerfile={job.context}"]
        words += [f"--opt=build-arg:{name}={value}" for name, value in job.args.items()]
        if job.cache:
            ref = f"type=registry,ref={job.cache}-buildkit:{KEPT_CACHE},registry.insecure=true"
            words += [f"--export-cache={ref},mode=max" if job.fills else f"--import-cache={ref}"]
        pushed = "true" if job.push else "false"
        words += ["--output", f"type=image,name={job.image},push={pushed},registry.insecure=true"]
        return [self._command("build", *words)]


@dataclass(frozen=True, kw_only=True)
class Kaniko(_BuildsOnly):
    """A Kaniko executor image, named by TIFFIN_BENCH_KANIKO, run by docker; it keeps nothing and always pushes."""

    place: Place
    docker: Sequence[str]
    image: str
    name: str = "kaniko"
    remembers: bool = False

    def reset(self) -> None:
        """It has no state."""

    def build(self, job: BuildRequest) -> list[Command]:
        run = [*self.docker, "run", "--rm", "--network=host", "-v", f"{job.context}:/workspace:ro", self.image]
        options = ["--context", "dir:///workspace", "--destination", job.image, "--insecure", *_args(job.args)]
        if job.cache:
            options += ["--cache=true", f"--cache-repo={job.cache}-kaniko", "--insecure-pull"]
        return [Command(argv=[*run, *options], as_user=False)]


@dataclass(frozen=True, kw_only=True)
class Other(_BuildsOnly):
    """Any builder, as root: TIFFIN_BENCH_OTHER is `NAME=COMMAND`, TIFFIN_BENCH_OTHER_RESET a command that empties it.

    `{context}`, `{image}`, `{args}` (as --build-arg NAME=VALUE) and `{push}` (true or false) in COMMAND are replaced.
    """

    place: Place
    name: str
    command: str
    reset_command: str = ""

    @property
    def remembers(self) -> bool:
        return bool(self.reset_command)

    def reset(self) -> None:
        if self.reset_command:
            measured(self.place, [Command(argv=["sh", "-c", self.reset_command], as_user=False)])

    def build(self, job: BuildRequest) -> list[Command]:
        if job.cache:
            return []
        values = {
            "context": shlex.quote(str(job.context)),
            "image": shlex.quote(job.image),
            "args": shlex.join(_args(job.args)),
            "push": "true" if job.push else "false",
        }
        return [Command(argv=["sh", "-c", self.command.format(**values)], as_user=False)]


@dataclass(frozen=True, kw_only=True)
class Python(_BuildsOnly):
    """`python3 -c pass`: what a command that starts is compared with."""

    place: Place
    name: str = "python"
    remembers: bool = False

    def reset(self) -> None:
        """It has no state."""

    def build(self, job: BuildRequest) -> list[Command]:
        return []

    def start(self, word: str) -> Command:
        return Command(argv=[self.place.python, "-c", "pass"])

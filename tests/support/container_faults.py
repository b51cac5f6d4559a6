"""Kill -9 at random moments of the life of containers, and look whether what is told of them is true afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cli_runner import CliRunner

LONGEST_SECONDS = 0.5  # from the beginning of a command to its end by force: most take less
SETTLE_SECONDS = 15.0
NAMES = ("one", "two", "three")
COMPOSE = """\
name: faults
services:
  base: {image: minimal, command: sleep 1000, volumes: ["data:/data"], stop_grace_period: 0s,
    healthcheck: {test: "true", interval: 100ms, start_interval: 100ms, start_period: 5s}}
  above: {image: minimal, command: sleep 1000, stop_grace_period: 0s, depends_on: {base: {condition: service_healthy}}}
volumes: {data: {}}
"""
GROUP = r"tiffin-[0-9a-f]"  # how the name of a container's control group begins
OF_OTHER_TESTS = "tiffin-test-"  # groups that were made for limits; another test may run beside this one


@dataclass
class Faults:
    """One run of rounds, by a seed that makes it the same again."""

    cli: CliRunner
    seed: int
    told: list[str] = field(default_factory=list)  # what was done, for who has to look into a failure

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        (self.cli.folder / "compose.yaml").write_text(COMPOSE)

    def _compose(self, *words: str) -> tuple[str, ...]:
        return ("compose", "-f", str(self.cli.folder / "compose.yaml"), *words)

    def round(self) -> None:
        """Begin a command, kill it or a supervisor after a while, and look."""
        name = self.random.choice(NAMES)
        words = self.random.choice(
            (
                ("run", "-d", "--name", name, "--health-cmd", "true", "--health-interval", "100ms", "minimal", "sleep",
                 "1000"),
                ("run", "-d", "--rm", "--name", name, "minimal", "sh", "-c", "sleep 0.1; exit 3"),
                ("run", "-d", "--restart", "always", "--name", name, "minimal", "sh", "-c", "sleep 0.05"),
                ("run", "--rm", "--name", name, "minimal", "sleep", "1000"),
                ("run", "--name", name, "minimal", "sleep", "0.2"),
                ("create", "--name", name, "-v", "/data", "minimal", "sleep", "1000"),
                ("start", name),
                ("restart", "-t", "0", name),
                ("exec", name, "sleep", "0.3"),
                ("exec", "-d", name, "sleep", "1000"),
                ("stop", "-t", "0", name),
                ("kill", name),
                ("pause", name),
                ("unpause", name),
                ("rm", "-f", name),
                ("rename", name, self.random.choice(NAMES)),
                self._compose("up", "-d"),
                self._compose("up", "-d", "--force-recreate"),
                self._compose("up"),
                self._compose("restart"),
                self._compose("down", "-v"),
            )
        )  # fmt: skip
        delay = self.random.random() ** 2 * LONGEST_SECONDS
        victim = self.random.choice(("client", "client", "supervisor", "nobody"))
        self.told.append(f"{' '.join(words)}: {victim} after {delay:.3f} s")
        process = self.cli.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        stays = words[0] == "run" or words[3:] == ("up",)
        if victim == "client" or (stays and "-d" not in words):
            process.kill()
        elif victim == "supervisor":
            self._kill_a_supervisor()
        process.wait(30)

    def _kill_a_supervisor(self) -> None:
        states = sorted((self.cli.state / "containers").glob("*/state.json"))
        if states:
            with contextlib.suppress(OSError, ValueError):
                pid = json.loads(self.random.choice(states).read_text())["pid"]
                if pid in self.cli.processes() or _is_tiffin(pid, self.cli):
                    os.kill(pid, signal.SIGKILL)

    def check(self) -> None:
        """What ps tells is true: what runs has a command that is there, what does not has none."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while wrong := self._wrong():
            assert time.monotonic() < deadline, f"seed {self.seed}: {wrong} after\n" + "\n".join(self.told)
            time.sleep(0.2)

    def _wrong(self) -> str:
        done = self.cli.run("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}")
        if done.returncode or done.stderr:
            return f"ps: {done.returncode} {done.stderr}"
        for line in done.stdout.splitlines():
            identity, state = line.split()
            found = self.cli.run("inspect", identity)
            if found.returncode:
                continue  # it went meanwhile
            described = json.loads(found.stdout)[0]["State"]
            pid = described["Pid"]
            if described["Status"] != state or state == "restarting":
                continue  # it changed meanwhile
            if (state in ("running", "paused")) != (pid > 0 and Path(f"/proc/{pid}").is_dir()):
                return f"{identity[:12]} is {state}, and its process is {pid}"
        return ""

    def clean(self) -> None:
        """Everything can be removed, and nothing is left then."""
        done = self.cli.run(*self._compose("down", "-v", "-t", "0"))
        assert done.returncode == 0, f"seed {self.seed}: {done.stderr} after\n" + "\n".join(self.told)
        identities = self.cli.run("ps", "-aq").stdout.split()
        if identities:
            done = self.cli.run("rm", "-f", "-v", *identities)
            assert done.returncode == 0, f"seed {self.seed}: {done.stderr} after\n" + "\n".join(self.told)
        deadline = time.monotonic() + SETTLE_SECONDS
        while left := [*self.cli.left(), *groups_left(), *self._volumes(), *self._networks()]:
            assert time.monotonic() < deadline, f"seed {self.seed}: {left} is left after\n" + "\n".join(self.told)
            time.sleep(0.2)
            self.cli.run("ps", "-aq")  # which sweeps what was killed
        self.told.clear()

    def _volumes(self) -> list[str]:
        return self.cli.run("volume", "ls", "-q").stdout.split()

    def _networks(self) -> list[str]:
        return self.cli.run("network", "ls", "-q", "--filter", "type=custom").stdout.split()


def _is_tiffin(pid: int, cli: CliRunner) -> bool:
    """Whether a process has a file of the state directory open: a supervisor has no name of its own."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(cli.state) in str(link.readlink()):
                    return True
    return False


def groups_left() -> list[str]:
    """Control groups of tiffin's containers."""
    return [
        f"{folder}/{name}"
        for folder, names, _ in os.walk("/sys/fs/cgroup")  # which passes over those that go meanwhile
        for name in names
        if re.match(GROUP, name) and not Path(folder).name.startswith(OF_OTHER_TESTS)
    ]

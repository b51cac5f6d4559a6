"""A farm on one machine, as root: each worker a user with a home on a host of its own network, and one registry.

The driver, the scheduler and the registry have hosts of their own, too, whose bytes are counted. All of the farm's
connections are TLS with certificates of a private authority.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import Authority, make_authority
from tests.support.hosts import Host, network_of
from tests.support.servers import START_SECONDS, TIED, ended
from tests.support.unprivileged import Users, interpreter, remove_folder

REGISTRY_PORT, SCHEDULER_PORT = 5000, 8786
BUILD_SECONDS = 300
FIRST_SECONDS = 120.0  # for scheduler and workers, which compile all they import


@dataclass(slots=True, eq=False)
class Node:
    """One worker: its user, its host, what it says, and its process."""

    name: str
    user: str
    host: Host
    tier: str
    log: Path
    process: subprocess.Popen[bytes]
    had: dict[int, int] = field(default_factory=dict)

    def kill(self) -> None:
        """End it without a word, as when the power fails."""
        self.had = descendants(self.process.pid)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Have it stand still, with all it runs, as a machine that swaps."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def losing(self, part: float) -> Iterator[None]:
        """Lose a part of the packets that come to its host, for the block."""
        rule = ["INPUT", "-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", f"{part}", "-j", "DROP"]
        tables = [*self.host.prefix, "iptables"]
        subprocess.run([*tables, "-A", *rule], check=True)
        try:
            yield
        finally:
            subprocess.run([*tables, "-D", *rule], check=True)

    def leftovers(self) -> list[int]:
        """Return the processes it had when it was killed that are there yet."""
        return [pid for pid, began in self.had.items() if began and _parent_and_begin(pid)[1] == began]


@dataclass(slots=True, eq=False)
class Lab:
    """The hosts, and the workers that are there. `folder` is readable by every user."""

    users: Users
    folder: Path
    authority: Authority
    driver: Host
    scheduler: Host
    registry: str
    free_hosts: list[tuple[str, Host, str]]
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"tls://{self.scheduler.address}:{SCHEDULER_PORT}"

    def trust(self, name: str, host: Host) -> dict[str, str]:
        """Return what a node's environment has, with a certificate of its own."""
        certificate, key = self.authority.issue(name, f"IP:{host.address}")
        for path in (certificate, key, self.authority.certificate):
            path.chmod(0o644)
        return {
            "TIFFIN_FARM_TLS_CA": str(self.authority.certificate),
            "TIFFIN_FARM_TLS_CERT": str(certificate),
            "TIFFIN_FARM_TLS_KEY": str(key),
            "TIFFIN_INSECURE_REGISTRIES": self.registry,
        }

    def start(self, name: str, user: str, host: Host, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start tiffin as a user on a host."""
        with log.open("ab") as sink:
            return subprocess.Popen(
                [*self.words(user, host), *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=self.users.home(user),
                env={**self.users.environ(user), **self.trust(name, host)},
                start_new_session=True,
            )

    def words(self, user: str, host: Host) -> list[str]:
        """Return the words before those of tiffin, which end it with the tests."""
        identity = self.users.identity(user)
        become = ["setpriv", f"--reuid={identity['user']}", f"--regid={identity['group']}", "--clear-groups"]
        return [
            *("nsenter", f"--net=/run/netns/{host.name}", *become, "--pdeathsig", "KILL", "--"),
            *(interpreter(), "-m", "tiffin"),
        ]

    def join(self, slots: int = 2) -> Node:
        """Start one more worker, on the next host that is free."""
        user, host, tier = self.free_hosts.pop(0)
        name = f"{tier}-{host.address.rpartition('.')[2]}"
        log = self.folder / f"{name}.log"
        words = ["farm", "worker", self.address, "--name", name, "--slots", str(slots), "--listen", host.address]
        process = self.start(name, user, host, [*words, "--isolation", tier], log)
        _wait_for(process, f"worker {name} at ", log)
        self.nodes[name] = node = Node(name=name, user=user, host=host, tier=tier, log=log, process=process)
        return node

    def leave(self, node: Node) -> None:
        """Let its host and its user be another worker's."""
        del self.nodes[node.name]
        self.free_hosts.append((node.user, node.host, node.tier))

    def build(self, *words: str | Path, environ: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        """Run `tiffin build --farm` at the driver to its end."""
        return self.run("build", "--farm", self.address, *words, environ=environ)

    def run(
        self,
        *words: str | Path,
        environ: Mapping[str, str] = {},
        cwd: Path | None = None,
        seconds: float = BUILD_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run tiffin at the driver to its end, in the user's home if no other directory is named."""
        user = self.users.usual
        done = subprocess.run(
            [*self.words(user, self.driver), *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=cwd or self.users.home(user),
            env={**self.users.environ(user), **self.trust("driver", self.driver), **environ},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def transferred(self) -> int:
        """Return the bytes that driver and scheduler sent and got so far."""
        return self.driver.transferred() + self.scheduler.transferred()

    def logs(self) -> str:
        """Return the end of all logs."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def descendants(pid: int) -> dict[int, int]:
    """Return a process and all below it, each with when it began, in ticks since the machine did."""
    processes = {int(name): _parent_and_begin(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = {pid: processes[pid][1]}
    while more := {one: began for one, (parent, began) in processes.items() if parent in found and one not in found}:
        found |= more
    return found


def _parent_and_begin(pid: int) -> tuple[int, int]:
    """Return the parent of a process and when it began; zeros if it has ended."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[1]), int(fields[19])) if fields[0] != "Z" else (0, 0)
    return 0, 0


@contextlib.contextmanager
def farm_lab(users: Users, tiers: Sequence[str] = ("range", "single", "range", "single")) -> Iterator[Lab]:
    """Make the hosts, start registry, scheduler and a worker for each tier; all end with the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiffin-{os.getpid()}-farm-"))
    names = {f"farm{number}": tier == "range" for number, tier in enumerate(tiers)}
    try:
        folder.chmod(0o755)
        with contextlib.ExitStack() as stack:
            more = stack.enter_context(users.joined_by(names))
            driver, scheduler, registry, *hosts = stack.enter_context(network_of(3 + len(tiers))).hosts
            lab = Lab(
                users=more,
                folder=folder,
                authority=make_authority(folder / "authority"),
                driver=driver,
                scheduler=scheduler,
                registry=f"{registry.address}:{REGISTRY_PORT}",
                free_hosts=list(zip(names, hosts, tiers, strict=True)),
            )
            stack.enter_context(_registry(folder, registry))
            stack.enter_context(_scheduler(lab))
            stack.callback(_end_workers, lab)
            for _ in tiers:
                lab.join()
            yield lab
    finally:
        remove_folder(folder)


def _end_workers(lab: Lab) -> None:
    for node in lab.nodes.values():
        node.process.terminate()
    for node in lab.nodes.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.process.wait(10)
        if node.process.poll() is None:
            node.kill()


@contextlib.contextmanager
def _registry(folder: Path, host: Host) -> Iterator[None]:
    (folder / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"log: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '{host.address}:{REGISTRY_PORT}'}}\n"
    )
    log = folder / "registry.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [*TIED, *host.prefix, "docker-registry", "serve", str(folder / "registry.yml")],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
    with ended(server):
        _wait_for_port(server, host.address, REGISTRY_PORT, log)
        yield


@contextlib.contextmanager
def _scheduler(lab: Lab) -> Iterator[None]:
    log = lab.folder / "scheduler.log"
    words = ["farm", "scheduler", "--listen", f"{lab.scheduler.address}:{SCHEDULER_PORT}"]
    process = lab.start("scheduler", lab.users.usual, lab.scheduler, words, log)
    with ended(process):
        _wait_for(process, "tls://", log)
        yield


def _wait_for(process: subprocess.Popen[bytes], text: str, log: Path) -> None:
    deadline = time.monotonic() + FIRST_SECONDS
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _wait_for_port(process: subprocess.Popen[bytes], address: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), 1).close()
            return
        time.sleep(0.05)

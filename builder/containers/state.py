"""What is written of a container: containers/ID/state.json, and how it is named."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tiffin.builder.errors import CorruptError, UsageError
from tiffin.builder.sandbox.child.spec import Port
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import asdict, dataclass, field
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.containers.network.attachment import Endpoint

NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"  # Docker's
FILE = "state.json"
_LEFT = (
    "airy", "brave", "calm", "crisp", "eager", "fair", "fresh", "golden", "happy", "jolly", "keen", "lively", "mellow",
    "merry", "nimble", "proud", "quick", "quiet", "spicy", "sunny", "sweet", "tender", "warm", "wise",
)  # fmt: skip
_RIGHT = (
    "almond", "apple", "basil", "carrot", "cherry", "clove", "cumin", "dumpling", "fennel", "fig", "ginger", "lemon",
    "lentil", "mango", "noodle", "olive", "papaya", "pepper", "plum", "quince", "radish", "saffron", "thyme", "walnut",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """What is written of a container. `exit_code` None: it runs, or its process was killed. Times are Unix seconds."""

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    layers: tuple[str, ...]  # DiffIDs of its root, which have to stay while it is here
    created: float
    remove: bool
    pid: int
    pid_started: str  # with the pid namespace: tells the process from a later one of that number
    ports: tuple[Port, ...] = ()  # as they are published while it runs
    labels: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[int, int] | None = None  # as in ContainerOptions: its files have owners by that map
    exit_code: int | None = None
    finished: float = 0.0
    started: float = 0.0  # 0: its command was never begun
    restarts: int = 0  # by its restart policy
    is_detached: bool = False  # a supervisor of its own holds it
    is_paused: bool = False
    volumes: Mapping[str, str] = field(default_factory=dict)  # their names by path
    named_volumes: tuple[str, ...] = ()  # those that were asked for by name, which stay when it is removed
    network: str = ""  # as in ContainerOptions; "" where an earlier version did not write it
    networks: tuple[Endpoint, ...] = ()  # those with names, in the order of their interfaces
    error: str = ""  # why its command could not be begun
    health: str = ""  # starting, healthy or unhealthy; "" where nothing is checked
    oom_killed: bool = False  # the kernel ended a process of its last run for want of memory
    mounted_layers: tuple[str, ...] = ()  # DiffIDs of images that are mounted in it, which have to stay, too

    def status(self, *, alive: bool) -> str:
        """Return docker's word for what it is; `alive`: a process holds it."""
        if alive and not self.error and (self.started or self.exit_code is not None):
            return "paused" if self.is_paused else "restarting" if self.exit_code is not None else "running"
        if not self.started:  # also where its command could not be begun
            return "created"
        return "dead" if self.exit_code is None else "exited"

    def encode(self) -> bytes:
        """Return the state as JSON."""
        members = {name: getattr(self, name) for name in self.__slots__}
        members["ports"] = [asdict(port) for port in self.ports]
        members["networks"] = [asdict(endpoint) for endpoint in self.networks]
        return json_text.dumps(members, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> ContainerState:
        """Raise CorruptError for anything else."""
        try:
            members = json_text.loads(data)
            for name in ("command", "layers", "mounted_layers", "named_volumes"):
                members[name] = tuple(members[name]) if name in members else ()
            members["ports"] = tuple(map(_port, members.get("ports", ())))
            members["networks"] = tuple(map(_endpoint, members.get("networks", ())))
            members["keep"] = tuple(members["keep"]) if members.get("keep") else None
            members.setdefault("started", members["created"])  # versions that did not write it began it at once
            return cls(**members)
        except (ValueError, TypeError, KeyError) as exc:
            raise CorruptError("a container's state is damaged", remedy="run tiffin system prune") from exc


def _port(value: Any) -> Port:
    """Return a port that was written, or text that an earlier version wrote: 0.0.0.0:8080->80/tcp."""
    if isinstance(value, str):
        outer, _, inner = value.partition("->")
        address, _, host = outer.rpartition(":")
        number, _, protocol = inner.partition("/")
        return Port(container=int(number), host=int(host), address=address.strip("[]"), protocol=protocol)
    return Port(**value)


def _endpoint(members: Any) -> Endpoint:
    from tiffin.builder.containers.network.attachment import Endpoint, NetworkAttachment

    wanted = members["wanted"]
    attachment = NetworkAttachment(**{**wanted, "aliases": tuple(wanted["aliases"])})
    return Endpoint(**{**members, "wanted": attachment})


def new_state(*, name: str, remove: bool, pid: int, **members: Any) -> ContainerState:
    """Describe a container that is about to be made; `pid` 0 for one that nobody runs yet.

    Raises UsageError for a bad name.
    """
    if name:
        check_name(name)
    return ContainerState(
        id=os.urandom(32).hex(),
        name=name,
        remove=remove,
        created=time.time(),
        pid=pid,
        pid_started=process_start(pid) if pid else "",
        **members,
    )


def check_name(name: str) -> None:
    """Raise UsageError for a name that no container may have."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f'invalid container name "{name}"', remedy="use two or more letters, digits, '_', '.' and '-'")


def free_name(is_taken: Callable[[str], bool]) -> str:
    """Return a name that is not taken."""
    number = 0
    while True:
        left, right = os.urandom(2)
        name = f"{_LEFT[left % len(_LEFT)]}_{_RIGHT[right % len(_RIGHT)]}{number or ''}"
        if not is_taken(name):
            return name
        number += 1


def read_state(folder: Path) -> ContainerState | None:
    """Read what is written in a container's folder, None for nothing. Raises CorruptError."""
    try:
        return ContainerState.decode((folder / FILE).read_bytes())
    except OSError:
        return None


def write_state(folder: Path, state: ContainerState) -> None:
    """Write it, without syncing: a crash of the machine also ends what this describes."""
    temporary = folder / f".{FILE}"
    with disk_errors(folder):
        temporary.write_bytes(state.encode())
        temporary.replace(folder / FILE)


def process_start(pid: int) -> str:
    """Return what tells a process from others that have or had its number, "" if it is not there."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # that of the numbers seen here
        return f"{namespace} {int(stat_fields(pid)[19]) - _boot_offset()}"
    except (OSError, IndexError):
        return ""


def stat_fields(pid: int) -> list[bytes]:
    """Return what the kernel says of a process after its name (proc_pid_stat(5)); nothing of one that is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
    return []


@cache
def _boot_offset() -> int:
    """Return the ticks by which our time namespace shows another time since boot than the machine has."""
    with contextlib.suppress(OSError), open("/proc/self/timens_offsets", encoding="utf-8") as file:
        for line in file:
            clock, seconds, nanoseconds = line.split()
            if clock in ("boottime", "7"):  # as newer and older kernels call it
                ticks = os.sysconf("SC_CLK_TCK")
                return int(seconds) * ticks + int(nanoseconds) * ticks // 1_000_000_000
    return 0

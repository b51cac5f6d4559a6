"""A container's folder: containers/ID/{lock, state.json, upper, work, run, volumes}.

The lock is held by the process that runs the container; free means dead. A dead container that was run with --rm is
removed by whoever finds it. Folders appear and are looked for under one lock, so none is seen without its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.errors import CorruptError, ImageNotFoundError, StoreError, UsageError
from tiffin.builder.sandbox.keepid import root_of_files
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.store.statedir import StateDir

ROOT_MODE = 0o755
NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"  # Docker's
FOLDERS_LOCK = "containers"  # taken before a container's own
GROUPS = "groups"  # the file with the paths of a container's control groups
SHORT_ID_LENGTH = 12
KILL_WAIT_SECONDS = 10.0  # for a killed container's process to let go
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
    ports: tuple[str, ...] = ()  # as ps shows them
    labels: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[int, int] | None = None  # as in ContainerOptions: its files have owners by that map
    exit_code: int | None = None
    finished: float = 0.0

    def encode(self) -> bytes:
        """Return the state as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> ContainerState:
        """Raise CorruptError for anything else."""
        try:
            members = json.loads(data)
            for name in ("command", "layers", "ports"):
                members[name] = tuple(members[name]) if name in members else ()
            members["keep"] = tuple(members["keep"]) if members.get("keep") else None
            return cls(**members)
        except (ValueError, TypeError, KeyError) as exc:
            raise CorruptError("a container's state is damaged", remedy="run tiffin system prune") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container being run; the folder is ours until the context ends."""

    folder: Path
    state: ContainerState

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def scratch(self) -> Path:
        return self.folder / "run"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"

    def empty(self) -> None:
        """Begin anew with what is to be its root."""
        with disk_errors(self.folder):
            remove_tree(self.upper)
            os.mkdir(self.upper)
            os.chmod(self.upper, ROOT_MODE)

    def hold_groups(self, paths: Sequence[str]) -> None:
        """Note the control groups of the container, which are removed with it, by whoever finds it dead too."""
        with disk_errors(self.folder):
            (self.folder / GROUPS).write_text("\n".join(paths), encoding="utf-8", errors="surrogateescape")

    def finish(self, exit_code: int) -> None:
        """Write down how it ended, unless it goes now."""
        if not self.state.remove:
            _write(self.folder, replace(self.state, exit_code=exit_code, finished=time.time()))


class Containers:
    """The containers of one state directory."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    @contextlib.contextmanager
    def create(
        self,
        *,
        image: str,
        image_id: str,
        command: tuple[str, ...],
        layers: tuple[str, ...],
        name: str,
        remove: bool,
        ports: tuple[str, ...] = (),
        labels: Mapping[str, str] | None = None,
        keep: tuple[int, int] | None = None,
    ) -> Iterator[Container]:
        """Make a container; with `remove` nothing of it stays at the end. Raises UsageError for a name in use."""
        if name and not re.fullmatch(NAME, name):
            raise UsageError(
                f'invalid container name "{name}"', remedy="use two or more letters, digits, '_', '.' and '-'"
            )
        state = ContainerState(
            id=os.urandom(32).hex(),
            name=name,
            image=image,
            image_id=image_id,
            command=command,
            layers=layers,
            created=time.time(),
            remove=remove,
            ports=ports,
            labels=labels or {},
            keep=keep,
            pid=os.getpid(),
            pid_started=_process_start(os.getpid()),
        )
        lock, container = self._make(state)
        try:
            yield container
        finally:
            try:
                _release_groups(container.folder)
                if remove:
                    remove_tree(container.folder)
                else:
                    for leftover in (container.work, container.scratch):
                        remove_tree(leftover)
            finally:
                os.close(lock)

    def states(self) -> list[ContainerState]:
        """Return all containers, newest first; damaged ones are left out."""
        found = []
        for folder in self._folders():
            with contextlib.suppress(CorruptError):
                state = _read(folder)
                if state is not None:
                    found.append(state)
        return sorted(found, key=lambda state: state.created, reverse=True)

    def find(self, text: str) -> ContainerState:
        """Find a container by name, id or the beginning of an id; raises ImageNotFoundError or UsageError."""
        states = self.states()
        hits = [state for state in states if state.name == text] or [s for s in states if s.id.startswith(text)]
        if len(hits) > 1:
            raise UsageError(f'"{text}" is the beginning of several container ids', remedy="write more of it")
        if not hits or not text:
            raise ImageNotFoundError(f"No such container: {text}", remedy="see tiffin ps -a")
        return hits[0]

    def upper(self, identity: str) -> Path:
        """Return what was changed in it; where layers are not mounted, the whole root."""
        return self._folder(identity) / "upper"

    def is_alive(self, identity: str) -> bool:
        """Whether a process holds it."""
        with _try_lock(self._folder(identity)) as free:
            return not free

    def kill(self, state: ContainerState) -> None:
        """Kill the process of a container and wait for its end; raises StoreError if it cannot be reached."""
        if _process_start(state.pid) != state.pid_started:
            raise StoreError(
                f"the process of container {state.name} cannot be reached from here", remedy="end it where it was begun"
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)
        deadline = time.monotonic() + KILL_WAIT_SECONDS
        while self.is_alive(state.id):
            if time.monotonic() > deadline:
                raise StoreError(f"container {state.name} does not end", remedy="try again")
            time.sleep(0.01)

    def remove(self, state: ContainerState) -> None:
        """Remove a container that is not running; needs the namespace of its files. Raises UsageError, StoreError."""
        folder = self._folder(state.id)
        with _try_lock(folder) as free:
            if not free:
                raise UsageError(f"container {state.name} is running", remedy="end it first, or add --force")
            with disk_errors(folder):
                _release_groups(folder)
                remove_tree(folder)

    def sweep(self, *, stopped: bool) -> list[str]:
        """Remove dead containers: those run with --rm, with `stopped` all.

        What resists is left for another time. Their ids.
        """
        removed = []
        with self._state.lock(FOLDERS_LOCK, blocking=False) as free:
            for folder in self._dead(stopped=stopped) if free else []:
                with contextlib.suppress(OSError):
                    remove_tree(folder)
                    removed.append(folder.name)
        return removed

    def has_dead(self) -> bool:
        """Whether a dead --rm container was left behind."""
        with self._state.lock(FOLDERS_LOCK, blocking=False) as free:
            return free and bool(self._dead(stopped=False))

    def _folder(self, identity: str) -> Path:
        return self._state.containers / identity

    def _folders(self) -> list[Path]:
        return [self._folder(name) for name in os.listdir(self._state.containers)]

    def _dead(self, *, stopped: bool) -> list[Path]:
        """Return the folders that nobody holds and that may go.

        One without a state was left half made or half removed.
        """
        found = []
        for folder in self._folders():
            with _try_lock(folder) as free:
                if not free:
                    continue
                _release_groups(folder)
                try:
                    state = _read(folder)
                except CorruptError:
                    state = None
                if state is None or state.remove or stopped:
                    found.append(folder)
        return found

    def _make(self, state: ContainerState) -> tuple[int, Container]:
        """Return the folder, and the descriptor that holds its lock."""
        folder = self._folder(state.id)
        with self._state.lock(FOLDERS_LOCK), disk_errors(folder):
            container = Container(folder=folder, state=replace(state, name=self._free_name(state.name)))
            os.mkdir(folder, 0o700)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write(folder, container.state)
            with root_of_files():
                for path in (container.upper, container.work, container.scratch):
                    os.mkdir(path)
                    os.chmod(path, ROOT_MODE)
        return lock, container

    def _free_name(self, name: str) -> str:
        taken = {other.name for other in self.states()}
        if name in taken:
            raise UsageError(
                f'the container name "{name}" is in use', remedy=f"choose another, or remove it with tiffin rm {name}"
            )
        number = 0
        while not name or name in taken:
            left, right = os.urandom(2)
            name = f"{_LEFT[left % len(_LEFT)]}_{_RIGHT[right % len(_RIGHT)]}{number or ''}"
            number += 1
        return name


@contextlib.contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Hold a container's lock if it is free; True also where there is none."""
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def _release_groups(folder: Path) -> None:
    """Remove the control groups of a container whose processes have ended."""
    path = folder / GROUPS
    try:
        paths = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return
    from tiffin.builder.sandbox.cgroup import remove_groups

    if remove_groups([line for line in paths if line]):
        path.unlink(missing_ok=True)


def _read(folder: Path) -> ContainerState | None:
    try:
        return ContainerState.decode((folder / "state.json").read_bytes())
    except OSError:
        return None


def _write(folder: Path, state: ContainerState) -> None:
    """Write without syncing: a crash of the machine also ends what this record describes."""
    temporary = folder / ".state.json"
    with disk_errors(folder):
        temporary.write_bytes(state.encode())
        temporary.replace(folder / "state.json")


def _process_start(pid: int) -> str:
    """Return what tells a process from others that have or had its number, "" if it is not there."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # that of the numbers seen here
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return f"{namespace} {file.read().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""

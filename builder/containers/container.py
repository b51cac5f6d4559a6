"""A container's folder: containers/ID/{state.json, upper, work, …}, held by a lock while it lives."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import StoreError, UsageError
from cache.errors import CorruptError
from cache.files import disk_errors, remove_tree, write_atomically
from cache.statedir import StateDir

ROOT_MODE = 0o755
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
NAMES_LOCK = "containers"
_LEFT = ("brave", "calm", "eager", "fair", "keen", "merry", "quick", "sunny", "warm", "wise")
_RIGHT = ("apple", "basil", "carrot", "dumpling", "fennel", "ginger", "lentil", "mango", "noodle", "pepper")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """What is written of a container. `exit_code` None while it runs, or when its process was killed."""

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    created: str
    remove: bool
    exit_code: int | None = None


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


class Containers:
    """The containers of one state directory. The lock on a container's id says that it lives."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    @contextlib.contextmanager
    def create(self, *, image: str, command: tuple[str, ...], name: str, remove: bool) -> Iterator[Container]:
        """Make a container; with `remove` nothing of it stays at the end. Raises UsageError for a name in use."""
        if name and not NAME.fullmatch(name):
            raise UsageError(f'invalid container name "{name}"', remedy="use letters, digits, '_', '.' and '-'")
        identity = secrets.token_hex(32)
        with self._state.lock(f"container-{identity}") as _:
            container = self._make(identity, image, command, name, remove)
            try:
                yield container
            finally:
                if remove:
                    remove_tree(container.folder)
                else:
                    for leftover in (container.work, container.scratch):
                        remove_tree(leftover)

    def finish(self, container: Container, exit_code: int) -> None:
        """Write down how it ended."""
        state = asdict(container.state) | {"exit_code": exit_code}
        write_atomically(container.folder / "state.json", json.dumps(state, sort_keys=True).encode())

    def states(self) -> list[ContainerState]:
        """All containers, newest first."""
        found = [self._read(folder) for folder in self._state.containers.iterdir()]
        return sorted((state for state in found if state), key=lambda state: state.created, reverse=True)

    def is_alive(self, identity: str) -> bool:
        """Whether its process holds it."""
        with self._state.lock(f"container-{identity}", shared=True, blocking=False) as free:
            return not free

    def sweep(self, *, stopped: bool) -> int:
        """Remove dead containers: those run with --rm, with `stopped` all. Needs the namespace of their trees."""
        count = 0
        for folder in list(self._state.containers.iterdir()):
            state = self._read(folder)
            if state is None or ((state.remove or stopped) and not self.is_alive(state.id)):
                with contextlib.suppress(OSError):
                    remove_tree(folder)
                    count += 1
        return count

    def has_dead(self) -> bool:
        """Whether a dead --rm container was left behind."""
        states = (self._read(folder) for folder in self._state.containers.iterdir())
        return any(state.remove and not self.is_alive(state.id) for state in states if state)

    def _make(self, identity: str, image: str, command: tuple[str, ...], name: str, remove: bool) -> Container:
        with self._state.lock(NAMES_LOCK):
            taken = {state.name for state in self.states()}
            if name in taken:
                raise UsageError(f'the container name "{name}" is in use', remedy="choose another, or remove that one")
            while not name or name in taken:
                name = f"{secrets.choice(_LEFT)}_{secrets.choice(_RIGHT)}{secrets.randbelow(1000)}"
            state = ContainerState(
                id=identity,
                name=name,
                image=image,
                command=command,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                remove=remove,
            )
            folder = self._state.containers / identity
            container = Container(folder=folder, state=state)
            with disk_errors(folder):
                folder.mkdir(mode=0o700)
                write_atomically(folder / "state.json", json.dumps(asdict(state), sort_keys=True).encode())
                for path in (container.upper, container.work, container.scratch):
                    path.mkdir()
                    path.chmod(ROOT_MODE)
            return container

    def _read(self, folder: Path) -> ContainerState | None:
        try:
            document = json.loads((folder / "state.json").read_bytes())
            return ContainerState(**{**document, "command": tuple(document["command"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, CorruptError) as exc:
            raise StoreError(f"container {folder.name} is damaged", remedy="run tiffin system prune") from exc

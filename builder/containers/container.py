"""A container's folder: containers/ID/{lock, state.json, upper, work, run, volumes}.

The lock is held by the process that runs the container; free means dead. A dead container that was run with --rm is
removed by whoever finds it. Folders appear and are looked for under one lock, so none is seen without its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tiffin.builder.containers.folder import (
    GROUPS,
    files_held,
    groups_of,
    hold,
    is_held,
    make_anew,
    make_folder,
    named,
    readable_state,
    release_groups,
    remove_folder,
    try_lock,
    written,
)
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.state import (
    ContainerState,
    check_name,
    free_name,
    process_start,
    read_state,
    write_state,
)
from tiffin.builder.errors import ContainerError, CorruptError, ImageNotFoundError, StoreError, UsageError
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.fd_passing import Socket

FOLDERS_LOCK = "containers"  # taken before a container's own
WHOLE = "whole"  # a file that says that the root on disk has all layers
SHORT_ID_LENGTH = 12
KILL_WAIT_SECONDS = 60.0  # for a killed container's process to let go: its files may have to reach a busy disk


class Container:
    """A container being run; the folder is ours until the context ends."""

    def __init__(self, folder: Path, state: ContainerState, directory: StateDir) -> None:
        self.folder = folder
        self._state = state
        self._directory = directory

    @property
    def state(self) -> ContainerState:
        """What is known of it, as last read or written here."""
        return self._state

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

    @property
    def is_whole(self) -> bool:
        """Whether `upper` has all layers, where they are not mounted over each other."""
        return (self.folder / WHOLE).exists()

    def note_whole(self) -> None:
        """Note that it has them, though nothing was begun in it yet."""
        with disk_errors(self.folder):
            (self.folder / WHOLE).touch(mode=0o600)

    def empty(self) -> None:
        """Begin anew with what is to be its root."""
        with disk_errors(self.folder):
            remove_tree(self.upper)
            make_folder(self.upper)

    def renew(self) -> None:
        """Make anew what a run needs and leaves behind, and let go what an earlier one held."""
        release_groups(self.folder)
        with disk_errors(self.folder):
            make_anew(self.work, self.scratch)

    def hold_groups(self, paths: Sequence[str]) -> None:
        """Note the control groups of the container, which are removed with it, by whoever finds it dead too."""
        with disk_errors(self.folder):
            (self.folder / GROUPS).write_text("\n".join(paths), encoding="utf-8", errors="surrogateescape")

    def was_short_of_memory(self) -> bool:
        """Tell whether the kernel ended a process of it as its control group had no memory left."""
        paths = groups_of(self.folder)
        if not paths:
            return False
        from tiffin.builder.sandbox.cgroup import has_killed

        return any(map(has_killed, paths))

    def finish(self, exit_code: int, **more: object) -> None:
        """Write down how it ended, unless it goes now."""
        ended = time.time()
        if not self.state.remove:
            self.update(exit_code=exit_code, finished=ended, is_paused=False, **more)
        if more.get("oom_killed"):
            self.record("oom")
        self.record("die", execDuration=str(int(ended - self.state.started)), exitCode=str(exit_code))

    def fail(self, exit_code: int, message: str, **more: object) -> None:
        """Write down why its command could not be begun."""
        self.update(exit_code=exit_code, error=message, finished=time.time(), **more)

    def record(self, action: str, **attributes: str) -> None:
        """Tell of what happened to it."""
        record_of_container(self._directory, self.state, action, **attributes)

    def reread(self) -> ContainerState:
        """Return what is written of it now, maybe by another process."""
        with contextlib.suppress(CorruptError):
            self._state = read_state(self.folder) or self._state
        return self._state

    def update(self, **changes: object) -> None:
        """Change what is written of it. Raises StoreError."""
        with self._directory.lock(FOLDERS_LOCK):
            self._state = replace(read_state(self.folder) or self._state, **changes)
            write_state(self.folder, self._state)


class Containers:
    """The containers of one state directory."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    @contextlib.contextmanager
    def create(self, state: ContainerState) -> Iterator[Container]:
        """Make a container and hold it; one that is begun and has `remove` leaves nothing at the end.

        Raises UsageError for a name in use.
        """
        lock, container = self._make(state)
        container.record("create")
        with self._held(lock, container):
            yield container

    @contextlib.contextmanager
    def begin(self, identity: str, **changes: object) -> Iterator[Container]:
        """Hold a container that is not running, to start it again. Raises UsageError where it runs."""
        folder = self.folder(identity)
        # who copies has let go by then
        with files_held(folder), self._state.lock(FOLDERS_LOCK), disk_errors(folder):
            state = read_state(folder)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            if not hold(lock):
                os.close(lock)
                state = None
            if state is None:
                raise ContainerError(f"container {identity[:SHORT_ID_LENGTH]} is running", remedy="stop it first")
            pid = os.getpid()
            state = replace(state, pid=pid, pid_started=process_start(pid), is_paused=False, **changes)
            container = self._container(folder, state)
            write_state(folder, state)
            container.renew()
        with self._held(lock, container):
            yield container

    @contextlib.contextmanager
    def _held(self, lock: int, container: Container) -> Iterator[Container]:
        try:
            yield container
        finally:
            try:
                release_groups(container.folder)
                if container.state.remove and container.state.pid:
                    remove_folder(container.folder)
                    container.record("destroy")
                    self._remove_volumes(container.state)
                elif container.folder.is_dir():
                    for leftover in (container.work, container.scratch):
                        remove_tree(leftover)
            finally:
                os.close(lock)

    @contextlib.contextmanager
    def at_rest(self, state: ContainerState) -> Iterator[Container | None]:
        """Hold the files of a container that does not run, which nobody begins meanwhile; None for one that runs."""
        folder = self.folder(state.id)
        with files_held(folder):
            if not self.is_alive(state.id):
                yield self._container(folder, read_state(folder) or state)
                return
        yield None

    def opened(self, state: ContainerState) -> Container:
        """Return a container that somebody else may hold, to be looked at."""
        return self._container(self.folder(state.id), state)

    def _container(self, folder: Path, state: ContainerState) -> Container:
        return Container(folder, state, self._state)

    def states(self) -> list[ContainerState]:
        """Return all containers, newest first; damaged ones are left out."""
        return sorted(written(self._folders()), key=lambda state: state.created, reverse=True)

    def find(self, text: str) -> ContainerState:
        """Find a container by name, id or the beginning of an id; raises ImageNotFoundError or UsageError."""
        folders = self._folders()
        hits = named(folders, text) or written(folder for folder in folders if folder.name.startswith(text))
        if len(hits) > 1:
            raise UsageError(f'"{text}" is the beginning of several container ids', remedy="write more of it")
        if not hits or not text:
            raise ImageNotFoundError(f"No such container: {text}", remedy="see tiffin ps -a")
        return hits[0]

    def find_running(self, text: str) -> ContainerState:
        """Find one that runs, by the same. Raises ContainerError for another."""
        state = self.find(text)
        if not self.is_alive(state.id):
            raise ContainerError(
                f"container {state.name} is not running", remedy=f"start it with tiffin start {state.name}"
            )
        return state

    def rename(self, state: ContainerState, name: str) -> None:
        """Give a container another name. Raises UsageError for one that is in use, or that nothing may have."""
        check_name(name)
        with self._state.lock(FOLDERS_LOCK):
            name = self._free_name(name)
            renamed = replace(read_state(self.folder(state.id)) or state, name=name)
            write_state(self.folder(state.id), renamed)
        record_of_container(self._state, renamed, "rename", oldName=f"/{state.name}")

    def change(self, state: ContainerState, **changes: object) -> ContainerState:
        """Change what is written of a container, whoever holds it; return what is written then. Raises StoreError."""
        folder = self.folder(state.id)
        with self._state.lock(FOLDERS_LOCK):
            changed: ContainerState = replace(read_state(folder) or state, **changes)
            write_state(folder, changed)
        return changed

    def folder(self, identity: str) -> Path:
        """Return where a container is."""
        return self._state.containers / identity

    def upper(self, identity: str) -> Path:
        """Return what was changed in it; where layers are not mounted, the whole root."""
        return self.folder(identity) / "upper"

    def groups(self, identity: str) -> list[str]:
        """Return the paths of a container's control groups."""
        return groups_of(self.folder(identity))

    def is_alive(self, identity: str) -> bool:
        """Tell whether a process holds it."""
        return is_held(self.folder(identity))

    def kill(self, state: ContainerState) -> None:
        """Kill the process of a container and wait for its end; raises StoreError if it cannot be reached."""
        if process_start(state.pid) != state.pid_started:
            if not self.is_alive(state.id):
                return  # it ended meanwhile
            raise StoreError(
                f"the process of container {state.name} cannot be reached from here", remedy="end it where it was begun"
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)
        if not self.wait_for_end(state, None, KILL_WAIT_SECONDS):
            raise StoreError(f"container {state.name} does not end", remedy="try again")

    def wait_for_end(self, state: ContainerState, line: Socket | None, seconds: float | None) -> bool:
        """Wait until nobody holds a container; False if that took too long. `line` is connected to its supervisor."""
        from tiffin.builder.containers.lifecycle.endings import wait_for_end

        return wait_for_end(lambda: self.is_alive(state.id), state, line, seconds)

    def remove(self, state: ContainerState, *, volumes: bool = False) -> None:
        """Remove a container that is not running, with `volumes` those whose names were made up for it, too.

        Needs the namespace of its files. Raises UsageError, StoreError.
        """
        folder = self.folder(state.id)
        with try_lock(folder) as free:
            if not free:
                raise ContainerError(f"container {state.name} is running", remedy="end it first, or add --force")
            with disk_errors(folder), files_held(folder):
                release_groups(folder)
                remove_folder(folder)
        record_of_container(self._state, state, "destroy")
        if volumes:
            self._remove_volumes(state)

    def _remove_volumes(self, state: ContainerState) -> None:
        """Remove the anonymous volumes of a container that is gone, as far as no other has them."""
        if state.volumes:
            from tiffin.builder.containers.volumes.store import Volumes

            with self._state.lock(FOLDERS_LOCK):
                kept = {name for other in self.states() for name in other.volumes.values()}
                Volumes(self._state).remove_anonymous({*state.volumes.values()} - {*state.named_volumes} - kept)

    def sweep(self, *, stopped: bool, is_wanted: Callable[[ContainerState], bool] = lambda state: True) -> list[str]:
        """Remove dead containers: those run with --rm, with `stopped` all that are wanted.

        What resists is left for another time. Their ids.
        """
        removed, without_trace = [], []
        with self._state.lock(FOLDERS_LOCK, blocking=False) as free:
            for folder in self._dead(stopped, is_wanted) if free else []:
                with contextlib.suppress(OSError):
                    state = readable_state(folder)
                    remove_tree(folder)
                    removed.append(folder.name)
                    if state is not None:
                        record_of_container(self._state, state, "destroy")
                    if state is not None and state.remove:
                        without_trace.append(state)
        for state in without_trace:
            self._remove_volumes(state)
        return removed

    def has_dead(self) -> bool:
        """Tell whether a dead --rm container was left behind."""
        with self._state.lock(FOLDERS_LOCK, blocking=False) as free:
            return free and bool(self._dead())

    def _folders(self) -> list[Path]:
        return [self.folder(name) for name in os.listdir(self._state.containers)]

    def _dead(
        self, stopped: bool = False, is_wanted: Callable[[ContainerState], bool] = lambda state: True
    ) -> list[Path]:
        """Return the folders that nobody holds and that may go.

        One without a state was left half made or half removed.
        """
        found = []
        for folder in self._folders():
            if is_held(folder):
                continue
            release_groups(folder)
            state = readable_state(folder)
            if state is None or (stopped and is_wanted(state)) or (state.remove and state.pid):
                found.append(folder)
        return found

    def _make(self, state: ContainerState) -> tuple[int, Container]:
        """Return the folder, and the descriptor that holds its lock."""
        folder = self.folder(state.id)
        with self._state.lock(FOLDERS_LOCK), disk_errors(folder):
            container = self._container(folder, replace(state, name=self._free_name(state.name)))
            try:
                os.mkdir(folder, 0o700)
                lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX)
                write_state(folder, container.state)
                if state.volumes:
                    from tiffin.builder.containers.volumes.store import Volumes

                    Volumes(self._state).note_all(state.volumes.values())
                make_anew(container.upper, container.work, container.scratch)
                return lock, container
            except BaseException:
                remove_tree(folder)
                raise

    def _free_name(self, name: str) -> str:
        if not name:
            return free_name(lambda name: bool(named(self._folders(), name)))
        if named(self._folders(), name):
            raise UsageError(
                f'the container name "{name}" is already in use',
                remedy=f"choose another, or remove it with tiffin rm {name}",
            )
        return name

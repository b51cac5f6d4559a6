"""Wait until files of directories change: the kernel tells (inotify), and what it does not tell is found by looking.

Laws: what changes after `begin` ends a `wait`, at once where the kernel tells it, else at the next look. The kernel
tells nothing of what other machines do in a network's file system, of writes through a name elsewhere (hard links),
and of memory that is mapped until it is unmapped.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from inotify_simple import INotify, flags

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.cache.foundation.frozen import dataclass

MASK = (
    flags.MODIFY
    | flags.CLOSE_WRITE
    | flags.ATTRIB
    | flags.CREATE
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
MOVES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
GONE = flags.DELETE_SELF | flags.MOVE_SELF
QUIET_SECONDS = 0.03  # nothing more has changed for so long: an editor saves in several calls
MAX_QUIET_SECONDS = 0.5  # for those who never stop writing
LOOK_SECONDS, LOOK_SHARE = 10.0, 0.01  # between two looks, which take no more than this share of the time
FAR_LOOK_SECONDS, FAR_LOOK_SHARE = 1.0, 0.1  # where the kernel does not tell all
MOUNTS = Path("/proc/self/mountinfo")
FAR = ("nfs", "cifs", "smb", "9p", "virtiofs", "fuse", "lustre", "gpfs", "beegfs", "ceph", "afs", "vboxsf", "prl_fs")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedDirectory:
    """A directory and all below it; `rules` is the ignore file whose paths do not count, nor does what is `left_out`
    (absolute paths).
    """

    root: Path
    rules: IgnoreRules | None = None
    left_out: frozenset[Path] = frozenset()

    def counts(self, path: str) -> bool:
        """Whether a change of `path` (relative, "" for the root) counts."""
        return not self._is_left_out(path) and not (self.rules is not None and path and self.rules.matches(path))

    def may_descend(self, path: str) -> bool:
        """Whether something below the directory `path` may count."""
        return not self._is_left_out(path) and (not path or self.rules is None or self.rules.may_descend(path))

    def directories(self) -> Iterator[str]:
        """Yield the root ("") and the directories below it that may hold what counts, each before it is listed."""
        pending = [""]
        while pending:
            path = pending.pop()
            yield path
            try:
                with os.scandir(self.root / path) as entries:
                    found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            pending += filter(self.may_descend, (_joined(path, name) for name in found))

    def _is_left_out(self, path: str) -> bool:
        return bool(self.left_out) and self.root / path in self.left_out


class FileWatch:
    """Changes of directories and of single files, which need not exist; use it in `with`. Where the kernel watches
    nothing more for this user one looks often, and `told` is called once with the reason.
    """

    def __init__(self, told: Callable[[str], None] = lambda _: None) -> None:
        self._told: Callable[[str], None] | None = told  # None once it was
        self._inotify: INotify | None = None
        try:
            self._inotify = INotify()
        except OSError as exc:
            self._tell(f"{exc.strerror}; see fs.inotify.max_user_instances")
        self._directories: Sequence[WatchedDirectory] = ()
        self._files: Collection[Path] = ()
        self._places: dict[int, list[tuple[WatchedDirectory, str]]] = {}  # of a watch: what it is the directory of
        self._names: dict[int, set[str]] = {}  # of a watch: the single files there
        self._is_far = False
        self._seen = b""
        self._look_takes = 0.0

    def __enter__(self) -> FileWatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._inotify is not None:
            self._inotify.close()

    def begin(self, directories: Sequence[WatchedDirectory], files: Collection[Path]) -> None:
        """Watch these from now on, and nothing else; what changed before this call does not count any more."""
        self._directories, self._files = directories, files
        self._events(0.0)
        self._watch()
        self._seen = self._look() if self._is_far else b""

    def wait(self, seconds: float | None = None) -> Sequence[str] | None:
        """Wait until something changed and then nothing more for a moment; return the paths, relative and sorted.

        There are none where looking alone found that something did. None after `seconds` without a change.
        """
        end = None if seconds is None else time.monotonic() + seconds
        if not self._seen:  # here, and not in `begin`: whoever builds is not kept waiting
            self._seen = self._look()
        changed: set[str] = set()
        look_at = self._next_look()
        while not changed:
            until = look_at if end is None else min(look_at, end)
            changed = self._take(self._events(max(until - time.monotonic(), 0.0)))
            now = time.monotonic()
            if not changed and now >= look_at:
                if self._look() != self._seen:
                    return ()
                look_at = self._next_look()
            if not changed and end is not None and now >= end:
                return None
        deadline = time.monotonic() + MAX_QUIET_SECONDS
        while time.monotonic() < deadline and (more := self._events(QUIET_SECONDS)):
            changed |= self._take(more)
        return sorted(changed)

    # -- what the kernel tells ----------------------------------------------------------------------------------------

    def _events(self, seconds: float) -> list[Any]:
        if self._inotify is None:
            time.sleep(seconds)
            return []
        return list(self._inotify.read(timeout=math.ceil(seconds * 1000)))

    def _tell(self, why: str) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(f"the kernel does not tell of all changed files ({why}): they are looked for every second")

    def _watch(self) -> None:
        """Watch what there is now: directories that moved have the paths that they have now."""
        before = self._places.keys() | self._names.keys()
        self._places, self._names = {}, {}
        self._is_far = self._inotify is None
        for directory in self._directories:
            self._is_far = self._is_far or _is_far(directory.root)
            for path in directory.directories():
                number = self._added(directory.root / path)
                if number is not None:
                    self._places.setdefault(number, []).append((directory, path))
            self._watch_file(directory.root)
        for file in self._files:
            self._watch_file(file)
        for number in before - self._places.keys() - self._names.keys():
            assert self._inotify is not None  # who gave the number
            try:
                self._inotify.rm_watch(number)
            except OSError:  # it went with its directory
                continue

    def _watch_file(self, file: Path) -> None:
        """Watch a name, and what it leads to."""
        for path in {file.absolute(), file.resolve()}:
            number = self._added(path.parent)
            if number is not None:
                self._names.setdefault(number, set()).add(path.name)

    def _added(self, directory: Path) -> int | None:
        if self._inotify is None:
            return None
        try:
            return int(self._inotify.add_watch(directory, MASK))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as exc:  # the user has no watches left
            self._is_far = True
            self._tell(f"{exc.strerror}; see fs.inotify.max_user_watches")
            return None

    def _take(self, events: Iterable[Any]) -> set[str]:
        """Return the paths of events that count; new directories are watched before this returns."""
        changed: set[str] = set()
        has_moved = False
        for number, mask, _, name in events:
            if mask & flags.Q_OVERFLOW:
                changed.add("")
                has_moved = True
            if name and name in self._names.get(number, ()):
                changed.add(name)
                has_moved = True
            for directory, place in self._places.get(number, ()):
                path = _joined(place, name)
                if directory.counts(path):
                    changed.add(path)
                if mask & GONE or (mask & flags.ISDIR and mask & MOVES and directory.may_descend(path)):
                    changed.add(path)
                    has_moved = True
        if has_moved:
            self._watch()
        return changed

    # -- looking ------------------------------------------------------------------------------------------------------

    def _next_look(self) -> float:
        share, seconds = (FAR_LOOK_SHARE, FAR_LOOK_SECONDS) if self._is_far else (LOOK_SHARE, LOOK_SECONDS)
        return time.monotonic() + max(seconds, self._look_takes / share)

    def _look(self) -> bytes:
        """Return what stands for all that counts: names, kinds, owners, and of files sizes and times."""
        began = time.monotonic()
        hasher = hashlib.sha256()
        for directory in self._directories:
            for path in directory.directories():
                try:
                    with os.scandir(directory.root / path) as found:
                        entries = sorted(found, key=lambda entry: entry.name)
                except OSError:
                    continue
                for entry in entries:
                    inside = _joined(path, entry.name)
                    if directory.counts(inside):
                        hasher.update(os.fsencode(f"{inside}\0{_stamp(entry.path)}\0"))
        for file in self._files:
            hasher.update(f"{_stamp(file)} {_stamp(file.resolve())}\0".encode())
        self._look_takes = time.monotonic() - began
        return hasher.digest()


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name


def _stamp(path: str | Path) -> tuple[int, ...]:
    try:
        st = os.lstat(path)
    except OSError:
        return ()
    changes = () if stat.S_ISDIR(st.st_mode) else (st.st_mtime_ns, st.st_ctime_ns, st.st_size)
    return (st.st_mode, st.st_uid, st.st_gid, st.st_ino, *changes)


def _is_far(root: Path) -> bool:
    """Whether a directory is in a file system that others may change without this kernel knowing."""
    try:
        device = root.stat().st_dev
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with MOUNTS.open(encoding="utf-8", errors="surrogateescape") as lines:
        fields = (line.split(" ") for line in lines)
        kinds = [words[words.index("-") + 1] for words in fields if words[2] == wanted]
    return any(kind.startswith(FAR) for kind in kinds)

"""Follow the files that services are made of, and bring what changed into their containers."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.api.compose.commands import run_hook
from tiffin.builder.api.compose.jobs import run_apart
from tiffin.builder.api.compose.life import restart
from tiffin.builder.api.compose.makers import Makers
from tiffin.builder.api.compose.members import Member, members
from tiffin.builder.api.compose.up import Up, up
from tiffin.builder.api.containers.exec import ExecOptions, execute
from tiffin.builder.api.containers.files.copy import STREAM, CopyOptions, copy
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import Project, Service, Watch
from tiffin.builder.containers.files.contents import Item, Items
from tiffin.builder.containers.files.tar import write_items
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContainerError
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.layer.index import new_entry
from tiffin.cache.foundation.frozen import dataclass

POLL_SECONDS = 0.3
KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}  # what is brought
ALWAYS_IGNORED = (".git", ".git/**")
REBUILD, SYNC, RESTART, SYNC_RESTART, SYNC_EXEC = "rebuild", "sync", "restart", "sync+restart", "sync+exec"
Stamp = tuple[int, int, int]  # of a file: time, size, mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became different below the path of a rule, by relative paths."""

    written: tuple[str, ...]
    gone: tuple[str, ...]


class Watched:
    """The files of one rule."""

    def __init__(self, service: Service, rule: Watch) -> None:
        self.service = service
        self.rule = rule
        self._path = Path(rule.path)
        self._ignored = IgnoreRules.of_patterns((*ALWAYS_IGNORED, *rule.ignore), "ignore")
        self._included = IgnoreRules.of_patterns(rule.include, "include") if rule.include else None
        self._known = dict(self._look())

    @property
    def everything(self) -> tuple[str, ...]:
        """All files that there are now."""
        return tuple(self._known)

    def change(self) -> Change | None:
        """Return what changed since the last call; None for nothing."""
        now = dict(self._look())
        written = tuple(sorted(path for path, stamp in now.items() if self._known.get(path) != stamp))
        gone = tuple(sorted(self._known.keys() - now.keys()))
        self._known = now
        return Change(written=written, gone=gone) if written or gone else None

    def _look(self) -> Iterator[tuple[str, Stamp]]:
        if not self._path.is_dir():
            if self._path.exists():
                yield "", _stamp(self._path)
            return
        for folder, folders, files in os.walk(self._path):
            base = os.path.relpath(folder, self._path)
            prefix = "" if base == "." else f"{base}/"
            folders[:] = [name for name in folders if self._ignored.may_descend(f"{prefix}{name}")]
            for name in files:
                path = f"{prefix}{name}"
                if self._ignored.matches(path) or (self._included and not self._included.matches(path)):
                    continue
                try:
                    yield path, _stamp(Path(folder) / name)
                except FileNotFoundError:
                    continue


def _stamp(path: Path) -> Stamp:
    found = path.lstat()
    return found.st_mtime_ns, found.st_size, found.st_mode


class Watcher:
    """Follows all rules of some services."""

    def __init__(self, project: Project, services: Sequence[str], session: Session, sink: Sink, makers: Makers) -> None:
        self._project = project
        self._session = session
        self._sink = sink
        self._makers = makers
        wanted = [project.services[name] for name in services]
        self._watched = [Watched(service, rule) for service in wanted for rule in service.watch]
        if not self._watched:
            raise ContainerError(
                "none of the selected services is configured for watch", remedy="add develop: watch: to one of them"
            )

    def run(self) -> None:
        """Follow them without end."""
        for watched in self._watched:
            if watched.rule.initial_sync and watched.rule.action.startswith(SYNC) and watched.everything:
                self._sync(watched, Change(written=watched.everything, gone=()))
        self._told("Watch enabled")
        while True:
            time.sleep(POLL_SECONDS)
            changes = [(watched, change) for watched in self._watched if (change := watched.change())]
            rebuilt = {watched.service.name for watched, _ in changes if watched.rule.action == REBUILD}
            for watched, change in changes:
                if watched.service.name not in rebuilt:
                    self._act(watched, change)
            if rebuilt:
                self._rebuild(sorted(rebuilt))

    def _told(self, text: str) -> None:
        self._sink.emit(InfoMessage(message=text))

    def _act(self, watched: Watched, change: Change) -> None:
        action, name = watched.rule.action, watched.service.name
        if action != RESTART:
            count = len(change.written) + len(change.gone)
            self._told(f'Syncing service "{name}" after {count} changes were detected')
            self._sync(watched, change)
        if action in (RESTART, SYNC_RESTART):
            self._told(f'Restarting service "{name}" after changes were detected')
            restart(self._running(name), self._session, self._sink, project=self._project)
        if action == SYNC_EXEC and watched.rule.hook is not None:
            for member in self._running(name):
                run_hook(watched.rule.hook, member.state.id, self._session)

    def _running(self, service: str) -> list[Member]:
        found = members(self._session, self._project.name)
        return [one for one in found if one.service == service and one.is_alive]

    def _rebuild(self, names: Sequence[str]) -> None:
        self._told(f"Rebuilding service(s) {list(names)} after changes were detected...")
        how = Up(services=tuple(names), dependencies=False, builds=True)
        up(self._project, how, self._session, self._sink, self._makers)
        self._told(f"service(s) {list(names)} successfully built")

    def _sync(self, watched: Watched, change: Change) -> None:
        for member in self._running(watched.service.name):
            run_apart(_syncing(member.state.id, watched.rule, change), self._session, self._sink)


def _syncing(container: str, rule: Watch, change: Change) -> Callable[[Session, Sink], None]:
    def sync(session: Session, sink: Sink) -> None:
        if change.written == ("",):
            copy(
                CopyOptions(source=rule.path, destination=f"{container}:{rule.target}"),
                session,
                io.BytesIO(),
                io.BytesIO(),
            )
            return
        target = rule.target.rstrip("/") or "/"
        script = f"mkdir -p {shlex.quote(target)}"
        gone = [shlex.quote(f"{target}/{path}" if path else target) for path in change.gone]
        if gone:
            script += f" && rm -rf {' '.join(gone)}"
        execute(ExecOptions(container=container, command=("sh", "-c", script)), session)
        if change.written:
            packed = _packed(Path(rule.path), change.written)
            copy(CopyOptions(source=STREAM, destination=f"{container}:{target}"), session, packed, io.BytesIO())

    return sync


def _packed(folder: Path, paths: Sequence[str]) -> io.BytesIO:
    """Return a tar of files, as root's."""
    data = io.BytesIO()
    write_items(_items(folder, paths), ".", data)
    data.seek(0)
    return data


def _items(folder: Path, paths: Sequence[str]) -> Items:
    """Yield files and links below a directory; what is gone by now, or is anything else, is left out."""
    for path in paths:
        place = folder / path
        with contextlib.suppress(FileNotFoundError):
            found = place.lstat()
            kind = KINDS.get(stat.S_IFMT(found.st_mode))
            if kind is None:
                continue
            entry = new_entry(path, kind, stat.S_IMODE(found.st_mode), mtime_ns=found.st_mtime_ns)
            if kind == "symlink":
                yield Item(entry._replace(link=str(place.readlink())))
            else:
                yield Item(entry._replace(size=found.st_size), partial(_opened, place))


def _opened(place: Path) -> BinaryIO:
    return place.open("rb")

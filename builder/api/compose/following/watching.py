"""Follow the files that services are made of, and bring what changed into their containers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec

from tiffin.builder.api.compose.commands import run_hook
from tiffin.builder.api.compose.following.rules import Change, WatchedFiles
from tiffin.builder.api.compose.following.syncing import syncing
from tiffin.builder.api.compose.jobs import run_apart
from tiffin.builder.api.compose.life import restart
from tiffin.builder.api.compose.makers import Makers
from tiffin.builder.api.compose.members import Member, members
from tiffin.builder.api.compose.up import Up, up
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import Project, Service, Watch
from tiffin.builder.errors import ContainerError, TiffinError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sources.watch import FileWatch, WatchedDirectory
from tiffin.cache.store.statedir import forget_scratches, remove_scratches

REBUILD, SYNC, RESTART, SYNC_RESTART, SYNC_EXEC = "rebuild", "sync", "restart", "sync+restart", "sync+exec"

P = ParamSpec("P")


class Watcher:
    """Follows all rules of some services. Raises ContainerError where there is none that can be followed."""

    def __init__(self, project: Project, services: Sequence[str], session: Session, sink: Sink, makers: Makers) -> None:
        self._project = project
        self._session = session
        self._sink = sink
        self._makers = makers
        self._rules = [
            (service, rule)
            for service in (project.services[name] for name in services)
            for rule in service.watch
            if self._can_follow(service, rule)
        ]
        if not self._rules:
            raise ContainerError(
                "none of the selected services is configured for watch", remedy="add develop: watch: to one of them"
            )

    def _can_follow(self, service: Service, rule: Watch) -> bool:
        if rule.action == REBUILD and service.build is None:
            raise ContainerError(
                f"service {service.name} has no build, and watches {rule.path} to be rebuilt",
                remedy="give it one, or use sync or restart",
            )
        if rule.action == SYNC_EXEC and rule.hook is None:
            raise ContainerError(f"service {service.name}: sync+exec needs exec", remedy="say exec: {command: …}")
        for mount in service.mounts:
            if mount.kind == "bind" and f"{rule.path}/".startswith(f"{mount.source.rstrip('/')}/"):
                self._warn(f"{rule.path} is mounted into service {service.name}, and not watched")
                return False
        return True

    def run(self) -> None:
        """Follow them without end; what fails is told."""
        with FileWatch(self._warn) as files:
            watched = [WatchedFiles(service, rule) for service, rule in self._rules]
            for one in watched:
                if one.rule.initial_sync and one.rule.action.startswith(SYNC) and one.everything:
                    self._try(self._sync, one, Change(written=one.everything, gone=()))
            self._told("Watch enabled")
            while True:
                places = [one.place for one in watched]
                files.begin(
                    [place for place in places if isinstance(place, WatchedDirectory)],
                    [place for place in places if isinstance(place, Path)],
                )
                changes = [(one, change) for one in watched if (change := one.change())]
                if not changes:
                    files.wait()
                    continue
                rebuilt = sorted({one.service.name for one, _ in changes if one.rule.action == REBUILD})
                for one, change in changes:
                    if one.service.name not in rebuilt:
                        self._try(self._act, one, change)
                if rebuilt:
                    self._try(self._rebuild, rebuilt)

    def _try(self, do: Callable[P, None], *words: P.args, **more: P.kwargs) -> None:
        """Do it; what fails is told, and the next change tries again."""
        try:
            do(*words, **more)
        except TiffinError as exc:
            self._warn(str(exc))

    def _warn(self, text: str) -> None:
        self._sink.emit(WarningMessage(message=text))

    def _told(self, text: str) -> None:
        self._sink.emit(InfoMessage(message=text))

    def _act(self, watched: WatchedFiles, change: Change) -> None:
        action, name = watched.rule.action, watched.service.name
        if action != RESTART:
            count = len({*change.written, *change.gone})
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

    def _sync(self, watched: WatchedFiles, change: Change) -> None:
        for member in self._running(watched.service.name):
            run_apart(syncing(member.state.id, watched.rule, change), self._session, self._sink)


@contextlib.contextmanager
def watching_beside(watcher: Watcher, sink: Sink) -> Iterator[None]:
    """Have a child follow files during the block. Call it while the process has one thread."""
    child = os.fork()
    if child == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
            forget_scratches()  # they are the parent's
            watcher.run()
        except TiffinError as exc:
            sink.emit(WarningMessage(message=f"files are not watched any more: {exc}"))
        finally:
            remove_scratches()
            os._exit(0)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)

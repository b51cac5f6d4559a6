"""What the containers of a project print, and how they end."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tiffin.builder.api.compose.members import Member, members, of_services
from tiffin.builder.api.containers.logs import LOOK_SECONDS, read_log
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.changes import CREATED, Changes
from tiffin.builder.containers.lifecycle.log import LogEntry, LogReader, time_text
from tiffin.builder.containers.state import ContainerState
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line, or the part of one, that a container printed."""

    member: Member
    entry: LogEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEnded:
    """A container ended."""

    member: Member
    exit_code: int


def logs(
    found: Sequence[Member],
    session: Session,
    *,
    last: int | None = None,
    since_ns: int = 0,
    until_ns: int | None = None,
) -> Iterator[LogLine]:
    """Yield what containers printed, by time."""

    def lines(member: Member) -> Iterator[tuple[str, int, LogLine]]:
        entries = read_log(member.state.id, session, last=last, since_ns=since_ns, until_ns=until_ns)
        for number, entry in enumerate(entries):
            yield entry.time, number, LogLine(member=member, entry=entry)

    for _, _, line in heapq.merge(*(lines(one) for one in found), key=lambda item: item[:2]):
        yield line


class Follower:
    """Follows the containers of some services of a project, also those that come later."""

    def __init__(
        self,
        project: str,
        services: Collection[str],
        session: Session,
        *,
        since_ns: int,
        awaited: Collection[str] = (),
    ) -> None:
        self._project = project
        self._services = services
        self._awaited = awaited
        self._session = session
        self._since = time_text(since_ns)
        self._readers: dict[str, LogReader] = {}
        self._holders: dict[str, int] = {}  # the process that held a container when it was seen last
        self._ended: dict[str, float] = {}  # when it ended, as was told last
        self._changes = Changes(session.state.containers, CREATED)

    def follow(self) -> Iterator[LogLine | MemberEnded]:
        """Yield lines and ends as they come, until no container of the awaited services, or of any, runs any more."""
        containers = Containers(self._session.state)
        while True:
            found = of_services(members(self._session, self._project), self._services)
            quiet = True
            for member in found:
                for entry in self._reader(containers.folder(member.state.id), member.state).new():
                    if entry.time >= self._since:
                        quiet = False
                        yield LogLine(member=member, entry=entry)
                state = member.state
                ended = not member.is_alive and state.started and time_text(round(state.finished * 1e9)) >= self._since
                if ended and self._ended.get(state.id) != state.finished:
                    self._ended[state.id] = state.finished
                    quiet = False
                    yield MemberEnded(member=member, exit_code=member.exit_code)
            if quiet and not any(member.is_alive for member in of_services(found, self._awaited)):
                return
            if quiet:
                self._changes.wait(LOOK_SECONDS)

    def _reader(self, folder: Path, state: ContainerState) -> LogReader:
        """Return what reads the log of a container; it is watched from the first time on, and each of its holders."""
        if state.id not in self._readers:
            self._changes.add(folder)
            self._readers[state.id] = LogReader(folder)
        if self._holders.get(state.id) != state.pid:
            self._holders[state.id] = state.pid
            self._changes.add_holder(state)
        return self._readers[state.id]

    def close(self) -> None:
        """Let the files go."""
        self._changes.close()
        for reader in self._readers.values():
            reader.close()

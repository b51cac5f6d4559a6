"""What a container changed: as a layer has it, and as diff tells it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.api.containers.trees import find_trees
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Container, Containers
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import BuildError, ContainerError, SandboxError
from tiffin.builder.layer.below import LowerLayers, TreesBelow
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.index import sort_key
from tiffin.builder.layer.unchanged import reduced
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.cache.foundation.frozen import dataclass

ADDED, CHANGED, DELETED = "A", "C", "D"  # docker's
TRIES = 5  # of reading what something changes meanwhile
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of a container at hand: `trees` lie below what it changed, bottom first."""

    container: Container
    isolation: Isolation
    record: ContainerRecord
    trees: Sequence[Path]
    runs: bool

    def changes(self) -> tuple[Sequence[Change], LowerLayers]:
        """Return what it changed, sorted, and what lies below. Raises ContainerError for what changes all the time."""
        state = self.container.state
        if not self.isolation.overlay:
            raise ContainerError(
                f"what container {state.name} changed is not known: its layers are not mounted but copied here",
                remedy="see tiffin info for what lifts that",
            )
        below = TreesBelow(self.trees)
        for number in range(TRIES):
            try:
                return reduced(diff_upper(self.container.upper), below).changes, below
            except BuildError as exc:
                if not self.runs:
                    raise
                if number == TRIES - 1:
                    raise ContainerError(
                        f"what container {state.name} changed cannot be read while it runs: {exc.message}",
                        remedy="pause or stop it first",
                    ) from exc
                time.sleep(PAUSE_SECONDS)
        raise AssertionError


@contextlib.contextmanager
def files_of(name: str, session: Session) -> Iterator[Files]:
    """Yield the files of a container, in this process, which enters their namespace for good; nothing is pruned.

    Raises ImageNotFoundError, SandboxError, ImageError.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    record = ContainerRecord.read(containers.folder(state.id))
    with ExitStack() as stack:
        resting = stack.enter_context(containers.at_rest(state))
        isolation = entered(session, state, record)
        stack.enter_context(session.state.lock("prune", shared=True))
        container = resting or containers.opened(state)
        found = find_trees(session, isolation, container, record)
        if resting is not None and not isolation.overlay:
            container.note_whole()
        yield Files(container=container, isolation=isolation, record=record, trees=found.trees, runs=resting is None)


def entered(session: Session, state: ContainerState, record: ContainerRecord) -> Isolation:
    """Enter the namespace that the files of a container belong to. Raises SandboxError where there is another now."""
    isolation = session.become_root(record.isolation or None, keep=state.keep)
    if isolation.idmap_tag != record.id_map:
        raise SandboxError(
            f"container {state.name} was made under another id map ({record.id_map}) than this machine has now "
            f"({isolation.idmap_tag})",
            remedy="make it again, or take the change of /etc/subuid back",
        )
    return isolation


def diff(name: str, session: Session) -> list[tuple[str, str]]:
    """Return what a container added, changed and deleted: letter and path, sorted. Raises TiffinError."""
    with files_of(name, session) as files:
        changes, below = files.changes()
        return told(changes, below)


def told(changes: Sequence[Change], below: LowerLayers) -> list[tuple[str, str]]:
    """Return changes as docker tells them; what a directory hides that was made again is deleted."""
    paths = {change.entry.path for change in changes}
    rows = []
    for change in changes:
        path = change.entry.path
        if change.entry.kind == "whiteout":
            rows.append((DELETED, path))
            continue
        found = below.lookup(path)
        rows.append((ADDED if found is None else CHANGED, path))
        if change.entry.opaque and found is not None and found.entry.kind == "dir":
            children = (f"{path}/{child}" for child in below.children(path))
            rows += [(DELETED, child) for child in children if child not in paths]
    return [(letter, f"/{path}") for letter, path in sorted(rows, key=lambda row: sort_key(row[1]))]

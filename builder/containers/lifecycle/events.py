"""What happened to containers, images, networks and volumes: events.jsonl of the state directory, a line for each.

Any number of processes append, each line by one write. A file that is full becomes events.jsonl.1, in the place of the
one before: whoever still has it open loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from typing import BinaryIO

    from tiffin.builder.containers.state import ContainerState

FILE = "events.jsonl"
MAX_FILE_BYTES = 4 << 20
LOCK = "events"
CONTAINER, IMAGE, NETWORK, VOLUME = "container", "image", "network", "volume"
NANOSECONDS = 1_000_000_000
_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
BEGINNING = b'{"Type"'  # of every line
NEVER_LOOK_SECONDS = 60.0  # where the kernel has no watch left


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """One event; `identity` is the container's id or the object's name."""

    kind: str
    action: str
    identity: str
    attributes: Mapping[str, str]
    time_ns: int

    def document(self) -> dict[str, object]:
        """Return it as docker's API has it."""
        common: dict[str, object] = {
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.identity, "Attributes": dict(self.attributes)},
            "scope": "local",
            "time": self.time_ns // NANOSECONDS,
            "timeNano": self.time_ns,
        }
        if self.kind == CONTAINER:
            return {"status": self.action, "id": self.identity, "from": self.attributes.get("image", ""), **common}
        return {"status": self.action, "id": self.identity, **common} if self.kind == IMAGE else common


def record_event(
    state: StateDir, kind: str, action: str, identity: str, attributes: Mapping[str, str] = _NO_ATTRIBUTES
) -> None:
    """Append an event of a `kind` of object. What cannot be written stops nothing."""
    row = {"Type": kind, "Action": action, "ID": identity, "Attributes": {**attributes}, "timeNano": time.time_ns()}
    path = state.root / FILE
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json_text.dumps(row).encode() + b"\n")
            is_full = os.fstat(fd).st_size > MAX_FILE_BYTES
        finally:
            os.close(fd)
        if is_full:
            _rotate(state, path)


def record_of_container(state: StateDir, container: ContainerState, action: str, **attributes: str) -> None:
    """Append an event of a container, with its labels, image and name as docker adds them."""
    members = {**container.labels, "image": container.image, "name": container.name, **attributes}
    record_event(state, CONTAINER, action, container.id, members)


def record_of_image(state: StateDir, action: str, identity: str, name: str) -> None:
    """Append an event of an image, by its id or, where it comes or goes, by its name."""
    record_event(state, IMAGE, action, identity, {"name": name})


def _rotate(state: StateDir, path: Path) -> None:
    with state.lock(LOCK, blocking=False) as is_ours:
        if is_ours and path.stat().st_size > MAX_FILE_BYTES:
            path.replace(path.with_name(f"{FILE}.1"))


def read_events(
    state: StateDir, *, since_ns: int | None = None, until_ns: int | None = None, follows: bool = True
) -> Iterator[RecordedEvent]:
    """Yield events, oldest first: those of a span of Unix nanoseconds, without `since_ns` only what is to come.

    It ends at `until_ns`, and without `follows` with the last that is there.
    """
    for event in _read(state.root / FILE, since_ns is not None, until_ns, follows):
        if until_ns is not None and event.time_ns > until_ns:
            return
        if since_ns is None or event.time_ns >= since_ns:
            yield event


def _read(path: Path, with_past: bool, until_ns: int | None, follows: bool) -> Iterator[RecordedEvent]:
    if with_past:
        with contextlib.suppress(FileNotFoundError), path.with_name(f"{FILE}.1").open("rb") as file:
            yield from _rows(file)
    while True:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with path.open("rb") as file:
            if not with_past:
                file.seek(0, os.SEEK_END)
            yield from _rows(file)
            if not follows:
                return
            with_past = True
            yield from _follow(path, file, until_ns)
            if until_ns is not None and time.time_ns() >= until_ns:
                return


def _follow(path: Path, file: BinaryIO, until_ns: int | None) -> Iterator[RecordedEvent]:
    """Yield what is appended to a file, until another one is in its place or it is late enough."""
    from tiffin.builder.containers.lifecycle.changes import Changes
    from tiffin.builder.containers.lifecycle.json_lines import is_replaced

    with Changes(path) as changes:
        while True:
            is_last = is_replaced(path, file)
            yield from _rows(file)
            left = None if until_ns is None else (until_ns - time.time_ns()) / NANOSECONDS
            if is_last or (left is not None and left <= 0):
                return
            changes.wait(min(NEVER_LOOK_SECONDS, left) if left is not None else NEVER_LOOK_SECONDS)


def _rows(file: BinaryIO) -> Iterator[RecordedEvent]:
    from tiffin.builder.containers.lifecycle.json_lines import whole_lines

    for row in whole_lines(file):
        event = _event(row) or _event(row[row.rfind(BEGINNING) :])  # the disk was full in the middle of the one before
        if event is not None:
            yield event


def _event(row: bytes) -> RecordedEvent | None:
    try:
        members = json_text.loads(row)
        return RecordedEvent(
            kind=members["Type"],
            action=members["Action"],
            identity=members["ID"],
            attributes={str(name): str(value) for name, value in members["Attributes"].items()},
            time_ns=int(members["timeNano"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

"""What is known of one step of a build: what its command wrote, what it changed, its files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.api.buildx.history import History
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.debug import trees_of
from tiffin.builder.api.steps.image_diff import FileDifference, file_differences
from tiffin.builder.api.steps.kept_steps import KeptStep, find_record, find_step, steps_of_build
from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.errors import NotFoundError
from tiffin.builder.events import Sink
from tiffin.builder.image.archive_write import output_file
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree
from tiffin.builder.owner_xattrs import noted_owner
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass

MAX_DATA_BYTES = 64 << 10  # of a file that is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a step. `mode` with the kind, as ls shows it; `link`: where it leads; `data` None where not asked for,
    else cut after MAX_DATA_BYTES.
    """

    name: str
    mode: str
    owner: str
    size_bytes: int
    mtime: float
    is_directory: bool
    link: str = ""
    data: bytes | None = None


def log_of(session: Session, build: str, text: str) -> Iterator[bytes]:
    """Yield what the command of a step wrote, in the order in which it did. Raises NotFoundError."""
    record, wanted = find_record(session, build), find_step(session, build, text)
    number = next(
        number
        for number, step in steps_of_build(session, record)
        if (step.index, step.number, step.label) == (wanted.index, wanted.number, wanted.label)
    )
    for line in History(session).events(record.id):
        event = json.loads(line)
        if event["type"] == "step_output" and str(event["step_id"]) == number:
            yield event["data"].encode("utf-8", "replace")


def changes_of_step(step: KeptStep, session: Session, sink: Sink) -> tuple[FileDifference, ...]:
    """Return what a step changed, also one that failed. Raises NotFoundError, StoreError."""
    layers = session.layers(lambda: session.remote(sink, RegistryAccess()))
    with ExitStack() as stack:
        below = [layers.ensure_index(layer.diff_id, layer.blob) for layer in step.chain(after=False)]
        if step.failure:
            from tiffin.builder.layer.disk.diff import diff_upper

            upper = trees_of(step, False, step.failure, session, sink, stack)[-1]
            own = LayerIndex([change.entry for change in diff_upper(upper)])
        else:
            layer = step.chain(after=True)[-1]
            own = layers.ensure_index(layer.diff_id, layer.blob)
        return tuple(file_differences(_entries([*below]), _entries([*below, own]), times=False))


def _entries(tables: list[LayerIndex]) -> dict[str, Entry]:
    tree = MergedTree(tables)
    return {item.entry.path: tree.target(item).entry for item in tree.walk()}


def files_of_step(step: KeptStep, before: bool, path: str, session: Session, sink: Sink) -> tuple[File, ...]:
    """Return what is in a directory of a step, or the file itself with its content. Raises NotFoundError."""
    with ExitStack() as stack:
        view = RootView(trees_of(step, before, "" if before else step.failure, session, sink, stack))
        place = view.resolve(path.strip("/") or ".")
        host = view.host_path(place)
        if host is None:
            raise NotFoundError(f"there is no {path}", remedy="name a path of the step's files")
        if not view.is_directory(place):
            return (_file(Path(path).name, host, reads=True),)
        names = [(name, view.host_path(name if place == "." else f"{place}/{name}")) for name in view.children(place)]
        return tuple(_file(name, found) for name, found in names if found is not None)


def _file(name: str, host: str, *, reads: bool = False) -> File:
    st = os.lstat(host)
    uid, gid = noted_owner(Path(host)) or (st.st_uid, st.st_gid)
    data = None
    if reads and stat.S_ISREG(st.st_mode):
        with Path(host).open("rb") as stream:
            data = stream.read(MAX_DATA_BYTES + 1)
    return File(
        name=name,
        mode=stat.filemode(st.st_mode),
        owner=f"{uid}:{gid}",
        size_bytes=st.st_size,
        mtime=st.st_mtime,
        is_directory=stat.S_ISDIR(st.st_mode),
        link=os.fspath(Path(host).readlink()) if stat.S_ISLNK(st.st_mode) else "",
        data=data,
    )


def export_step(step: KeptStep, before: bool, dest: str, stdout: BinaryIO, session: Session, sink: Sink) -> None:
    """Write all files of a step as a tar, owners and all, to the file `dest`, "-" for stdout. Raises NotFoundError,
    StoreError.
    """
    from tiffin.builder.containers.export import export_tar

    with ExitStack() as stack:
        trees = trees_of(step, before, "" if before else step.failure, session, sink, stack)
        export_tar(trees, stack.enter_context(output_file(dest, stdout)))

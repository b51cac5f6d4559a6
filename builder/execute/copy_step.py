"""Execute COPY, ADD and WORKDIR: from tables to a layer, without running anything."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.errors import BuildError, CorruptError, ImageError, Span
from tiffin.builder.image.users import resolve_owner
from tiffin.builder.instructions.ops import CopyOp, InlineFile, WorkdirOp
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.compression.codecs import decompressor, sniff
from tiffin.builder.layer.tar.fields import SNIFF_BYTES, looks_like_tar
from tiffin.builder.sources.copier import Copier, Style
from tiffin.builder.sources.selection import Selected
from tiffin.builder.sources.trees import ROOT, LayerTree, SourceTree
from tiffin.builder.sources.unpacking import Unpacker, UnpackStyle
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The times new entries get: `now_ns`, and `epoch_ns` where SOURCE_DATE_EPOCH rules."""

    now_ns: int
    epoch_ns: int | None

    @property
    def stamp_ns(self) -> int:
        return self.now_ns if self.epoch_ns is None else self.epoch_ns


def workdir_changes(op: WorkdirOp, destination: LayerTree, clock: Clock, span: Span) -> list[Change]:
    """Return the directories WORKDIR makes; none if it is there."""
    path = destination.resolve(op.path.strip("/"))
    existing = destination.lookup(path)
    if existing is not None and existing.kind == "dir":
        return []
    owner = resolve_owner(op.user, destination.read_file, span=span) if op.user else None
    copier = Copier(destination, Style(owner=owner, chmod="", now_ns=clock.stamp_ns, time_ns=None), span)
    copier.make_directory(path)
    return copier.changes()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGroup:
    """Sources of one origin: the tree they lie in, and which of its paths they are."""

    tree: SourceTree
    selected: list[Selected]
    unpack: bool


def copy_changes(
    op: CopyOp,
    groups: Sequence[SourceGroup],
    destination: LayerTree,
    clock: Clock,
    *,
    scratch: Path,
    span: Span,
) -> list[Change]:
    """Return what COPY or ADD changes. Without --chown owners are the source's, which in a context is root."""
    owner = None
    if op.chown:
        owner = resolve_owner(op.chown, _nobody if op.link else destination.read_file, span=span)
    style = Style(owner=owner, chmod=op.chmod, now_ns=clock.stamp_ns, time_ns=clock.epoch_ns, alone=op.link)
    copier = Copier(destination, style, span)
    alone = sum(len(group.selected) for group in groups) + len(op.inline) < 2
    for number, group in enumerate(groups):
        if not group.unpack:
            copier.copy(group.tree, group.selected, op.dest, alone=alone)
            continue
        for count, item in enumerate(group.selected):
            if _is_archive(group.tree, item):
                _unpack(copier, op.dest, style, group.tree, item, scratch / f"archive-{number}-{count}", span)
            else:
                copier.copy(group.tree, [item], op.dest, alone=alone)
    for file in op.inline:
        copier.add_file(file.name, op.dest, len(file.data), Digest.of(file.data).hex, _bytes_opener(file))
    return copier.changes()


def _nobody(_: str) -> bytes | None:
    """Return the passwd file of a layer that knows nothing of what is below it."""
    return None


def _bytes_opener(file: InlineFile) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(file.data)


def _is_archive(source: SourceTree, item: Selected) -> bool:
    """Whether a file is a tar, plain or compressed, by its content, as Docker decides it."""
    if item.entry.kind != "file" or not item.entry.size:
        return False
    with source.opener(item.entry)() as stream:
        head = stream.read(SNIFF_BYTES)
        kind = sniff(head)
        if kind == "none":
            return looks_like_tar(head)
        try:
            stream.seek(0)
            with decompressor(stream, kind) as plain:
                return looks_like_tar(plain.read(SNIFF_BYTES))
        except CorruptError:
            return False


def _unpack(
    copier: Copier, dest: str, style: Style, source: SourceTree, item: Selected, spool: Path, span: Span
) -> None:
    """Unpack an archive as ADD does: it is decompressed to `spool`, which is read when the layer is packed."""
    root = copier.tree.resolve(dest.strip("/") or ROOT)
    copier.make_directory(root, chmod="")
    try:
        with (
            source.opener(item.entry)() as stream,
            spool.open("xb") as sink,
            decompressor(stream, "auto") as plain,
        ):
            while chunk := plain.read(COPY_CHUNK_BYTES):
                sink.write(chunk)
        Unpacker(copier.tree, root, UnpackStyle(owner=style.owner, time_ns=style.time_ns)).unpack(spool)
    except (CorruptError, ImageError) as exc:
        raise BuildError(
            f'cannot unpack "{item.name}": {exc.message}', span=span, remedy=exc.remedy or "check the archive"
        ) from exc


def written_below(tree: Path, changes: Iterable[Change]) -> list[Change]:
    """Return changes with the content that they have where they were written: below `tree`."""
    return [
        change._replace(
            open=_opener_below(tree, change),
            inside=change.inside and partial(_written_inside, tree, change.inside),
        )
        for change in changes
    ]


def _written_inside(tree: Path, inside: Callable[[], Iterator[Change]]) -> Iterator[Change]:
    for change in inside():
        yield Change(change.entry, _opener_below(tree, change))


def _opener_below(tree: Path, change: Change) -> Callable[[], BinaryIO] | None:
    """Return what opens the file of a change where it was written, None for what is no file with content."""
    if change.open is None:
        return None
    path = f"{tree}/{change.entry.path}"

    def open_file() -> BinaryIO:
        try:
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)
        except OSError as exc:
            raise BuildError(f"cannot read {path}: {exc.strerror}", remedy="build again") from exc

    return open_file

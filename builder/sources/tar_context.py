"""A build context that is a tar: read from where it lies through its table of contents, never extracted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError, CorruptError
from tiffin.builder.layer.compression.codecs import decompressor, sniff
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.tar.fields import SNIFF_BYTES, looks_like_tar
from tiffin.builder.layer.unpack import index_layer
from tiffin.builder.sources.layer_files import open_packed
from tiffin.builder.sources.trees import LayerTree
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors

EMPTY_ARCHIVE = bytes(SNIFF_BYTES)  # tar writes nothing but zeros where there are no files


def spooled(stream: BinaryIO, place: Path) -> Path:
    """Write `stream` to the new file `place`, decompressed if it is compressed."""
    packed = place.with_name(f"{place.name}.packed")
    with disk_errors(place), packed.open("xb") as sink:
        while data := stream.read(COPY_CHUNK_BYTES):
            sink.write(data)
    with packed.open("rb") as source:
        kind = sniff(source.read(SNIFF_BYTES))
        source.seek(0)
        if kind == "none":
            return packed
        try:
            with disk_errors(place), decompressor(source, kind) as plain, place.open("xb") as sink:
                while data := plain.read(COPY_CHUNK_BYTES):
                    sink.write(data)
        except CorruptError as exc:
            raise ContextError(f"the build context is damaged: {exc.message}", remedy="make the archive again") from exc
    packed.unlink()
    return place


def is_tar(path: Path) -> bool:
    """Whether the plain file `path` is a tar."""
    with path.open("rb") as stream:
        head = stream.read(SNIFF_BYTES)
    return looks_like_tar(head) or head == EMPTY_ARCHIVE


def tar_tree(path: Path, what: str) -> LayerTree:
    """Return the files of a plain tar as a context: all of them root's. Raises ContextError."""
    return part_tree(path, tar_entries(path, what), what)


def tar_entries(path: Path, what: str) -> list[Entry]:
    """Return what a plain tar holds, all of it root's; the whole tar is read for that. Raises ContextError."""
    try:
        with path.open("rb") as stream:
            index = index_layer(stream)
    except CorruptError as exc:
        raise ContextError(f"{what} is damaged: {exc.message}", remedy="make the archive again") from exc
    return [entry._replace(uid=0, gid=0) for entry in index.entries if entry.kind != "whiteout"]


def part_tree(
    path: Path, entries: Sequence[Entry], what: str, *, directory: str = "", rules: IgnoreRules | None = None
) -> LayerTree:
    """Return what is below `directory` of a tar as a context, without what `rules` match. Raises ContextError."""
    names: dict[str, str] = {}  # in the archive, where another is shown
    if directory or rules is not None:
        names = _kept_names(entries, directory, rules, what)
        entries = _part(entries, names)
    shown = {name: origin for origin, name in names.items()}
    return LayerTree(
        [LayerIndex(entries)],
        lambda _, entry: open_packed(path, entry._replace(path=shown.get(entry.path, entry.path))),
    )


def _kept_names(entries: Sequence[Entry], directory: str, rules: IgnoreRules | None, what: str) -> dict[str, str]:
    """Return the names that entries of a part of an archive have in it, by their names in the archive."""
    prefix = f"{directory}/" if directory else ""
    below = {entry.path: entry.path.removeprefix(prefix) for entry in entries if entry.path.startswith(prefix)}
    if not below:
        raise ContextError(f"{what} has no directory {directory}", remedy="name one of the archive")
    if rules is None:
        return below
    kept = {path: name for path, name in below.items() if not rules.matches(name)}
    parents = {f"{prefix}{parent}" for name in kept.values() for parent in Path(name).parents}
    return kept | {path: name for path, name in below.items() if path in parents}


def _part(entries: Sequence[Entry], names: dict[str, str]) -> list[Entry]:
    """Return the entries that `names` has, under those names; a link to what is left out becomes the file itself."""
    by_path = {entry.path: entry for entry in entries}
    result = []
    for entry in entries:
        if entry.path not in names:
            continue
        target = entry
        while target.kind == "hardlink" and target.link not in names and target.link in by_path:
            target = by_path[target.link]
        link = names[target.link] if target.kind == "hardlink" and target.link in names else target.link
        result.append(target._replace(path=names[entry.path], link=link))
        if target is not entry:
            names[target.path] = names[entry.path]  # where its content is
    return result

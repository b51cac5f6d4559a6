"""What the files of one layer tell of software: read once, and kept beside the layer's table.

Nothing is unpacked. Files are read where they lie: in an unpacked tree, in a tar that is not compressed, or as they
pass by while a compressed one is read.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.errors import CanceledError
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compression.readahead import read_ahead
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.tar.reader import Opaque, read_layer
from tiffin.builder.layer.tar.section_reader import FileSlice
from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.catalogers.table import elsewhere, is_claimed, wanted
from tiffin.builder.sbom.elf import MAGIC
from tiffin.builder.sbom.facts import Fact, LayerRecord, Unread
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES

BUFFER_BYTES = 16 << 10  # much is read of few files, little of most
MAX_IN_MEMORY_BYTES = 64 << 20  # of a file that passes by
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LayerReader:
    """Reads layers, each once: what was found is kept. `scratch` is a directory of the caller's; `is_canceled`: whether
    nobody wants to know any more.
    """

    def __init__(self, layers: LayerStore, scratch: Path, is_canceled: Callable[[], bool] = lambda: False) -> None:
        self._layers = layers
        self._scratch = scratch
        self._is_canceled = is_canceled

    def record(self, layer: LayerRef) -> LayerRecord:
        """Return what a layer tells. Raises StoreError, CorruptError, ImageError, CanceledError."""
        known = self._kept(layer)
        if known is not None:
            return known
        index = self._layers.ensure_index(layer.diff_id, layer.blob)
        wants = wanted(index.entries)
        facts: dict[str, list[Fact]] = {
            path: [Unread(reason=f"packages are not looked for in {target}, where this leads; make it a directory")]
            for path, target in elsewhere(index).items()
        }
        if wants:
            for entry, file in self._contents(layer, index, wants):
                self._go_on()
                found = [fact for row in wants[entry.path] for fact in facts_of(row, entry, file)]
                if found:
                    facts[entry.path] = found
        record = LayerRecord(facts=facts)
        self._layers.snapshots.write_packages(layer.diff_id, record.encode())
        return record

    def has_record(self, layer: LayerRef) -> bool:
        """Whether a layer was read before."""
        return self._kept(layer) is not None

    def _kept(self, layer: LayerRef) -> LayerRecord | None:
        data = self._layers.snapshots.packages(layer.diff_id)
        return LayerRecord.decode(data) if data is not None else None

    def _contents(
        self, layer: LayerRef, index: LayerIndex, wants: Mapping[str, tuple[Cataloger, ...]]
    ) -> Iterator[tuple[Entry, BinaryIO]]:
        """Yield the wanted files of a layer with their content, which can be read until the next is asked for."""
        tree = self._layers.snapshot(layer.diff_id)
        plain = self._layers.plain_blob(layer.diff_id, layer.blob) if tree is None else None
        if tree is None and plain is None:
            yield from self._passing(layer, index, wants)
            return
        for path in wants:
            entry = _file(index, path)
            if entry.kind != "file":
                continue  # another name of a link
            if tree is not None:
                file = os.fdopen(os.open(f"{tree}/{path}", _READ), "rb", BUFFER_BYTES)
            elif plain is not None and entry.offset >= 0:
                fd = os.open(plain, os.O_RDONLY | os.O_CLOEXEC)
                file = io.BufferedReader(FileSlice(fd, entry.offset, entry.size), BUFFER_BYTES)
            else:
                continue  # a sparse file in a tar: no program writes databases or packages as such
            with file:
                yield entry, file

    def _passing(
        self, layer: LayerRef, index: LayerIndex, wants: Mapping[str, object]
    ) -> Iterator[tuple[Entry, BinaryIO]]:
        """Yield the wanted files while the layer's tar is read: they are found by where they lie in it."""
        places: dict[int, list[Entry]] = {}
        for path in wants:
            entry = _file(index, path)
            places.setdefault(entry.offset, []).append(entry)
        with self._layers.open_tar(layer.diff_id, layer.blob) as tar, read_ahead(tar) as ahead:
            for item in read_layer(ahead):
                self._go_on()
                if isinstance(item, Opaque):
                    continue
                told, content = item
                entries = places.get(told.offset, [])
                if not entries or content is None or told.offset < 0 or told.size != entries[0].size:
                    continue
                with self._spooled(content, told.size) as file:
                    for entry in entries:
                        yield entry, file

    def _go_on(self) -> None:
        if self._is_canceled():
            raise CanceledError

    def _spooled(self, content: BinaryIO, size: int) -> BinaryIO:
        """Return a passing file so that it can be read at random."""
        whole: BinaryIO = (
            io.BytesIO() if size <= MAX_IN_MEMORY_BYTES else cast(BinaryIO, tempfile.TemporaryFile(dir=self._scratch))  # noqa: SIM115  # the caller closes it
        )
        while data := content.read(COPY_CHUNK_BYTES):
            whole.write(data)
        whole.seek(0)
        return whole


def _file(index: LayerIndex, path: str) -> Entry:
    """Return the file at `path` under this name; where it is another name of a file, what that one holds."""
    entry = index.by_path[path]
    return index.by_path[entry.link]._replace(path=path) if entry.kind == "hardlink" else entry


def facts_of(row: Cataloger, entry: Entry, file: BinaryIO) -> list[Fact]:
    """Return what a cataloger finds in a file; one that it cannot read is said, not passed over."""
    file.seek(0)
    if row.reads_programs:
        if file.read(len(MAGIC)) != MAGIC:
            return []
        file.seek(0)
    try:
        return list(row.read(Source(entry.path, entry.size, file, is_claimed)))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        if row.reads_programs:
            return []  # a program that is damaged does not run
        return [Unread(reason=f"{row.name}: {str(exc) or type(exc).__name__}")]

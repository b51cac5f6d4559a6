"""More layers than steps (`layers=split`): what a step changed becomes several layers, so that a rebuild moves few.

Steps are run and cached as ever. A part is packed once: whatever layer it is cut from, its table decides its bytes. So
a rebuild reads and compresses only the parts that differ, and none where nothing changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial

from tiffin.builder.errors import CorruptError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.solver.results import Split
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.sha256 import short_sha256
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.layer.index import LayerIndex
    from tiffin.builder.sources.layer_files import Members

VERSION = 1  # of cuts and of what parts look like
PARTS = "parts:"  # names of the table: what layers were cut into
PART = "part:"  # and which layer a table is
Parts = tuple[tuple[Digest, ...], ...]  # of each layer


class Workshop(Protocol):
    """What cutting works with; `keep` and `kept` are small things by name, for later builds."""

    @property
    def layers(self) -> LayerStore: ...

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def state(self) -> StateDir: ...

    @property
    def sink(self) -> Sink: ...

    @property
    def enter(self) -> Callable[[], object]: ...

    @property
    def keep(self) -> Callable[[str, bytes], None] | None: ...

    @property
    def kept(self) -> Callable[[str], bytes | None]: ...


class NamedValues(Protocol):
    """Small values by name."""

    def names(self) -> Iterator[str]: ...

    def get(self, name: str) -> bytes | None: ...

    def delete(self, name: str) -> None: ...


class Splitter:
    """Cuts layers into parts."""

    def __init__(self, split: Split, compression: Compression, workshop: Workshop) -> None:
        self._split = split
        self._compression = compression
        self._workshop = workshop
        self._layers = workshop.layers
        self._new = 0  # parts that were packed

    def split(self, chain: Chain, ends: Sequence[int]) -> tuple[Chain, tuple[int, ...]]:
        """Return the layers of the image, and for each step how many of them end with it; `chain` and `ends` are so
        without any cut.
        """
        base = [layer for layer in chain if layer.base]
        own = chain[len(base) :]
        name = self._name(len(base), own)
        parts = self._known(name)
        if parts is None:
            parts = self._divide(len(base), own)
            self._keep(name, parts)
        result: list[LayerRef] = list(base)
        for layer, diff_ids in zip(own, parts, strict=True):
            if len(diff_ids) == 1:
                result.append(layer)
            else:
                result += [LayerRef(diff_id=diff_id, blob=None, created=layer.created) for diff_id in diff_ids]
        counts = iter(parts)
        return tuple(result), tuple(len(next(counts)) if end else 0 for end in ends)

    def _keep(self, name: str, parts: Parts) -> None:
        if self._workshop.keep is not None:
            self._workshop.keep(name, json.dumps([[str(part) for part in item] for item in parts]).encode())

    def _name(self, below: int, own: Chain) -> str:
        """Return under which name the parts of these layers are noted."""
        document = [VERSION, self._split.part_bytes, self._split.max_layers, below, *(str(x.diff_id) for x in own)]
        return PARTS + short_sha256(json.dumps(document).encode())

    def _known(self, name: str) -> Parts | None:
        """Return parts that are all here."""
        parts = _decoded(self._workshop.kept(name))
        if parts is None:
            return None
        missing = any(not self._layers.has_blob(part) for item in parts if len(item) > 1 for part in item)
        return None if missing else parts

    def _divide(self, below: int, own: Chain) -> Parts:
        """Cut layers, pack the parts that are new."""
        from tiffin.builder.layer.parts.cuts import Files, cut_layers
        from tiffin.builder.layer.parts.tables import extra_layers, part_tables
        from tiffin.builder.sources.layer_files import Members

        tables = [self._layers.ensure_index(layer.diff_id, layer.blob) for layer in own]
        files = [Files(table) for table in tables]
        budget = self._split.max_layers - below - len(own)
        if budget <= 0:
            text = f"no layer is split: the image has {below + len(own)}, and max={self._split.max_layers}"
            self._workshop.sink.emit(WarningMessage(message=text))
        more = [extra_layers(table) for table in tables]
        cuts = cut_layers(files, more, self._split.part_bytes, budget)
        result: list[tuple[Digest, ...]] = []
        with self._workshop.state.scratch("split") as scratch, Members(self._layers, scratch) as members:
            for layer, table, its_files, its_cuts in zip(own, tables, files, cuts, strict=True):
                if len(its_cuts) == 2:
                    result.append((layer.diff_id,))
                    continue
                parts = part_tables(table, its_files, its_cuts)
                result.append(tuple(self._part(part, layer, table, members) for part in parts))
        found = [len(item) for item in result if len(item) > 1]
        if found:
            what = "1 layer" if len(found) == 1 else f"{len(found)} layers"
            text = f"split {what} into {sum(found)}; {sum(found) - self._new} of them as before"
            self._workshop.sink.emit(InfoMessage(message=text))
        return tuple(result)

    def _part(self, part: LayerIndex, layer: LayerRef, whole: LayerIndex, members: Members) -> Digest:
        """Return the DiffID of a part of `layer`, packing it if it never was."""
        name = PART + short_sha256(b"%d\n" % VERSION + part.encode())
        is_decided = all(entry.digest for entry in part.entries if entry.kind == "file")
        known = _decoded(self._workshop.kept(name)) if is_decided else None
        if known is not None and self._layers.has_blob(known[0][0]):
            return known[0][0]
        diff_id = self._pack(part, layer, whole, members)
        self._keep(name, ((diff_id,),))
        self._new += 1
        return diff_id

    def _pack(self, part: LayerIndex, layer: LayerRef, whole: LayerIndex, members: Members) -> Digest:
        from tiffin.builder.layer.change import Change
        from tiffin.builder.layer.pack import pack_layer
        from tiffin.builder.sources.layer_files import open_packed

        if not self._layers.has_blob(layer.diff_id):
            self._workshop.enter()  # the trees of RUN steps have their owners' true ids
        tar = self._layers.plain_blob(layer.diff_id, layer.blob)
        opened = partial(members.open, layer) if tar is None else partial(open_packed, tar)
        changes = []
        for entry in part.entries:
            has_content = entry.kind == "file" and entry.size
            opener = partial(opened, whole.by_path[entry.path]) if has_content else None
            changes.append(Change(entry, opener, entry.path in part.implied))
        packed = pack_layer(changes, blobs=self._workshop.blobs, compression=self._compression)
        for made, wanted in zip(packed.index.entries, part.entries, strict=True):
            if made._replace(offset=-1) != wanted:
                raise CorruptError(
                    f'layer {layer.diff_id} holds another "{wanted.path}" than its table says',
                    remedy="run tiffin cache verify --repair, and build again",
                )
        assert packed.blob is not None
        self._layers.keep_index(packed.diff_id, packed.index)
        self._layers.snapshots.add_blob(packed.diff_id, packed.blob)
        return packed.diff_id


def forget_parts(table: NamedValues, live: Set[Digest]) -> None:
    """Remove what is noted of parts that are not among the layers that are kept."""
    for name in list(table.names()):
        if name.startswith((PART, PARTS)):
            parts = _decoded(table.get(name))
            if parts is None or any(part not in live for item in parts for part in item):
                table.delete(name)


def _decoded(data: bytes | None) -> Parts | None:
    """Return what was noted; None for nothing, and for what is damaged: it is made anew."""
    try:
        parts = tuple(tuple(Digest.parse(text) for text in item) for item in json.loads(data or b"null"))
    except (ValueError, TypeError, AttributeError, DigestError):
        return None
    return parts if all(parts) else None

"""An image to look through, by the tables of its layers: trees, what is wasted, beginnings of files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from tiffin.builder.api.explore.contents import HEAD_BYTES, FileHead, head_of
from tiffin.builder.api.explore.tree import FileNode, tree_of
from tiffin.builder.api.sbom.subjects import Found, open_subject, reach_trees
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, TiffinError
from tiffin.builder.events import Sink
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.oci.spec import Platform
from tiffin.builder.report.layers import files_of
from tiffin.builder.sbom.origins import Origin, origins_of
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.foundation.frozen import dataclass

READERS = 3  # threads that fetch layers and read their tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredLayer:
    """A layer, 1 the lowest. `packed_bytes`: what a pull fetches, 0 where that is not known."""

    number: int
    origin: Origin
    packed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WastedPath:
    """A path of which layers have content that does not show in the image: `copies` of it, `size` bytes together,
    the highest in `layer`.
    """

    path: str
    copies: int
    size: int
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """What does not show in an image. `sizes` and `wasted` have the bytes of content of each layer, bottom first;
    `hidden` has the paths of files by layer.
    """

    sizes: Sequence[int]
    wasted: Sequence[int]
    hidden: frozenset[tuple[int, str]]
    paths: Sequence[WastedPath]


class ExploredImage:
    """An image that is looked through. Call `read_tables` first; all is thread-safe."""

    def __init__(self, found: Found, members: Members) -> None:
        self._found = found
        self._members = members
        subject = found.subject
        self.name = subject.name
        self.digest = str(subject.digest or subject.image_id)
        self.platform = str(subject.config.platform)
        origins = origins_of(subject.config, subject.image_id, found.lines)
        self.layers = tuple(
            ExploredLayer(number=number, origin=origin, packed_bytes=ref.blob.size_bytes if ref.blob else 0)
            for number, (ref, origin) in enumerate(zip(subject.chain, origins, strict=True), 1)
        )
        self._tables: list[LayerIndex | None] = [None] * len(self.layers)
        self._lock = threading.Lock()  # guards what follows
        self._pending = list(range(len(self.layers)))
        self._failure: BaseException | None = None
        self._trees: dict[int, FileNode] = {}

    def read_tables(self, told: Callable[[int, bool], None], is_wanted: Callable[[], bool]) -> None:
        """Read the table of every layer, made from the layer where there is none; `told` has the number of a layer that
        is begun (False) or done (True). Returns early where `is_wanted` says no.

        Raises what a layer raised: ImageError, RegistryError, StoreError, CorruptError.
        """
        threads = [
            threading.Thread(target=self._read, args=(told, is_wanted), name="tables", daemon=True)
            for _ in range(min(READERS, len(self.layers)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and is_wanted():
                thread.join(0.1)
        if self._failure is not None:
            raise self._failure

    def _read(self, told: Callable[[int, bool], None], is_wanted: Callable[[], bool]) -> None:
        while is_wanted():
            with self._lock:
                if not self._pending or self._failure is not None:
                    return
                index = self._pending.pop(0)
            layer = self._found.subject.chain[index]
            try:
                told(index + 1, False)
                self._tables[index] = self._found.layers.ensure_index(layer.diff_id, layer.blob)
                told(index + 1, True)
            except BaseException as exc:  # handed to whoever waits
                with self._lock:
                    self._failure = self._failure or exc
                return

    def tree(self, number: int) -> FileNode:
        """Return the files up to layer `number`, with what it did to them; the root of nothing for an image without
        layers.
        """
        with self._lock:
            if number not in self._trees:
                if len(self._trees) > 1:  # the one that is looked at, and the one before
                    del self._trees[next(iter(self._trees))]
                self._trees[number] = tree_of(self.tables[:number])
            return self._trees[number]

    @property
    def tables(self) -> Sequence[LayerIndex]:
        """Return the tables, once all were read."""
        return [table for table in self._tables if table is not None]

    def waste(self) -> Waste:
        """Return what does not show in the image."""
        sizes, wasted = [0] * len(self.layers), [0] * len(self.layers)
        hidden: set[tuple[int, str]] = set()
        found: dict[str, WastedPath] = {}
        for index, entry, is_hidden in files_of(self.tables):
            sizes[index] += entry.size
            if is_hidden:
                wasted[index] += entry.size
                hidden.add((index + 1, entry.path))
                known = found.get(entry.path) or WastedPath(path=entry.path, copies=0, size=0, layer=index + 1)
                found[entry.path] = WastedPath(
                    path=entry.path, copies=known.copies + 1, size=known.size + entry.size, layer=known.layer
                )
        paths = sorted(found.values(), key=lambda item: (-item.size, item.path))
        return Waste(sizes=sizes, wasted=wasted, hidden=frozenset(hidden), paths=paths)

    def head(self, node: FileNode) -> FileHead:
        """Return what a file begins with. Raises ImageError for what is none, StoreError, CorruptError."""
        entry = self._content(node)
        if entry.kind != "file":
            raise ImageError(f"{node.path} is not a regular file", remedy="choose one")
        data = self._members.head(self._found.subject.chain[node.layer - 1], entry, HEAD_BYTES)
        return head_of(data, entry.size)

    def _content(self, node: FileNode) -> Entry:
        """Return what holds the content of a path: that of a hardlink is in the same layer."""
        table = self._tables[node.layer - 1]
        if node.entry.kind != "hardlink" or table is None:
            return node.entry
        return table.get(node.entry.link) or node.entry


@contextlib.contextmanager
def explored(
    name: str, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None = None
) -> Iterator[ExploredImage]:
    """Open an image as `tiffin sbom` finds it: one that is here, of a registry, an archive or a layout.

    Call it while the process has one thread. Raises ImageError, RegistryError, StoreError.
    """
    with open_subject(name, session, sink, registry, platform) as found:
        with contextlib.suppress(TiffinError):  # what a tree would give is then read from what is packed, or told
            reach_trees(found.subject.chain, session, found.layers)
        with Members(found.layers, found.scratch) as members:
            yield ExploredImage(found, members)

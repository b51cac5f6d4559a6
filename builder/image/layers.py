"""A layer in its forms: table of contents, unpacked tree, packed blob; each made from another when it is needed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from tiffin.builder.errors import CorruptError, ImageError, MissingBlobError, MissingLayerError, TiffinError
from tiffin.builder.layer.compression.codecs import CHUNKED, Compression, compressor, decompressor
from tiffin.builder.oci.spec import LAYER_COMPRESSION
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest, VerifyingReader
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef, Snapshots, topmost
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.image.streaming_fetch import FetchObserver
    from tiffin.builder.layer.demands import Demands
    from tiffin.builder.layer.index import LayerIndex

UNPACK_THREADS = 4
ROOT_MODE = 0o755
MAX_MOUNTED_LAYERS = 499  # the kernel stacks 500 (OVL_MAX_STACK), and one is of mount points
Fetch = Callable[[BlobRef, "FetchObserver | None"], None]  # brings a blob here, or raises
Layer = tuple[Digest, BlobRef | None]  # a DiffID, and a packed form if one is known


class LayerStore:
    """The layers of one state directory; thread-safe. `fetch` brings a missing blob here.

    `records`: owners are noted beside the inodes of its trees, for a sandbox with one id.
    """

    def __init__(
        self,
        state: StateDir,
        blobs: BlobStore,
        snapshots: Snapshots,
        fetch: Fetch,
        *,
        records: bool = False,
        plain: LayerStore | None = None,
    ) -> None:
        self._state = state
        self._blobs = blobs
        self.snapshots = snapshots
        self._fetch = fetch
        self.records = records
        self._plain = plain  # of which this one is the twin
        # layers that a shared cache has, by DiffID; packed layers that a shared cache says are layers
        self.remote_blobs: dict[Digest, BlobRef] = {} if plain is None else plain.remote_blobs
        self.unverified: set[Digest] = set() if plain is None else plain.unverified
        self._lock: threading.Lock = threading.Lock() if plain is None else plain._lock  # guards _indexes
        self._indexes: dict[Digest, LayerIndex] = {} if plain is None else plain._indexes

    def emulated(self, idmap_tag: str) -> LayerStore:
        """Return the same layers with trees for sandboxes that have one id."""
        trees = Snapshots(self._state, idmap_tag)
        return LayerStore(self._state, self._blobs, trees, self._fetch, records=True, plain=self)

    def use_trees(self, idmap_tag: str) -> None:
        """Have the unpacked trees of `idmap_tag` from now on, whose id map the process has entered."""
        self.snapshots = Snapshots(self._state, idmap_tag)

    def expect(self, diff_id: Digest, ref: BlobRef) -> None:
        """Count a layer as present that a shared cache says it has."""
        self.remote_blobs[diff_id] = ref
        self.unverified.add(ref.digest)

    def expect_no_longer(self, digest: Digest | None = None) -> bool:
        """Count a packed layer as absent that a shared cache had, or all of them; return whether there was any."""
        gone = [key for key, ref in self.remote_blobs.items() if digest in (None, ref.digest)]
        for diff_id in gone:
            del self.remote_blobs[diff_id]
        return bool(gone)

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer is here in some form that gives its content."""
        return self.has_blob(diff_id) or self.snapshots.has_tree(diff_id)

    def has_blob(self, diff_id: Digest) -> bool:
        """Whether a packed form is here, or can be had from a shared cache."""
        return diff_id in self.remote_blobs or any(self._blobs.has(ref.digest) for ref in self.snapshots.blobs(diff_id))

    def snapshot(self, diff_id: Digest) -> Path | None:
        """Return the unpacked tree if there is one."""
        return self.snapshots.tree(diff_id)

    def ensure_index(self, diff_id: Digest, blob: BlobRef | None) -> LayerIndex:
        """Return the table of contents; made by reading the packed layer once if need be."""
        with self._lock:
            known = self._indexes.get(diff_id)
        if known is not None:
            return known
        index = self._read_index(diff_id)
        if index is None:
            from tiffin.builder.layer.unpack import index_layer

            with self.snapshots.lock(diff_id):
                index = self._read_index(diff_id)  # another may have made it meanwhile
                if index is None:
                    index = self._consume(diff_id, self._packed(diff_id, blob), index_layer)
                    self.keep_index(diff_id, index)
        with self._lock:
            self._indexes[diff_id] = index
        return index

    def _read_index(self, diff_id: Digest) -> LayerIndex | None:
        """Return what was kept; damaged, or of another version, is nothing: it is made anew from the layer."""
        from tiffin.builder.layer.index import LayerIndex

        data = self.snapshots.read_index(diff_id)
        try:
            return LayerIndex.decode(data) if data is not None else None
        except CorruptError:
            return None

    def demands(self, diff_ids: Iterable[Digest]) -> list[Demands]:
        """Return what is known of what these layers demand; of those that were never looked into, nothing."""
        notes = [data for diff_id in diff_ids if (data := self.snapshots.demands(diff_id)) is not None]
        if not notes:
            return []
        from tiffin.builder.layer.demands import Demands

        try:
            return [Demands.decode(data) for data in notes]
        except ValueError as exc:
            raise CorruptError(str(exc), remedy="run tiffin system prune --all") from exc

    def ensure_snapshots(self, layers: Sequence[Layer]) -> list[Path]:
        """Return the unpacked trees to mount for `layers`, unpacking missing ones side by side. Needs the namespace."""
        distinct = dict.fromkeys(layers)
        if len(distinct) > MAX_MOUNTED_LAYERS:
            raise ImageError(
                f"it has {len(layers)} layers, {len(distinct)} of them different, and {MAX_MOUNTED_LAYERS} can be"
                " mounted",
                remedy="make it of fewer: build it again with --squash",
            )
        missing = [layer for layer in distinct if self.snapshots.tree(layer[0]) is None]
        if len(missing) == 1:
            self._unpack(missing[0])
        elif missing:
            from tiffin.cache.foundation.workers import Workers

            with Workers(UNPACK_THREADS, "unpack") as pool:
                pool.each(self._unpack, missing)
        self._ensure_ways(layers)
        trees = self.snapshots.stack([diff_id for diff_id, _ in layers])
        assert trees is not None, "a layer was removed while it was needed"
        return trees

    def keep_index(self, diff_id: Digest, index: LayerIndex) -> None:
        """Keep a table of contents on disk, and what the layer demands."""
        from tiffin.builder.layer.demands import demands_of

        if not self.snapshots.has_index(diff_id):
            self.snapshots.write_index(diff_id, index.encoded(), has_implied=bool(index.implied))
        data = demands_of(index.entries).encode()
        if data and self.snapshots.demands(diff_id) is None:
            self.snapshots.note_demands(diff_id, data)

    def _ensure_ways(self, layers: Sequence[Layer]) -> None:
        """Put trees over layers with implied directories, so that these look as what is below them."""
        diff_ids = [diff_id for diff_id, _ in layers]
        for number, diff_id in topmost(diff_ids):
            if not self.snapshots.has_implied(diff_id):
                continue
            target = self.snapshots.ways(diff_ids[: number + 1])
            if target.is_dir():
                continue
            from tiffin.builder.layer.change import Change
            from tiffin.builder.layer.merged import ways
            from tiffin.builder.layer.unpack import materialize

            found = ways([self.ensure_index(*layer) for layer in layers[: number + 1]])
            with self._state.scratch("ways") as scratch:
                tree = scratch / "tree"
                tree.mkdir()
                tree.chmod(ROOT_MODE)
                materialize([Change(entry) for entry in found], tree, records=self.records)
                self.snapshots.publish_as(target, tree)

    def add_to_root(self, layer: Layer, root: Path) -> None:
        """Put a layer on top of what the plain directory `root` holds; for machines that mount no overlay."""
        from tiffin.builder.layer.disk.merge_into_root import merge_layer
        from tiffin.builder.layer.unpack import unpack

        diff_id, blob = layer
        if self.snapshots.tree(diff_id) is not None and not self.has_blob(diff_id):
            blob = self.ensure_blob(diff_id, Compression(kind="none"))
        ref = self._packed(diff_id, blob)
        with self._state.scratch("unpack") as scratch:
            tree = scratch / "tree"
            tree.mkdir()
            tree.chmod(ROOT_MODE)
            with self.open_tar(diff_id, ref) as tar, _told_of(diff_id):
                index = unpack(tar, tree, whiteouts=False, records=self.records)
            self.keep_index(diff_id, index)
            self.snapshots.add_blob(diff_id, ref)
            merge_layer(tree, index, root)

    def ensure_blob(self, diff_id: Digest, compression: Compression) -> BlobRef:
        """Return a packed form of that compression; packed from the tree, or from another packed form."""
        if compression.kind == CHUNKED:
            from tiffin.builder.layer.pack import suited

            compression = suited(compression, self.ensure_index(diff_id, None).entries)
        for known in self.snapshots.blobs(diff_id):
            if _form(known) == compression.kind and self._blobs.has(known.digest):
                return known
        shared = self.remote_blobs.get(diff_id)
        if shared is not None and _form(shared) == compression.kind:
            return shared
        with self.snapshots.lock(diff_id):
            tree = self.snapshots.tree(diff_id)
            ref = self._pack(diff_id, tree, compression) if tree else self._repack(diff_id, compression)
            self.snapshots.add_blob(diff_id, ref)
        return ref

    def bring(self, ref: BlobRef) -> BlobRef:
        """Make sure that a blob is here."""
        if not self._blobs.has(ref.digest):
            self._fetch(ref, None)
        return ref

    def plain_blob(self, diff_id: Digest, blob: BlobRef | None) -> Path | None:
        """Return the file that has the layer's plain tar, None where it is compressed or not here."""
        for ref in (*self.snapshots.blobs(diff_id), *([blob] if blob else [])):
            if LAYER_COMPRESSION.get(ref.media_type) == "none" and self._blobs.has(ref.digest):
                return self._blobs.path(ref.digest)
        return None

    @contextlib.contextmanager
    def open_tar(self, diff_id: Digest, blob: BlobRef | None) -> Iterator[BinaryIO]:
        """Yield the layer's plain tar; the last read checks the DiffID. Fetches the blob if it is not here."""
        ref = self.bring(self._packed(diff_id, blob))
        path = self._blobs.path(ref.digest)
        kind = LAYER_COMPRESSION.get(ref.media_type, "auto")
        with (
            self._as_lost(diff_id, ref),
            path.open("rb", buffering=0) as raw,
            decompressor(cast(BinaryIO, raw), kind) as plain,
        ):
            yield cast(BinaryIO, VerifyingReader(plain, diff_id, None, what="layer"))

    def _packed(self, diff_id: Digest, blob: BlobRef | None) -> BlobRef:
        shared = self.remote_blobs.get(diff_id)
        known = [*self.snapshots.blobs(diff_id), *([blob] if blob else []), *([shared] if shared else [])]
        for ref in known:
            if self._blobs.has(ref.digest):
                return ref
        if self._plain is not None and self._plain.snapshot(diff_id) is not None:
            return self._plain.ensure_blob(diff_id, Compression(kind="none"))
        if blob is None and not known:
            raise MissingLayerError(f"layer {diff_id} is not in the store", remedy="build or pull its image again")
        return blob or known[0]

    def _consume(self, diff_id: Digest, ref: BlobRef, consume: Callable[[BinaryIO], LayerIndex]) -> LayerIndex:
        """Give the layer's plain tar to `consume`, while it arrives if it is not here.

        Returns only once the blob is here and verified. A fetch that had to begin anew is consumed again from the
        store.
        """
        if not self._blobs.has(ref.digest):
            from tiffin.builder.image.streaming_fetch import StreamingFetch

            arriving = StreamingFetch(partial(self._fetch, ref), self._blobs.path(ref.digest))
            kind = LAYER_COMPRESSION.get(ref.media_type, "auto")
            try:
                with self._as_lost(diff_id, ref), arriving as raw, decompressor(raw, kind) as plain:
                    return consume(cast(BinaryIO, VerifyingReader(plain, diff_id, None, what="layer")))
            except TiffinError:
                if not (arriving.restarted and self._blobs.has(ref.digest)):
                    raise
        with self.open_tar(diff_id, ref) as tar:
            return consume(tar)

    @contextlib.contextmanager
    def _as_lost(self, diff_id: Digest, ref: BlobRef) -> Iterator[None]:
        """Treat what a shared cache has for a layer and is not that layer as lost: the step is made again."""
        try:
            yield
        except (CorruptError, ImageError) as exc:
            if ref.digest not in self.unverified:
                raise
            raise MissingBlobError(
                f"layer {diff_id}: {exc.message}", digest=str(ref.digest), remedy=exc.remedy
            ) from exc

    def _unpack(self, layer: Layer) -> None:
        from tiffin.builder.layer.unpack import unpack
        from tiffin.builder.sandbox.userns import root_of_files

        diff_id, blob = layer
        ref = self._packed(diff_id, blob)
        with self.snapshots.lock(diff_id):
            if self.snapshots.tree(diff_id) is not None:
                return
            with self._state.scratch("unpack") as scratch:
                tree = scratch / "tree"

                def unpack_anew(tar: BinaryIO) -> LayerIndex:
                    with root_of_files():
                        remove_tree(tree)
                        tree.mkdir()
                        tree.chmod(ROOT_MODE)
                        return unpack(tar, tree, records=self.records)

                with _told_of(diff_id):
                    index = self._consume(diff_id, ref, unpack_anew)
                self.keep_index(diff_id, index)
                self.snapshots.add_blob(diff_id, ref)
                self.snapshots.publish(diff_id, tree)

    def _pack(self, diff_id: Digest, tree: Path, compression: Compression) -> BlobRef:
        from tiffin.builder.layer.change import Change
        from tiffin.builder.layer.disk.diff import diff_upper
        from tiffin.builder.layer.pack import pack_layer

        index = self._read_index(diff_id)
        implied = index.implied if index is not None else ()
        changes = [Change(item.entry, item.open, item.entry.path in implied) for item in diff_upper(tree)]
        packed = pack_layer(changes, blobs=self._blobs, compression=compression)
        if packed.diff_id != diff_id or packed.blob is None:
            raise CorruptError(
                f"the unpacked layer {diff_id} was changed (now {packed.diff_id})",
                remedy="run tiffin system prune --all",
            )
        return packed.blob

    def _repack(self, diff_id: Digest, compression: Compression) -> BlobRef:
        from tiffin.builder.layer.pack import packed_ref, pumped

        told: dict[str, str] = {}
        with self.open_tar(diff_id, None) as tar, self._blobs.ingest() as writer:
            with compressor(writer, compression, told) as packed, pumped(packed) as pump:
                while data := tar.read(COPY_CHUNK_BYTES):
                    pump.write(data)
            digest, size = writer.commit()
        return packed_ref(compression, digest, size, told)


def _form(ref: BlobRef) -> str:
    """Return how a packed form is compressed."""
    return CHUNKED if ref.annotations else LAYER_COMPRESSION.get(ref.media_type, "")


@contextlib.contextmanager
def _told_of(diff_id: Digest) -> Iterator[None]:
    """Name the layer in errors about its content."""
    try:
        yield
    except (CorruptError, ImageError) as exc:
        raise type(exc)(f"layer {diff_id}: {exc.message}", remedy=exc.remedy) from exc

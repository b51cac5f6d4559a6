"""Cache mounts that travel with a shared cache (--cache-mounts=ID): a new one begins with what another builder left in
its own.

Each is one row, named by its id, whose packed layer is the directory; the latest builder to finish wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.errors import TiffinError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.plain_text import size_text
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.keys import KeyPart, step_key
from tiffin.cache.store.mounts import CacheMounts
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.cache.store.blobs import BlobStore

KIND = "cache mount"  # the operation such a record says it is of
NEW_DIRECTORY_MODE = 0o755
NOTHING_BELOW = Digest.of(b"")


class SharedMounts:
    """The cache mounts called `ids` on one state directory, and what the shared caches have of them."""

    def __init__(
        self,
        ids: Sequence[str],
        *,
        shared: SharedCaches,
        layers: LayerStore,
        blobs: BlobStore,
        state: StateDir,
        sink: Sink,
    ) -> None:
        self._ids = tuple(dict.fromkeys(ids))
        self._shared = shared
        self._layers = layers
        self._blobs = blobs
        self._state = state
        self._sink = sink

    def fill(self, mount_id: str, path: Path) -> bool:
        """Make the directory `path` of what a shared cache has for `id_`; False, and no directory, where none has
        it.
        """
        if mount_id not in self._ids:
            return False
        for name, record in self._found(mount_id):
            assert record.layer is not None
            try:
                self._unpack(record.diff_id, record.layer, path)
            except TiffinError as exc:
                remove_tree(path)
                self._sink.emit(WarningMessage(message=f"cache mount {mount_id} in the {name} cache: {exc.message}"))
                continue
            size = size_text(record.layer.size_bytes)
            self._sink.emit(InfoMessage(message=f"cache mount {mount_id} ({size}) came from the {name} cache"))
            return True
        return False

    def fetch(self) -> None:
        """Make those that are not here yet."""
        for mount_id in self._ids:

            def fill(path: Path, mount_id: str = mount_id) -> None:
                if not self.fill(mount_id, path):
                    path.mkdir(mode=NEW_DIRECTORY_MODE)

            if any(True for _ in self._found(mount_id)):
                with CacheMounts(self._state, self._layers.snapshots.idmap_tag).open(mount_id, "locked", fill):
                    pass
            else:
                self._sink.emit(WarningMessage(message=f"no shared cache has a cache mount {mount_id}"))

    def records(self) -> Mapping[Digest, StepRecord]:
        """Pack those that are here, for the shared caches; one that is in use now is left out. Needs the namespace."""
        found = {}
        for mount_id in self._ids:
            with CacheMounts(self._state, self._layers.snapshots.idmap_tag).find(mount_id) as path:
                if path is None:
                    self._sink.emit(
                        WarningMessage(message=f"cache mount {mount_id} is not here or in use; it is not shared")
                    )
                else:
                    found[mount_key(mount_id)] = self._packed(mount_id, path)
        return found

    def _packed(self, mount_id: str, path: Path) -> StepRecord:
        from tiffin.builder.layer.compression.codecs import Compression
        from tiffin.builder.layer.disk.diff import diff_upper
        from tiffin.builder.layer.pack import pack_layer

        packed = pack_layer(diff_upper(path), blobs=self._blobs, compression=Compression(kind="zstd"))
        return StepRecord(
            diff_id=packed.diff_id,
            parent_chain=NOTHING_BELOW,
            created=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            seconds=0.0,
            parts=(KeyPart("op", KIND), KeyPart("id", mount_id)),
            layer=packed.blob,
            empty=False,
            description=f"{KIND} {mount_id}",
        )

    def _unpack(self, diff_id: Digest, ref: BlobRef, path: Path) -> None:
        from tiffin.builder.layer.unpack import unpack

        path.mkdir()
        path.chmod(NEW_DIRECTORY_MODE)
        with self._layers.open_tar(diff_id, ref) as tar:
            unpack(tar, path, whiteouts=False)

    def _found(self, mount_id: str) -> Iterator[tuple[str, StepRecord]]:
        key = mount_key(mount_id)
        for cache in self._shared.tiers:
            record = cache.get_many([key]).get(key)
            if record is not None and is_mount(record):
                yield cache.name, record


def mount_key(mount_id: str) -> Digest:
    """Return the name of the row of a cache mount."""
    return step_key((KeyPart("op", KIND), KeyPart("id", mount_id)))


def is_mount(record: StepRecord) -> bool:
    """Whether a record is that of a cache mount."""
    return KeyPart("op", KIND) in record.parts

"""Layers by DiffID: the table of contents, the unpacked tree of each id map, and which blobs hold the layer packed.

layers/ALGORITHM-HEX/{index, packages, sbom, blobs.json, demands, fs.2.IDMAP_TAG/}. A tree belongs to one id map
(idmap_tag), for its owners on disk mean nothing under another; 2 is the form of trees, and no other is read. A name
that exists is whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tiffin.cache.errors import CorruptError
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import disk_errors, remove_tree, write_atomically, write_pieces_atomically
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.sha256 import short_sha256
from tiffin.cache.foundation.typing_shim import Protocol
from tiffin.cache.store.statedir import StateDir

IMPLIED = "implied"  # a file in the folders of layers that have directories without telling how they look
PREFIX = "fs."  # of trees of every form
TREE = PREFIX + "2."


class Described(Protocol):
    """What a descriptor tells (image-spec descriptor.md)."""

    @property
    def media_type(self) -> str: ...

    @property
    def digest(self) -> Digest: ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A packed form of a layer. `annotations` are those that whoever reads it needs."""

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, layer: Described) -> BlobRef:
        """Return the form that a manifest's descriptor of a layer tells of."""
        return cls(media_type=layer.media_type, digest=layer.digest, size_bytes=layer.size_bytes)

    def to_json(self) -> dict[str, object]:
        plain = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size_bytes}
        return {**plain, "annotations": dict(self.annotations)} if self.annotations else plain

    @classmethod
    def from_json(cls, value: object) -> BlobRef:
        """Raise CorruptError for anything of another form."""
        if isinstance(value, dict):
            media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
            told = value.get("annotations", {})
            if (
                isinstance(media_type, str)
                and isinstance(digest, str)
                and isinstance(size, int)
                and size >= 0
                and isinstance(told, dict)
            ):
                annotations = tuple(sorted((str(key), str(text)) for key, text in told.items()))
                return cls(media_type=media_type, digest=Digest.parse(digest), size_bytes=size, annotations=annotations)
        raise CorruptError("a record of a packed layer is malformed", remedy="run tiffin system prune")


class Snapshots:
    """The layers of one state directory, with trees of one id map (`idmap_tag`); "" until the process has entered an id
    map.
    """

    def __init__(self, state: StateDir, idmap_tag: str = "") -> None:
        self._state = state
        self._idmap_tag = idmap_tag

    @property
    def idmap_tag(self) -> str:
        """The id map of the trees, "" where there are none."""
        return self._idmap_tag

    def _folder(self, diff_id: Digest) -> Path:
        return self._state.layers / f"{diff_id.algorithm}-{diff_id.hex}"

    def tree(self, diff_id: Digest) -> Path | None:
        """Return the unpacked tree, complete, or None."""
        path = self._folder(diff_id) / f"{TREE}{self.idmap_tag}"
        return path if self.idmap_tag and path.is_dir() else None

    def stack(self, diff_ids: Sequence[Digest]) -> list[Path] | None:
        """Return the trees to mount for a stack of layers, bottom first; None if one is missing.

        A layer that comes twice is kept where it is topmost only: there it says all that it said below, and an
        overlay takes no directory twice.
        """
        result: list[Path] = []
        for number, diff_id in topmost(diff_ids):
            tree = self.tree(diff_id)
            if tree is None:
                return None
            result.append(tree)
            if self.has_implied(diff_id):
                ways = self.ways(diff_ids[: number + 1])
                if not ways.is_dir():
                    return None
                if os.listdir(ways):
                    result.append(ways)
        return result

    def has_implied(self, diff_id: Digest) -> bool:
        """Whether the layer has directories that look as those below it."""
        return (self._folder(diff_id) / IMPLIED).exists()

    def ways(self, diff_ids: Sequence[Digest]) -> Path:
        """Return the tree that lies over the last of these layers, with the directories that look as below it; empty
        for none.
        """
        chain = short_sha256("\n".join(map(str, diff_ids)).encode())[:32]
        return self._folder(diff_ids[-1]) / f"ways.{self.idmap_tag}.{chain}"

    def has_tree(self, diff_id: Digest) -> bool:
        """Whether it is unpacked: for this id map, or for any while none is chosen yet."""
        if self.idmap_tag:
            return self.tree(diff_id) is not None
        try:
            return any(name.startswith(TREE) for name in os.listdir(self._folder(diff_id)))
        except FileNotFoundError:
            return False

    def publish(self, diff_id: Digest, tree: Path) -> Path:
        """Give a finished tree its name; if another process was first, its tree stays and ours goes."""
        return self.publish_as(self._folder(diff_id) / f"{TREE}{self.idmap_tag}", tree)

    def publish_as(self, target: Path, tree: Path) -> Path:
        """Publish like `publish`, for a tree of that name in a layer's folder."""
        with disk_errors(target):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                os.rename(tree, target)
            except OSError:
                if not target.is_dir():
                    raise
                self._state.discard(tree)
        return target

    def has_index(self, diff_id: Digest) -> bool:
        return (self._folder(diff_id) / "index").exists()

    def read_index(self, diff_id: Digest) -> bytes | None:
        try:
            return (self._folder(diff_id) / "index").read_bytes()
        except FileNotFoundError:
            return None

    def write_index(self, diff_id: Digest, data: Iterable[bytes], *, has_implied: bool) -> None:
        """Keep a table of contents, in pieces. `has_implied`: it has directories that look as what is below."""
        folder = self._folder(diff_id)
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            if has_implied:
                (folder / IMPLIED).touch(mode=0o600)
        write_pieces_atomically(folder / "index", data)

    def demands(self, diff_id: Digest) -> bytes | None:
        """Return what was noted of owners and devices that not every machine can hold; None if there are none in the
        layer.
        """
        try:
            return (self._folder(diff_id) / "demands").read_bytes()
        except FileNotFoundError:
            return None

    def note_demands(self, diff_id: Digest, data: bytes) -> None:
        """Record demands; to be done before a tree of the layer is published."""
        folder = self._folder(diff_id)
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / "demands", data)

    def packages(self, diff_id: Digest) -> bytes | None:
        """Return what was noted of the software in a layer; None where nobody looked."""
        try:
            return (self._folder(diff_id) / "packages").read_bytes()
        except FileNotFoundError:
            return None

    def write_packages(self, diff_id: Digest, data: bytes) -> None:
        """Keep what was found of software in a layer."""
        folder = self._folder(diff_id)
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / "packages", data)

    def document(self, diff_id: Digest) -> bytes | None:
        """Return the list of software that was made last of an image with this uppermost layer."""
        try:
            return (self._folder(diff_id) / "sbom").read_bytes()
        except FileNotFoundError:
            return None

    def write_document(self, diff_id: Digest, data: bytes) -> None:
        """Keep that; the one before goes."""
        folder = self._folder(diff_id)
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / "sbom", data)

    def blobs(self, diff_id: Digest) -> tuple[BlobRef, ...]:
        """Return the packed forms known; whether they are still here is the blob store's to say."""
        try:
            data = (self._folder(diff_id) / "blobs.json").read_bytes()
        except FileNotFoundError:
            return ()
        with contextlib.suppress(ValueError):
            value = json_text.loads(data)
            if isinstance(value, list):
                return tuple(BlobRef.from_json(item) for item in value)
        raise CorruptError(f"the record of layer {diff_id} is malformed", remedy="run tiffin system prune")

    def add_blob(self, diff_id: Digest, ref: BlobRef) -> None:
        """Remember a packed form."""
        known = self.blobs(diff_id)
        if ref in known:
            return
        folder = self._folder(diff_id)
        with disk_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        document = [item.to_json() for item in (*known, ref)]
        write_atomically(folder / "blobs.json", json_text.dumps(document, sort_keys=True).encode())

    def lock(self, diff_id: Digest) -> contextlib.AbstractContextManager[bool]:
        """Return the lock to hold while a layer is unpacked or packed, so that it happens once."""
        return self._state.lock(f"layer-{diff_id.hex}")

    def remove(self, diff_id: Digest) -> None:
        """Remove all of a layer but its blobs; raises OSError where trees have owners this process may not touch."""
        remove_tree(self._folder(diff_id))

    def __iter__(self) -> Iterator[Digest]:
        for folder in sorted(self._state.layers.iterdir()):
            algorithm, _, hexdigest = folder.name.partition("-")
            yield Digest(algorithm, hexdigest)


def topmost(diff_ids: Sequence[Digest]) -> list[tuple[int, Digest]]:
    """Return each layer where it is topmost, bottom first, with its number in `diff_ids`."""
    last = {diff_id: number for number, diff_id in enumerate(diff_ids)}
    return sorted((number, diff_id) for diff_id, number in last.items())

"""From an image to its bill of materials: layers are read that were not read before, and the image's origins found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.index import LayerIndex, MergedTree
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.sbom import cyclonedx, spdx
from tiffin.builder.sbom.bill import Bill, FileRow
from tiffin.builder.sbom.facts import LayerRecord
from tiffin.builder.sbom.inventory import take_stock
from tiffin.builder.sbom.origins import Lines, origins_of
from tiffin.builder.sbom.reading import LayerReader
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.frozen import dataclass

SPDX, CYCLONEDX = "spdx-json", "cyclonedx-json"
WRITERS: Mapping[str, Callable[[Bill], dict[str, object]]] = {SPDX: spdx.write, CYCLONEDX: cyclonedx.write}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image that a bill is of. `digest` is that of its manifest, None where it has none; `epoch` replaces the time
    that its configuration tells.
    """

    name: str
    config: ImageConfig
    image_id: Digest
    digest: Digest | None
    chain: Chain
    epoch: int | None = None


def make_bill(subject: Subject, layers: LayerStore, lines: Lines, scratch: Path, *, lists_files: bool = False) -> Bill:
    """Return the bill of an image. Raises StoreError, CorruptError, ImageError, RegistryError."""
    tables = [layers.ensure_index(layer.diff_id, layer.blob) for layer in subject.chain]
    inventory = take_stock(read_layers(subject.chain, layers, scratch), tables)
    return Bill(
        name=subject.name,
        digest=subject.digest,
        platform=subject.config.platform,
        created=_seconds(subject.config.created) if subject.epoch is None else subject.epoch,
        inventory=inventory,
        origins=origins_of(subject.config, subject.image_id, lines),
        files=_files(subject.chain, tables, layers, scratch) if lists_files else (),
    )


def read_layers(
    chain: Chain, layers: LayerStore, scratch: Path, is_canceled: Callable[[], bool] = lambda: False
) -> list[LayerRecord]:
    """Return what each layer tells, and keep it. Raises StoreError, CorruptError, ImageError, CanceledError."""
    reader = LayerReader(layers, scratch, is_canceled)
    return [reader.record(layer) for layer in chain]


def _seconds(moment: str) -> int:
    """Return the seconds since 1970 of RFC 3339, 0 for none."""
    try:
        return max(0, int(datetime.fromisoformat(moment[:19] + "+00:00").timestamp()))
    except ValueError:
        return 0


def _files(chain: Chain, tables: Sequence[LayerIndex], layers: LayerStore, scratch: Path) -> tuple[FileRow, ...]:
    """Return all regular files; SPDX wants SHA-1, which tables do not have, so that they are read."""
    rows = []
    tree = MergedTree(tables)
    with Members(layers, scratch) as members:
        for located in tree.walk():
            if located.entry.kind != "file":
                continue
            sha1 = hashlib.sha1(usedforsecurity=False)
            with members.open(chain[located.layer], located.entry) as stream:
                while data := stream.read(COPY_CHUNK_BYTES):
                    sha1.update(data)
            digests = (("sha1", sha1.hexdigest()), ("sha256", located.entry.digest))
            known = tuple((name, value) for name, value in digests if value)
            rows.append(FileRow(path=located.entry.path, size=located.entry.size, digests=known, layer=located.layer))
    return tuple(rows)

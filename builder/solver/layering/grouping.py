"""Fewer layers than steps: `--squash` makes one of all new layers, `--commit explicit` one up to each `#!COMMIT`.

Steps are run and cached one by one all the same; only the image has them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from tiffin.builder.image.chain import Chain, LayerRef, chain_of
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.below import TablesBelow
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.layer.pack import pack_layer
from tiffin.builder.layer.squash import squashed
from tiffin.builder.layer.unchanged import reduced
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.backend import StepCache, StepRecord
from tiffin.cache.keys import KeyPart, step_key
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from collections.abc import Callable


def grouped(
    chain: Chain,
    ends: Sequence[int],
    *,
    cache: StepCache,
    layers: LayerStore,
    blobs: BlobStore,
    state: StateDir,
    compression: Compression | None,
    enter: Callable[[], object],
) -> Chain:
    """Return the layers of the image: those of the base as they are, new ones together up to each end."""
    below = [layer for layer in chain if layer.base]
    own = chain[len(below) :]
    number = 0
    numbers = []
    for end in ends:
        numbers.append(number)
        number += end
    result: list[LayerRef] = list(below)
    for _, items in groupby(zip(numbers, own, strict=True), key=lambda item: item[0]):
        group = tuple(layer for _, layer in items)
        if len(group) == 1:
            result.append(group[0])
            continue
        parent = chain_of(result)
        parts = tuple(KeyPart("layer", str(layer.diff_id)) for layer in group)
        key = step_key((KeyPart("op", "squash"), KeyPart("chain", str(parent)), *parts))
        record = cache.get_many([key]).get(key)
        if record is None or record.parent_chain != parent or not layers.has(record.diff_id):
            enter()  # the trees of RUN steps have their owners' true ids
            made = _one_layer(result, group, layers=layers, blobs=blobs, state=state, compression=compression)
            record = StepRecord(
                diff_id=made.diff_id,
                parent_chain=parent,
                created=made.created,
                seconds=0.0,
                parts=parts,
                layer=made.blob,
                empty=False,
                description=f"{len(group)} layers as one",
            )
            cache.put(key, record)
        result.append(LayerRef(diff_id=record.diff_id, blob=record.layer, created=group[-1].created))
    return tuple(result)


def _one_layer(
    below: Sequence[LayerRef],
    group: Chain,
    *,
    layers: LayerStore,
    blobs: BlobStore,
    state: StateDir,
    compression: Compression | None,
) -> LayerRef:
    base = [layers.ensure_index(layer.diff_id, layer.blob) for layer in below]
    own = [layers.ensure_index(layer.diff_id, layer.blob) for layer in group]
    with state.scratch("squash") as scratch, Members(layers, scratch) as members:
        changes = []
        for entry, content in squashed(base, own):
            opener = None
            if content is not None:
                opener = lambda layer=group[content.layer], source=content.entry: members.open(layer, source)  # noqa: E731
            changes.append(Change(entry, opener))
        changes = reduced(changes, TablesBelow(base)).changes  # what one step changed another may have changed back
        packed = pack_layer(changes, blobs=blobs, compression=compression or Compression(kind="none"))
    layers.keep_index(packed.diff_id, packed.index)
    if packed.blob is not None:
        layers.snapshots.add_blob(packed.diff_id, packed.blob)
    return LayerRef(diff_id=packed.diff_id, blob=packed.blob, created=group[-1].created)

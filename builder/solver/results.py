"""What a solved build is: layers with their records, and the image assembled from them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from tiffin.builder.errors import ImageError
from tiffin.builder.image.chain import Chain, LayerRef, chain_of
from tiffin.builder.instructions.ops import RunOp, stands_alone
from tiffin.builder.oci.config import History, ImageConfig
from tiffin.builder.oci.spec import (
    CHUNKED_PREFIX,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from tiffin.builder.plan.plan import StagePlan
from tiffin.builder.plan.plan_options import BaseImage
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol
from tiffin.cache.store.snapshots import BlobRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiffin.builder.execute.steps import StepTask
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.instructions.base import Step
    from tiffin.builder.solver.step_keys import StepKeys, StepLook
    from tiffin.cache.backend import StepRecord

HISTORY_COMMENT = "buildkit.dockerfile.v0"  # what tools look for to tell Dockerfile entries from others
HISTORY_OF_BASE = "layer of the base image"
STEPS, COMMITS, ONE = "steps", "commits", "one"  # how layers are made of steps
PART_BYTES, MAX_LAYERS = 8 << 20, 60  # of Split, where nothing else is asked for
_OCI_TYPE = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP, DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How a layer is cut into several: `part_bytes` of tar, more where a file is larger or the image would have more
    than `max_layers`, its base's among them.
    """

    part_bytes: int = PART_BYTES
    max_layers: int = MAX_LAYERS


def base_chain(image: BaseImage | StoredImage) -> Chain:
    """Return the layers an image brings, as a base or by itself."""
    return tuple(
        LayerRef(
            diff_id=diff_id,
            blob=replace(BlobRef.of(layer), annotations=_of_content(layer)),
            base=True,
        )
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    )


def _of_content(layer: Descriptor) -> tuple[tuple[str, str], ...]:
    """Return the annotations that tell of the blob itself, as zstd:chunked has them."""
    return tuple(sorted(item for item in layer.annotations.items() if item[0].startswith(CHUNKED_PREFIX)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadsHit:
    """A record that was found by what it read: how many files that were, and how many others changed since, None where
    that cannot be told any more.
    """

    read: int
    changed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMade:
    """A step's result. `keys` find it from now on; `source` is the cache that had it, None where it was made.

    `by_reads`: more records, for who looks for what steps read; `hit` where one of those was found; `changed`: files
    that such a record read and that are others now.
    """

    record: StepRecord
    keys: tuple[Digest, ...]
    source: str | None
    by_reads: Mapping[Digest, StepRecord] = field(default_factory=dict)
    hit: ReadsHit | None = None
    changed: tuple[str, ...] = ()


class Elsewhere(Protocol):
    """What makes steps on other machines; from any thread."""

    def takes(self, tasks: Sequence[StepTask]) -> bool:
        """Whether an unbroken run of steps is to be made there."""

    def run(self, tasks: Sequence[StepTask], looks: Sequence[StepLook]) -> Iterator[StepMade]:
        """Yield the results of such a run, in order; each task has the chain of the first. Raises TiffinError."""

    def stop(self) -> None:
        """Make what runs end soon; nothing more comes. Called at the end, too."""

    def finish(self) -> None:
        """Wait for what the other machines do with results that were given already."""


class StepObserver:
    """Is told where every step's result came from; from any thread."""

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        """Note that the cache called `source` had it."""

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        """Note that it was made, and is found by `keys` from now on; `for_target`: it is part of the image."""

    def read(self, index: int, number: int, hit: ReadsHit | None, changed: Sequence[str]) -> None:
        """Note before that how its record by reads was found, or which files that it read changed."""


class Listings(StepObserver):
    """Keeps what the inputs of steps that ran held, so that a later build can name the file that changed."""

    def __init__(self, keys: StepKeys, keep: Callable[[str, bytes], None]) -> None:
        self._keys = keys
        self._keep = keep

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        from tiffin.builder.solver.explain import LISTING_PREFIX, MAX_LISTED, encode_listing

        for digest, listing in self._keys.listings(index, number, MAX_LISTED).items():
            self._keep(LISTING_PREFIX + digest, encode_listing(listing))


def below(step: Step, chain: Chain) -> Digest:
    """Return the ChainID of what a step's layer depends on."""
    return chain_of(() if stands_alone(step.op) else chain)


def valid(record: StepRecord | None, step: Step, chain: Chain) -> StepRecord | None:
    """Return a record that holds: only over the very layers it was made on."""
    return record if record is not None and record.parent_chain == below(step, chain) else None


def watched_layers(step: Step, steps_below: Sequence[Step], chain: Chain) -> frozenset[int]:
    """Return which layers below a RUN it may be found to have read in part: those that no RUN made."""
    op = step.op
    if not isinstance(op, RunOp) or not op.run_defaults.reads or op.insecure or op.devices:
        return frozenset()
    first = len(chain) - len(steps_below)
    return frozenset(number for number, other in enumerate(steps_below, first) if not isinstance(other.op, RunOp))


def layer_of(record: StepRecord) -> LayerRef:
    """Return what a record says as a layer of a chain."""
    return LayerRef(diff_id=record.diff_id, blob=record.layer, created=record.created)


def ends_of_groups(stages: Sequence[StagePlan], mode: str) -> tuple[int, ...]:
    """Return for each step of `stages` (lowest first) how many layers of the image end with it: none, or one; with the
    last one always one.
    """
    if mode == STEPS:
        return tuple(1 for stage in stages for _ in stage.steps)
    ends = [int(mode == COMMITS and n in stage.commits) for stage in stages for n in range(len(stage.steps))]
    return (*ends[:-1], 1) if ends else ()


def assemble_config(
    stages: Sequence[StagePlan],
    base: ImageConfig | None,
    chain: Chain,
    ends: Sequence[int],
    *,
    labels: Mapping[str, str],
    now: str,
    epoch: str,
) -> ImageConfig:
    """Return the configuration of the image.

    `stages`: the target's chain of stages, lowest first; `chain` all its layers; `ends` for each step how many of them
    end with it. A step of several layers has an entry of the history for each, as every layer must have one.

    A metadata entry takes the time of the layer before it, so that a rebuild from the cache gives the same bytes;
    before any layer it takes the base's time, or `now` for an image from nothing. `epoch` (RFC 3339) replaces all.
    """
    target = stages[-1]
    moment = epoch or (base.created if base and base.created else "")
    own = [layer for layer in chain if not layer.base]
    fallback = moment or (own[0].created if own else now)
    made, is_end = iter(own), iter(ends)
    entries = _base_entries(base) if base else []
    for stage in stages:
        for item in stage.history:
            count = next(is_end) if item.step is not None else 0
            for layer in islice(made, count):
                moment = epoch or layer.created
            entries += _entries(item.created_by, moment or fallback, count)
    return ImageConfig(
        platform=target.platform,
        config=replace(target.config, labels={**target.config.labels, **labels}),
        diff_ids=tuple(layer.diff_id for layer in chain),
        history=tuple(entries),
        created=moment or fallback,
        author=target.author or (base.author if base else ""),
        os_version=base.os_version if base else "",
        os_features=base.os_features if base else (),
    )


def _base_entries(base: ImageConfig) -> list[History]:
    """Return the history of a base; each layer that it says nothing of gets an entry, or entries above would be about
    other layers than theirs, and buildah and podman would commit no container of the image.
    """
    told = sum(not entry.empty_layer for entry in base.history)
    untold = History(created=base.created, comment=HISTORY_OF_BASE)
    return [*base.history, *[untold] * (len(base.diff_ids) - told)]


def _entries(text: str, created: str, count: int) -> list[History]:
    """Return what the history says of an instruction with `count` layers: one entry, or one for each."""
    entry = History(created=created, created_by=text, comment=HISTORY_COMMENT, empty_layer=not count)
    if count < 2:
        return [entry]
    return [replace(entry, comment=f"{HISTORY_COMMENT}, split {number} of {count}") for number in range(1, count + 1)]


def assemble_manifest(
    config: bytes, layers: Sequence[BlobRef], *, annotations: Mapping[str, str], docker: bool = False
) -> Manifest:
    """Return a manifest with OCI's or Docker's names of types; a base's layers keep their bytes. Raises ImageError."""
    names = {oci: docker_type for docker_type, oci in _OCI_TYPE.items()} if docker else _OCI_TYPE
    if docker and (annotations or any(names.get(layer.media_type) == DOCKER_LAYER_ZSTD for layer in layers)):
        raise ImageError(
            "Docker's media types know no annotations and no zstd",
            remedy="leave oci-mediatypes=false or --format=docker out",
        )
    return Manifest(
        media_type=DOCKER_MANIFEST if docker else OCI_MANIFEST,
        config=Descriptor(
            media_type=DOCKER_CONFIG if docker else OCI_CONFIG, digest=Digest.of(config), size_bytes=len(config)
        ),
        layers=tuple(
            Descriptor(
                media_type=names.get(layer.media_type, layer.media_type),
                digest=layer.digest,
                size_bytes=layer.size_bytes,
                annotations=dict(layer.annotations),
            )
            for layer in layers
        ),
        annotations=annotations,
    )


def inlined(
    made: Mapping[Digest, StepRecord], chain: Chain, refs: Sequence[BlobRef], epoch: str
) -> dict[Digest, StepRecord]:
    """Return the records of steps whose layers the image has, without what differs from one machine to another."""
    packed = {layer.diff_id: ref for layer, ref in zip(chain, refs, strict=True)}
    return {
        key: replace(record, layer=packed[record.diff_id], parts=(), seconds=0.0, created=epoch or record.created)
        for key, record in made.items()
        if record.diff_id in packed
    }


def lines_of(stages: Sequence[StagePlan], ends: Sequence[int], base: BaseImage | None) -> bytes:
    """Return a document that says for each layer above the base which steps made it: file, first and last line, stage,
    the step as progress names it; and what the base is.
    """
    layers: list[list[tuple[str, int, int, str, str]]] = []
    steps: list[tuple[str, int, int, str, str]] = []
    is_end = iter(ends)
    for stage in stages:
        for number, step in enumerate(stage.steps):
            span = step.span
            steps.append((span.file, span.first_line, span.last_line, stage.name, stage.label(number)))
            if count := next(is_end):
                layers += [steps] * count
                steps = []
    below = {"name": base.name, "id": str(base.manifest.config.digest)} if base is not None else None
    return json_text.dumps({"base": below, "layers": layers}, separators=(",", ":")).encode()

"""--cache-from and --cache-to, in buildx's notation: `type=registry,ref=…,mode=max`, `type=local,src=…|dest=…`, a bare ref."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from builder.dockerfile.suggest import did_you_mean
from builder.errors import TiffinError, UsageError
from builder.events import Sink, Warned
from builder.oci.reference import Reference
from builder.options import csv_pairs
from cache.values import dataclass, replace

if TYPE_CHECKING:
    from builder.image.layers import LayerStore
    from builder.image.remote import Remote
    from builder.layer.compress import Compression
    from cache.backend import StepCache, StepRecord
    from cache.blobs import BlobStore
    from cache.bundle import Bundle
    from cache.digest import Digest
    from cache.snapshots import BlobRef

TYPES: Mapping[str, tuple[str, ...]] = {
    "registry": ("ref", "mode", "ignore-error"),
    "local": ("src", "dest", "mode", "ignore-error"),
}
MODES = ("min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """One shared cache. `place` is a reference or a path; `mode` "max" shares the steps of every stage."""

    kind: str
    place: str
    mode: str = "min"
    ignore_error: bool = False

    def __str__(self) -> str:
        return f"{self.kind} cache {self.place}"


def parse_cache(text: str, flag: str) -> CacheSpec:
    """Read one value of `flag`; raises UsageError naming the part at fault."""
    if "=" not in text:
        return CacheSpec(kind="registry", place=text)
    fields: dict[str, str] = {}
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f"{flag} {text} has an empty item", remedy="write type=registry,ref=NAME") from exc
    for name, value in pairs:
        if value is None or name in fields:
            raise UsageError(f'{flag} {text}: "{name}" has no value, or two', remedy="write type=registry,ref=NAME")
        fields[name] = value
    kind = fields.pop("type", "registry")
    if kind not in TYPES:
        raise UsageError(
            f'{flag}: unknown type "{kind}"', remedy=did_you_mean(kind, list(TYPES)) or f"use {', '.join(TYPES)}"
        )
    for name in fields:
        if name not in TYPES[kind]:
            raise UsageError(
                f'{flag} type={kind} takes no "{name}"',
                remedy=did_you_mean(name, TYPES[kind]) or f"it takes {', '.join(TYPES[kind])}",
            )
    wanted = "ref" if kind == "registry" else ("src" if flag == "--cache-from" else "dest")
    if not fields.get(wanted):
        raise UsageError(f"{flag} type={kind} needs {wanted}=", remedy=f"add {wanted}=")
    mode, ignore = fields.get("mode", "min"), fields.get("ignore-error", "false").lower()
    if mode not in MODES or ignore not in ("true", "false"):
        raise UsageError(f"{flag} {text}: mode or ignore-error is wrong", remedy="use mode=min|max, ignore-error=true")
    return CacheSpec(kind=kind, place=fields[wanted], mode=mode, ignore_error=ignore == "true")


class SharedCaches:
    """The shared caches of one build. What cannot be read costs a warning; what cannot be written is an error."""

    def __init__(self, blobs: BlobStore, layers: LayerStore, remote: Callable[[], Remote], sink: Sink) -> None:
        self._blobs = blobs
        self._layers = layers
        self._remote = remote
        self._sink = sink

    def sources(self, specs: Sequence[CacheSpec]) -> list[StepCache]:
        """The caches to ask after the local one; their layers are fetched when something reads them."""
        from cache.bundle import BundleCache

        found: list[StepCache] = []
        for spec in specs:
            try:
                bundle = self._load(spec)
            except TiffinError as exc:
                self._sink.emit(Warned(message=f"{spec} cannot be used: {exc.message}"))
                continue
            if bundle is None:
                self._sink.emit(Warned(message=f"{spec} is not there yet"))
                continue
            self._layers.elsewhere.update(bundle.layers())
            found.append(BundleCache(spec.kind, bundle))
        return found

    def share(
        self,
        specs: Sequence[CacheSpec],
        records: Mapping[str, Mapping[Digest, StepRecord]],
        compression: Compression,
        enter: Callable[[], None],
    ) -> None:
        """Write the records of a build, and the layers they name; raises RegistryError, StoreError."""
        from cache.bundle import Bundle

        for spec in specs:
            mine = {}
            for key, record in records[spec.mode].items():
                if not self._layers.has_blob(record.diff_id):
                    enter()
                mine[key] = replace(record, layer=self._layers.ensure_blob(record.diff_id, compression))
            try:
                self._save(spec, Bundle(mine))
            except TiffinError as exc:
                if not spec.ignore_error:
                    raise
                self._sink.emit(Warned(message=f"{spec} was not written: {exc.message}"))

    def _load(self, spec: CacheSpec) -> Bundle | None:
        if spec.kind == "registry":
            from builder.image.cache_image import RegistryBundles

            return RegistryBundles(self._remote(), self._blobs, Reference.parse(spec.place)).load()
        from cache.directory import DirectoryBundles

        directory = DirectoryBundles(Path(spec.place))
        bundle = directory.load()
        if bundle is not None:
            self._remote().shared.append(lambda ref: self._take(directory.open(ref), ref))
        return bundle

    def _save(self, spec: CacheSpec, bundle: Bundle) -> None:
        try:
            before = self._load(spec)
        except TiffinError as exc:
            self._sink.emit(Warned(message=f"{spec} is begun anew: {exc.message}"))
            before = None
        merged = before.merged(bundle) if before is not None else bundle
        if spec.kind == "registry":
            from builder.image.cache_image import RegistryBundles

            RegistryBundles(self._remote(), self._blobs, Reference.parse(spec.place)).save(merged)
            return
        from cache.directory import DirectoryBundles

        DirectoryBundles(Path(spec.place)).save(merged, self._open)

    def _open(self, ref: BlobRef) -> BinaryIO:
        """The bytes of a layer, fetched if need be."""
        if not self._blobs.has(ref.digest):
            self._remote().fetch(ref)
        return cast(BinaryIO, self._blobs.open(ref.digest))

    def _take(self, stream: BinaryIO | None, ref: BlobRef) -> bool:
        """Bring a layer of a directory here; wrong bytes are as if it was not there."""
        if stream is None:
            return False
        from cache.digest import COPY_CHUNK_BYTES
        from cache.errors import CorruptError

        with stream, suppress(CorruptError), self._blobs.ingest(ref.digest.algorithm) as writer:
            while data := stream.read(COPY_CHUNK_BYTES):
                writer.write(data)
            writer.commit(ref.digest, ref.size_bytes)
            return True
        return False

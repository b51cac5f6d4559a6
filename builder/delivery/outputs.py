"""What becomes of a finished build: images, indexes of several platforms, archives, directories, and the files of
results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.delivery.output_spec import OutputSpec
from tiffin.builder.errors import RegistryError, UsageError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Descriptor, Index, Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

if TYPE_CHECKING:
    from tiffin.builder.delivery.attesting import Attached
    from tiffin.builder.dockerfile.lint_base import LintWarning
    from tiffin.builder.image.attached.artifact import Artifact
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.store import ImageStore, StoredImage
    from tiffin.builder.solver.build import Built
    from tiffin.cache.store.blobs import BlobStore
    from tiffin.cache.store.statedir import StateDir

LOCAL_DIRECTORY_SEPARATOR = "_"  # linux_arm_v7, as buildx calls the directories of platforms

ATTACHED_TO = ("image", "registry", "oci", "docker")  # outputs that attestations go with

IMMUTABLE = "immutable"  # in what registries say of a tag that may not change


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build made.

    `image_id`: the digest of the configuration, of several platforms that of the index; `digest`: that of the manifest
    or index, None where no image was wanted; `size_bytes`: of all that it names; `metadata`: what --metadata-file
    holds, by buildx's names.
    """

    image_id: Digest
    digest: Digest | None
    size_bytes: int
    names: tuple[Reference, ...]
    platforms: tuple[Platform, ...]
    metadata: Mapping[str, object]
    builds: tuple[tuple[Platform, Built], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Writes the outputs of one command. `builds`: one for each platform, in the order asked for; `enter`: the user
    namespace, from where layers that exist unpacked only can be read.
    """

    state: StateDir
    blobs: BlobStore
    store: ImageStore
    layers: LayerStore
    remote: Callable[[], Remote]
    enter: Callable[[], object]
    sink: Sink
    specs: tuple[OutputSpec, ...]
    names: tuple[Reference, ...]
    builds: tuple[tuple[Platform, Built], ...]
    several: bool  # an index is wanted
    annotations: Annotations
    attached: Attached | None = None  # None for nothing
    told_provenance: Mapping[Platform, Mapping[str, object]] = field(default_factory=dict)  # those of the metadata

    def write(self) -> None:
        """Raise StoreError, RegistryError, UsageError."""
        failures: dict[str, RegistryError] = {}
        for spec in self.specs:
            match spec.kind:
                case "image" | "registry":
                    images = self._keep(spec)
                    if spec.push:
                        failures |= self._push(images, spec)
                case "oci" | "docker":
                    self._save(spec)
                case "tar" | "local":
                    self._export(spec)
                case "linked":
                    self._bring_layers()
                    for _, built in self.builds:
                        self.store.unlisted(built.manifest_bytes, built.config_bytes)
        if self.attached is not None and not any(spec.kind in ATTACHED_TO for spec in self.specs):
            self.sink.emit(WarningMessage(message="attestations belong to an image, and no output is an image"))
        if failures:
            raise self._not_pushed(failures)

    def _not_pushed(self, failures: Mapping[str, RegistryError]) -> RegistryError:
        """Return one error for all names that were not pushed."""
        [*others, last] = failures.items()
        names = list(dict.fromkeys(str(name) for spec in self.specs if spec.push for name in self._names(spec)))
        if len(names) == 1:
            return last[1]
        for name, error in others:
            self.sink.emit(WarningMessage(message=f"{name} was not pushed: {error}"))
        return RegistryError(
            f"{len(failures)} of {len(names)} names were not pushed, {last[0]} because: {last[1].message}",
            remedy="run the build again: nothing is built or sent twice",
        )

    def _image_id(self) -> Digest:
        """Return the digest of the configuration; of several platforms, that of the index."""
        if self.several:
            return Digest.of(self.index().encode())
        return Digest.of(self.builds[0][1].config_bytes)

    def index(self) -> Index:
        """Return the index of all platforms (image-spec image-index.md)."""
        return Index.of(
            (
                *(
                    Descriptor(
                        media_type=built.manifest.media_type,
                        digest=Digest.of(built.manifest_bytes),
                        size_bytes=len(built.manifest_bytes),
                        platform=platform,
                        annotations=self.annotations.of("manifest-descriptor", platform),
                    )
                    for platform, built in self.builds
                    if built.manifest is not None
                ),
                *(artifact.row for artifact in self._in_index()),
            ),
            self.annotations.of("index"),
        )

    def _metadata(self) -> dict[str, object]:
        document: dict[str, object] = {}
        built = self.builds[0][1]
        if not self.several:
            document["containerimage.config.digest"] = str(Digest.of(built.config_bytes))
        if built.manifest is not None:
            data = self.index().encode() if self.several else built.manifest_bytes
            media_type = self.index().media_type if self.several else built.manifest.media_type
            document["containerimage.digest"] = str(Digest.of(data))
            document["containerimage.descriptor"] = {
                "mediaType": media_type,
                "digest": str(Digest.of(data)),
                "size": len(data),
            }
        for platform, value in self.told_provenance.items():
            document[f"buildx.build.provenance/{platform}" if self.several else "buildx.build.provenance"] = value
        if self.names:
            document["image.name"] = ",".join(str(name) for name in self.names)
        return document

    def result(self, findings: Sequence[LintWarning] = ()) -> BuildResult:
        """Return what was made; `findings` are those that the metadata hold."""
        metadata = self._metadata()
        if findings:
            from tiffin.builder.delivery.told_warnings import told_warnings

            metadata["buildx.build.warnings"] = told_warnings(findings)
        has_image = any(built.manifest is not None for _, built in self.builds)
        data = self.index().encode() if self.several else self.builds[0][1].manifest_bytes
        return BuildResult(
            image_id=self._image_id(),
            digest=Digest.of(data) if has_image else None,
            size_bytes=self._size_bytes() if has_image else 0,
            names=tuple(dict.fromkeys(name for spec in self.specs for name in self._names(spec))),
            platforms=tuple(platform for platform, _ in self.builds),
            metadata=metadata,
            builds=self.builds,
        )

    def _size_bytes(self) -> int:
        """Return what an empty machine pulls for all platforms; a layer of several is counted once."""
        layers = {ref.digest: ref.size_bytes for _, built in self.builds for ref in built.layer_refs}
        documents = sum(len(built.manifest_bytes) + len(built.config_bytes) for _, built in self.builds)
        return sum(layers.values()) + documents

    def _names(self, spec: OutputSpec) -> tuple[Reference, ...]:
        return tuple(dict.fromkeys((*self.names, *(Reference.parse(name) for name in spec.names))))

    def _bring_layers(self) -> None:
        """Fetch the layers of a base that nothing had to read yet."""
        refs = (ref for _, built in self.builds for ref in built.layer_refs)
        missing = [ref for ref in refs if not self.blobs.has(ref.digest)]
        if missing:
            self.remote().fetch_all(missing)

    def _keep(self, spec: OutputSpec) -> list[StoredImage]:
        """Return the images in the local store.

        One that is only pushed stays out of it where a shared cache has its layers.
        """
        store, names = self.store, self._names(spec)
        refs = [ref for _, built in self.builds for ref in built.layer_refs]
        shared = {ref.digest for ref in self.layers.remote_blobs.values()}
        if spec.kind == "registry" and any(ref.digest in shared and not self.blobs.has(ref.digest) for ref in refs):
            images = [store.unlisted(built.manifest_bytes, built.config_bytes) for _, built in self.builds]
            return images + self._keep_attestations()
        self._bring_layers()
        images = [
            store.put(built.manifest_bytes, built.config_bytes, () if self.several else names)
            for _, built in self.builds
        ]
        images += self._keep_attestations()
        if self.several:
            store.put_index(self.index(), names)
        if self.attached is not None:
            from tiffin.builder.image.attached.kept import attach

            attach(store, self.blobs, self.attached.referrers)
        return images

    def _keep_attestations(self) -> list[StoredImage]:
        """Keep the manifests of attestations that stand in the index."""
        if self.attached is None:
            return []
        from tiffin.builder.image.attached.kept import put_attestations

        return [put_attestations(self.store, self.blobs, artifact) for artifact in self.attached.in_index]

    def _push(self, images: Sequence[StoredImage], spec: OutputSpec) -> dict[str, RegistryError]:
        """Push under each name; return what went wrong, by name."""
        failures = {}
        for name in self._names(spec):
            if spec.insecure:
                self.remote().allow_insecure(name.registry)
            try:
                digest = self._push_with_referrers(images, spec, name)
            except RegistryError as exc:
                if spec.keeps_immutable and IMMUTABLE in exc.message.lower():
                    self.sink.emit(WarningMessage(message=f"{name} exists and may not change: {exc.message}"))
                else:
                    failures[str(name)] = exc
            else:
                self.sink.emit(InfoMessage(message=f"pushed {name.name if spec.by_digest else name}@{digest}"))
        return failures

    def _push_with_referrers(self, images: Sequence[StoredImage], spec: OutputSpec, name: Reference) -> Digest:
        push = partial(self._push_one, images, spec, name)
        if self.attached is None:
            return push()
        from tiffin.builder.image.attached.elsewhere import push_with_attached

        return push_with_attached(push, self.remote(), name, self.attached.referrers, os.environ)

    def _in_index(self) -> tuple[Artifact, ...]:
        return self.attached.in_index if self.attached is not None else ()

    def _push_one(self, images: Sequence[StoredImage], spec: OutputSpec, name: Reference) -> Digest:
        if spec.merges and name.tag and not spec.by_digest:
            from tiffin.builder.delivery.merged_push import push_merged

            remote = self.remote()
            platforms = [platform for platform, _ in self.builds]
            mine = {platform: partial(remote.push, image) for platform, image in zip(platforms, images, strict=False)}
            return push_merged(remote.client(name.registry), name, mine, self.annotations.of("index"))
        if self.several:
            return self.remote().push_index(images, self.index(), name, by_digest=spec.by_digest)
        return self.remote().push(images[0], name, by_digest=spec.by_digest)

    def _save(self, spec: OutputSpec) -> None:
        from tiffin.builder.image.archive_write import Saved, output_file, save, save_directory

        if self.several and spec.kind == "docker":
            raise UsageError("a docker archive holds one platform", remedy="use type=oci, or build one platform")
        self._bring_layers()
        names = self._names(spec)
        images = [
            Saved(manifest=built.manifest_bytes, config=built.config_bytes, names=() if self.several else names)
            for _, built in self.builds
        ]
        self._keep_attestations()
        images += [
            Saved(manifest=artifact.manifest, config=artifact.blobs[0][1], names=()) for artifact in self._in_index()
        ]
        index = (self.index(), names) if self.several else None
        referrers = self.attached.referrers if self.attached is not None else ()
        if spec.is_directory:
            save_directory(images, self.blobs, Path(spec.dest), index=index, artifacts=referrers)
            return
        with output_file(spec.dest, sys.stdout.buffer) as sink:
            save(images, self.blobs, sink, index=index, artifacts=referrers)

    def _export(self, spec: OutputSpec) -> None:
        from tiffin.builder.execute.export import export_directory, export_tar
        from tiffin.builder.image.archive_write import output_file
        from tiffin.builder.solver.build import lacks_blob

        if any(lacks_blob(built.chain, self.layers) for _, built in self.builds):
            self.enter()
        state = self.state
        parts = [(_directory_of(platform) if self.several else "", built.chain) for platform, built in self.builds]
        if spec.kind == "local":
            for directory, chain in parts:
                export_directory(chain, self.layers, state, Path(spec.dest) / directory)
            return
        with output_file(spec.dest, sys.stdout.buffer) as sink:
            export_tar(parts, self.layers, state, sink)


def _directory_of(platform: Platform) -> str:
    return str(platform).replace("/", LOCAL_DIRECTORY_SEPARATOR)

"""Values of image-spec: descriptor, platform, manifest, index. Strict when read, canonical when written.

The image configuration is in tiffin.builder.oci.config.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.sha256 import short_sha256

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_NONDIST_PREFIX = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER = "application/vnd.docker."  # the types of all that is Docker's begin so
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
LAYER_COMPRESSION: Mapping[str, str] = MappingProxyType(
    {  # media type of a layer -> name of its compression in tiffin.builder.layer.compression.codecs
        OCI_LAYER: "none",
        OCI_LAYER_GZIP: "gzip",
        OCI_LAYER_ZSTD: "zstd",
        DOCKER_LAYER: "none",
        DOCKER_LAYER_GZIP: "gzip",
        DOCKER_LAYER_ZSTD: "zstd",
        OCI_NONDIST_PREFIX: "none",
        f"{OCI_NONDIST_PREFIX}+gzip": "gzip",
        f"{OCI_NONDIST_PREFIX}+zstd": "zstd",
        DOCKER_FOREIGN: "gzip",
    }
)
MAX_DOCUMENT_BYTES = 4 << 20  # distribution-spec asks registries to take manifests of at least 4 MiB

ANNOTATION_REF_NAME = "org.opencontainers.image.ref.name"
ANNOTATION_CONTAINERD_NAME = "io.containerd.image.name"
CHUNKED_PREFIX = "io.github.containers.zstd-chunked."  # of what tells where single files of a layer are
REFERENCE_DIGEST = "vnd.docker.reference.digest"  # BuildKit's: the manifest that an attestation is about

_NOTHING: Mapping[str, str] = MappingProxyType({})


# Go's names, which OCI uses; one of another name can be written with its system
ARCHITECTURES = (
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Operating system and architecture, in Go's words, normalised (`amd64`, `arm64`, `arm/v7`)."""

    os: str = "linux"
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `OS/ARCH[/VARIANT]`, `ARCH[/VARIANT]` or `local`; raises UsageError."""
        if text == "local":
            return cls.local()
        parts = text.lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(parts):
            raise UsageError(f'invalid platform "{text}"', remedy="write OS/ARCH[/VARIANT], such as linux/amd64")
        without_os = cls.normal("linux", parts[0], *parts[1:2])
        if len(parts) < 3 and without_os.architecture in ARCHITECTURES:
            return without_os
        if len(parts) == 1:
            raise UsageError(f'"{text}" is not a known architecture', remedy="write OS/ARCH, such as linux/amd64")
        return cls.normal(*parts)

    @classmethod
    def normal(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """Apply the customary aliases: x86_64, aarch64, armhf, amd64/v1, arm64/v8, arm (v7)."""
        architecture = {
            "x86_64": "amd64",
            "x86-64": "amd64",
            "aarch64": "arm64",
            "i386": "386",
            "i686": "386",
        }.get(architecture, architecture)
        if architecture == "armhf":
            architecture, variant = "arm", "v7"
        if architecture == "armel":
            architecture, variant = "arm", "v6"
        if architecture == "arm" and not variant:
            variant = "v7"
        if (architecture, variant) in (("amd64", "v1"), ("arm64", "v8")):
            variant = ""
        return cls(os=os, architecture=architecture, variant=variant)

    @classmethod
    def local(cls) -> Platform:
        """Return the platform of this machine."""
        machine = os.uname().machine
        return cls.normal("linux", {"armv7l": "armhf", "armv6l": "armel"}.get(machine, machine.lower()))

    @classmethod
    def from_fields(cls, fields: Fields) -> Platform:
        return cls.normal(fields.text("os", ""), fields.text("architecture", ""), fields.text("variant", ""))

    def to_json(self) -> dict[str, object]:
        result: dict[str, object] = {"os": self.os, "architecture": self.architecture}
        if self.variant:
            result["variant"] = self.variant
        return result

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def platform_more(fields: Fields) -> Mapping[str, object]:
    """Return what an object says of a platform beyond its name, which Windows chooses images by (image-index.md)."""
    found: dict[str, object] = {"os.version": fields.text("os.version")} if fields.has("os.version") else {}
    if features := fields.texts("os.features"):
        found["os.features"] = list(features)
    return MappingProxyType(found) if found else _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """image-spec descriptor.md: what a blob is, its digest and its size in bytes."""

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""  # of a manifest; where it says none, an index may have its configuration's type there
    platform_more: Mapping[str, object] = field(default_factory=lambda: _NOTHING)  # os.version and the like

    @property
    def is_artifact(self) -> bool:
        """Whether it is told to be a manifest that is not an image."""
        return self.artifact_type not in ("", OCI_CONFIG, DOCKER_CONFIG)

    @classmethod
    def from_fields(cls, fields: Fields) -> Descriptor:
        size_bytes = fields.integer("size")
        if size_bytes < 0:
            raise fields.wrong("size", "a size that is not negative")
        return cls(
            media_type=fields.text("mediaType"),
            digest=Digest.parse(fields.text("digest")),
            size_bytes=size_bytes,
            platform=Platform.from_fields(fields.child("platform")) if fields.has("platform") else None,
            platform_more=platform_more(fields.child("platform")) if fields.has("platform") else _NOTHING,
            annotations=MappingProxyType(fields.text_map("annotations")),
            urls=fields.texts("urls"),
            artifact_type=fields.text("artifactType", ""),
        )

    def to_json(self) -> dict[str, object]:
        result: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        if self.platform:
            result["platform"] = {**self.platform.to_json(), **self.platform_more}
        if self.annotations:
            result["annotations"] = dict(self.annotations)
        if self.urls:
            result["urls"] = list(self.urls)
        if self.artifact_type:
            result["artifactType"] = self.artifact_type
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """image-spec manifest.md, and Docker's schema 2, which has the same form."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def decode(cls, data: bytes, media_type: str = "") -> Manifest:
        """Read a manifest; `media_type` is what the transport said of it, if anything. Raises ImageError."""
        fields = Fields.decode(data, "manifest")
        actual = _media_type_of(fields, media_type, OCI_MANIFEST)
        if actual not in MANIFEST_TYPES:
            raise ImageError(f'manifest has media type "{actual}"', remedy="only OCI and Docker schema 2 are images")
        _check_schema(fields)
        if fields.has("manifests"):  # CVE-2021-41190: one document must not be both
            raise ImageError("document is both a manifest and an index", remedy="the source is hostile or damaged")
        return cls(
            config=Descriptor.from_fields(fields.child("config")),
            layers=tuple(Descriptor.from_fields(child) for child in fields.children("layers")),
            media_type=actual,
            annotations=MappingProxyType(fields.text_map("annotations")),
        )

    def encode(self) -> bytes:
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return canonical(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """image-spec image-index.md, and Docker's manifest list."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def of(cls, manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None) -> Index:
        """Return an index of the type that fits: Docker's where all that it lists is Docker's and nothing is annotated,
        which Docker's does not know, else OCI's.
        """
        is_docker = bool(manifests) and not annotations
        is_docker = is_docker and all(row.media_type.startswith(DOCKER) and not row.annotations for row in manifests)
        return cls(
            manifests=tuple(manifests),
            media_type=DOCKER_INDEX if is_docker else OCI_INDEX,
            annotations=annotations or _NOTHING,
        )

    @classmethod
    def decode(cls, data: bytes, media_type: str = "") -> Index:
        """Read an index; `media_type` is what the transport said of it, if anything. Raises ImageError."""
        fields = Fields.decode(data, "index")
        actual = _media_type_of(fields, media_type, OCI_INDEX)
        if actual not in INDEX_TYPES:
            raise ImageError(f'index has media type "{actual}"', remedy="expected an OCI index or a manifest list")
        _check_schema(fields)
        if fields.has("layers") or fields.has("config"):
            raise ImageError("document is both a manifest and an index", remedy="the source is hostile or damaged")
        return cls(
            manifests=tuple(Descriptor.from_fields(child) for child in fields.children("manifests")),
            media_type=actual,
            annotations=MappingProxyType(fields.text_map("annotations")),
        )

    def encode(self) -> bytes:
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [manifest.to_json() for manifest in self.manifests],
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return canonical(document)

    def select(self, wanted: Platform) -> Descriptor | None:
        """Return the manifest for `wanted`: exact, else a compatible older variant (arm v7 takes v6), else None."""
        images = [m for m in self.manifests if m.platform and m.platform.os != "unknown"]
        same = [
            m
            for m in images
            if m.platform and (m.platform.os, m.platform.architecture) == (wanted.os, wanted.architecture)
        ]
        older = sorted(
            (m for m in same if m.platform and m.platform.variant <= wanted.variant),
            key=lambda m: m.platform.variant if m.platform else "",
            reverse=True,
        )
        if older:
            return older[0]
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        return None


def _check_schema(fields: Fields) -> None:
    """Check that the schema version is 2; some builders leave it out."""
    version = fields.integer("schemaVersion", 2)
    if version != 2:
        raise ImageError(
            f"{fields.path} has schema version {version}", remedy="push the image again with a newer client"
        )


def _media_type_of(fields: Fields, declared: str, default: str) -> str:
    own = fields.text("mediaType", "")
    if own and declared and own != declared:
        raise ImageError(
            f'document says it is "{own}" but was sent as "{declared}"', remedy="the source is hostile or damaged"
        )
    return own or declared or default


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """Return the ChainID (image-spec config.md#layer-chainid); for no layers, the digest of nothing, our own
    constant.
    """
    if not diff_ids:
        return Digest.of(b"")
    result = diff_ids[0]
    for diff_id in diff_ids[1:]:
        result = Digest("sha256", short_sha256(f"{result} {diff_id}".encode()))
    return result

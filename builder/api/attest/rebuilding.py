"""Build an image again as its provenance says, and compare."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tiffin.builder.api.attest.comparing import differences_of_config, differences_of_layers
from tiffin.builder.api.attest.listing import shown
from tiffin.builder.api.attest.opening import opened
from tiffin.builder.api.build import build
from tiffin.builder.api.build_options import BuildOptions, MetadataOptions
from tiffin.builder.api.session import Session
from tiffin.builder.delivery.annotations import Annotation, Annotations
from tiffin.builder.delivery.output_spec import LINKED, OutputSpec
from tiffin.builder.delivery.provenance import BUILD_TYPE
from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.events import Sink
from tiffin.builder.image.attached.finding import subjects_of
from tiffin.builder.image.attached.places import AttachedPlace, RegistryPlace, StorePlace
from tiffin.builder.image.store import StoredImage
from tiffin.builder.lock.lockfile import Lock, LockedImage, write_lock
from tiffin.builder.oci.json_fields import JSON, Fields
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import INDEX_TYPES, Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import Split, base_chain
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.store.snapshots import BlobRef

_SYNTAX = re.compile(rb"(?im)\A(?:#[^\n]*\n)*?#\s*syntax\s*=\s*(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a provenance does not have: the context, named contexts that are directories, values of secrets.

    `platform` is None for this machine's.
    """

    context: str = ""
    file: str = ""
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: tuple[str, ...] = ()
    platform: Platform | None = None
    isolation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What came of it: the digests before and after, and what differs."""

    wanted: Digest
    made: Digest
    differences: tuple[str, ...]


def rebuild(text: str, again: Again, session: Session, sink: Sink, access: RegistryAccess, *, local: bool) -> Rebuilt:
    """Build an image again, without any cache, and compare it with what there is. Raises TiffinError."""
    wanted = again.platform or Platform.local()
    with opened(text, session, sink, access, local=local) as place:
        digest = _digest_of(place, wanted)
        found = [item.statement for item in shown(place, "provenance", "") if item.subject == digest]
        if not found or found[-1] is None:
            raise ImageError(f"{text} has no provenance for {wanted}", remedy="build it with --provenance=mode=max")
        predicate = Fields(_members(found[-1].attestation.predicate), "predicate")
        platform = _platform_of(predicate, wanted)
        if again.platform not in (None, platform):
            raise ImageError(f"{text} is for {platform}", remedy="leave --platform out")
        image = _image(place, digest, platform, session, sink, access)
    options = _options(text, predicate, again, image, platform, access)
    with session.state.scratch("rebuild") as scratch:
        lock = scratch / "recorded.lock"
        write_lock(lock, _lock_of(predicate, platform))
        result = build(replace(options, locked=True, lock_file=str(lock)), session, sink)
    ((_, built),) = result.builds
    made = Digest.of(built.manifest_bytes)
    if made == digest:
        return Rebuilt(wanted=digest, made=made, differences=())
    layers = session.layers(lambda: session.remote(sink, access))
    config = session.blobs.read(image.id, image.manifest.config.size_bytes)
    steps = built.trace.steps if built.trace is not None else ()
    lines = (
        *differences_of_layers(base_chain(image), built.chain, layers, steps, _keys_in(predicate)),
        *differences_of_config(config, built.config_bytes),
    )
    return Rebuilt(wanted=digest, made=made, differences=lines or ("the manifests are packed in another way",))


def _platform_of(predicate: Fields, default: Platform) -> Platform:
    """Return for which platform it was built."""
    inner = predicate.child("buildDefinition").child("internalParameters")
    return Platform.parse(inner.text("platform", str(default)))


def _keys_in(predicate: Fields) -> frozenset[str]:
    """Return the keys of the steps of then."""
    inner = predicate.child("buildDefinition").child("internalParameters")
    if not inner.has("buildConfig"):
        return frozenset()
    return frozenset(step.text("id") for step in inner.child("buildConfig").children("steps"))


def _digest_of(place: AttachedPlace, platform: Platform) -> Digest:
    top, *members = subjects_of(place)
    if top.descriptor.media_type not in INDEX_TYPES:
        return top.descriptor.digest
    for member in members:
        if member.platform == platform:
            return member.descriptor.digest
    known = ", ".join(str(member.platform) for member in members)
    raise ImageError(f"{place.name} has no image for {platform}", remedy=f"it is there for {known}: --platform")


def _image(
    place: AttachedPlace, digest: Digest, platform: Platform, session: Session, sink: Sink, access: RegistryAccess
) -> StoredImage:
    """Return the image with its layers, brought here."""
    if isinstance(place, StorePlace):
        return next(image for image in session.store.manifests() if image.descriptor.digest == digest)
    if not isinstance(place, RegistryPlace):
        raise UsageError(f"{place.name} is not compared", remedy="load it, and name it with --local")
    remote = session.remote(sink, access)
    image = remote.look_up(replace(place.reference, tag="", digest=digest), platform)
    remote.fetch_all([BlobRef.of(layer) for layer in image.manifest.layers])
    return image


def _options(
    text: str, predicate: Fields, again: Again, image: StoredImage, platform: Platform, access: RegistryAccess
) -> BuildOptions:
    """Return how the image was built. Raises UsageError for what cannot be known."""
    definition = predicate.child("buildDefinition")
    if definition.text("buildType") != BUILD_TYPE:
        raise UsageError(f"{text} was built by another program: {definition.text('buildType')}", remedy="use that one")
    asked = definition.child("externalParameters").child("request")
    source = definition.child("externalParameters").child("configSource")
    if not asked.has("args"):
        raise UsageError(f"the provenance of {text} has mode=min", remedy="build it with --provenance=mode=max")
    context = again.context or source.text("uri", "")
    if not context:
        raise UsageError(f"{text} was built from a directory, which no provenance has", remedy="name it: CONTEXT")
    secrets = {child.text("id") for child in asked.children("secrets")}
    if missing := sorted(secrets - again.secrets.keys()):
        raise UsageError(f"{text} was built with secrets: {', '.join(missing)}", remedy="give them with --secret")
    more = asked.child("options") if asked.has("options") else Fields({})
    annotations = [
        Annotation(kind="manifest", platform=None, key=name, value=value)
        for name, value in image.manifest.annotations.items()
    ]
    return BuildOptions(
        context=context,
        file=again.file or _file(source.text("path"), context),
        target=asked.text("target", ""),
        platforms=(platform,),
        outputs=(_output(more),),
        build_args=asked.text_map("args"),
        labels=asked.text_map("labels"),
        contexts={**(asked.text_map("contexts")), **again.contexts},
        annotations=Annotations(annotations),
        secrets=again.secrets,
        ssh=again.ssh,
        allowed=frozenset(more.texts("allow")),
        network=more.text("network", "default"),
        layering=more.text("layering", BuildOptions().layering),
        epoch=more.integer("timestamp") if more.has("timestamp") else None,
        isolation=again.isolation,
        use_cache=False,
        metadata=MetadataOptions(provenance="max"),
        registry=access,
    )


def _file(path: str, context: str) -> str:
    """Return where the Dockerfile is, whose place in the context is told."""
    if path == "Dockerfile" or "://" in context:
        return "" if path == "Dockerfile" else path
    inside = Path(context, path)
    return str(inside) if inside.exists() else path


def _output(more: Fields) -> OutputSpec:
    kind = more.text("compression", "gzip")
    plain = OutputSpec(
        kind=LINKED,
        compression_level=more.integer("compression-level") if more.has("compression-level") else None,
        oci_types=not more.has("oci-mediatypes"),
        rewrites_times=more.flag("rewrite-timestamp") if more.has("rewrite-timestamp") else None,
        split=_split(more.child("split")) if more.has("split") else None,
    )
    if kind == "zstd":
        return replace(plain, compression="zstd")
    if kind == "zstd:chunked":
        return replace(plain, compression="zstd:chunked")
    return replace(plain, compression="none") if kind == "none" else plain


def _split(more: Fields) -> Split:
    return Split(part_bytes=more.integer("size"), max_layers=more.integer("max"))


def _lock_of(predicate: Fields, platform: Platform) -> Lock:
    """Return what came in from outside, so that the same comes in again."""
    images: dict[str, LockedImage] = {}
    commits: dict[tuple[str, str], str] = {}
    files: dict[tuple[str, str], str] = {}
    for item in predicate.child("buildDefinition").children("resolvedDependencies"):
        uri, digests, name = item.text("uri"), item.text_map("digest"), item.text("name", "")
        if name:
            digest = f"sha256:{digests.get('sha256', '')}"
            resolved = name if "://" in name else str(Reference.parse(name)).partition("@")[0]
            before = images[name].manifests if name in images else {}
            manifests = {**before, platform: digest, _platform_in(uri, platform): digest}
            images[name] = LockedImage(name=name, resolved=resolved, digest=digest, manifests=manifests)
        elif "sha1" in digests:
            url, _, ref = uri.partition("#")
            commits[url, ref] = digests["sha1"]
        else:
            files[uri, ""] = f"sha256:{digests.get('sha256', '')}"
    return Lock(platforms=(platform,), images=images, commits=commits, files=files, syntaxes=dict(_syntaxes(predicate)))


def _platform_in(uri: str, default: Platform) -> Platform:
    from urllib.parse import parse_qs

    found = parse_qs(uri.partition("?")[2]).get("platform", [""])[0]
    return Platform.parse(found) if found else default


def _syntaxes(predicate: Fields) -> Iterator[tuple[str, str]]:
    """Yield the frontend that the Dockerfile named: tiffin runs none."""
    metadata = predicate.child("runDetails").child("metadata")
    if metadata.has("buildkit_metadata"):
        for item in metadata.child("buildkit_metadata").child("source").children("infos"):
            match = _SYNTAX.search(base64.b64decode(item.text("data", "")))
            if match:
                yield match[1].decode(errors="replace"), ""


def _members(predicate: Mapping[str, object]) -> Mapping[str, JSON]:
    import json

    decoded: Mapping[str, JSON] = json.loads(json.dumps(predicate))
    return decoded

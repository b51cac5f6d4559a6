"""Which sources a build has, and what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http
from tiffin.builder.lock.lockfile import Lock, LockedImage
from tiffin.builder.lock.pins import Gatherer, key_of, pinned_image
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_LAYOUT
from tiffin.builder.plan.planner import make_plan
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.image.resolved import RegistryNotes
    from tiffin.builder.plan.plan_options import BaseImage
    from tiffin.builder.solver.build import Request, Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A lock, and the images in it as they are: by name and platform."""

    lock: Lock
    images: Mapping[tuple[str, Platform], BaseImage]


def gather(
    request: Request,
    services: Services,
    contexts: Mapping[str, str],
    notes: RegistryNotes,
    gatherer: Gatherer,
    old: Lock,
    platforms: Sequence[Platform],
    *,
    every_stage: bool = True,
) -> Gathered:
    """Plan for each platform, and return what its sources are; `contexts` are those of the command line."""
    resolved: dict[tuple[str, Platform], BaseImage] = {}

    def resolve(name: str, platform: Platform) -> BaseImage:
        return resolved.setdefault((name, platform), services.resolve_image(name, platform))

    for platform in platforms:
        asked = replace(request.plan_options, platform=platform, checks_only=every_stage, source_rules=gatherer)
        make_plan(request.dockerfile, asked, resolve)
    for url in contexts.values():
        if is_http(url) and not is_git(url, context=True):
            gatherer.source(UrlOrigin(url=url, filename=filename_of(url)), None)
    images: dict[str, LockedImage] = {}
    for (name, platform), given in gatherer.images.items():
        is_kept = given == pinned_image(old, name, platform)
        image = _locked_image(notes, name, platform, resolved[given, platform], old if is_kept else None)
        manifests = {**images[name].manifests, **image.manifests} if name in images else image.manifests
        images[name] = replace(image, manifests=manifests)
    commits, files = {}, {}
    for origin, source in gatherer.sources.items():
        if isinstance(source, GitOrigin):
            commits[key_of(origin)] = services.contexts.commit(source)
        else:
            files[key_of(origin)] = f"sha256:{services.contexts.tree(source).children('.')[0].digest}"
    frontend = request.dockerfile.directives.get("syntax", "")
    lock = Lock(
        platforms=tuple(platforms),
        images=images,
        commits=commits,
        files=files,
        syntaxes={frontend: old.syntaxes.get(frontend, "")} if frontend else {},
    )
    return Gathered(lock=lock, images={asked: resolved[given, asked[1]] for asked, given in gatherer.images.items()})


def _locked_image(
    notes: RegistryNotes, name: str, platform: Platform, image: BaseImage, kept: Lock | None
) -> LockedImage:
    manifests = {platform: str(image.manifest_digest)}
    if kept is not None:
        return replace(kept.images[name], manifests=manifests)
    digest = image.manifest_digest
    resolved = name.partition("@")[0] if name.startswith(PREFIX_LAYOUT) else image.name.partition("@")[0]
    if not name.startswith(PREFIX_LAYOUT):
        noted = notes.resolved(Reference.parse(image.name), platform)
        if noted is not None and noted.manifest == digest:
            digest = noted.reported
    return LockedImage(name=name, resolved=resolved, digest=str(digest), manifests=manifests)

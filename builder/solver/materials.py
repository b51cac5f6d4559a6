"""What came into a build from outside, by name and digest: base images, files behind URLs, commits of repositories."""

from __future__ import annotations

from collections.abc import Iterator

from tiffin.builder.instructions.ops import GitOrigin, Origin, UrlOrigin
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan import Plan
from tiffin.builder.sources.context import Contexts
from tiffin.cache.foundation.frozen import dataclass

IMAGE, FILE, REPOSITORY = "image", "file", "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """`name`: a reference, a URL, or a repository's URL with `#` and what was asked for; `digest` is hexadecimal.

    `asked`: an image as the Dockerfile or a named context calls it.
    """

    kind: str
    name: str
    algorithm: str
    digest: str
    platform: Platform | None = None
    asked: str = ""


def materials_of(plan: Plan, contexts: Contexts) -> tuple[Material, ...]:
    """Return the materials of a plan whose keys are known, each once, by name. Raises what reading them raises."""
    found = {
        Material(
            kind=IMAGE,
            name=image.name,
            algorithm=image.manifest_digest.algorithm,
            digest=image.manifest_digest.hex,
            platform=image.config.platform,
            asked=key.partition(" (")[0],
        )
        for key, image in plan.images.items()
    }
    for stage in plan.stages.values():
        for step in stage.steps:
            for origin in step.op.origins():
                found.update(_of_origin(origin, contexts))
    return tuple(sorted(found, key=lambda material: (material.kind, material.name, material.digest)))


def _of_origin(origin: Origin, contexts: Contexts) -> Iterator[Material]:
    if isinstance(origin, GitOrigin):
        place = _without_credentials(origin.url)
        name = f"{place}#{origin.ref}" if origin.ref else place
        yield Material(kind=REPOSITORY, name=name, algorithm="sha1", digest=contexts.commit(origin))
    elif isinstance(origin, UrlOrigin):
        for entry in contexts.tree(origin).children("."):
            name = _without_credentials(origin.url)
            yield Material(kind=FILE, name=name, algorithm="sha256", digest=entry.digest)


def _without_credentials(url: str) -> str:
    """Return a URL without user, password and query, which may be a signature."""
    from tiffin.builder.registry.download import shown

    return shown(url)

"""A target to build, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.delivery.output_spec import LINKED, NEEDS_BLOBS, OutputSpec
from tiffin.builder.delivery.outputs import BuildResult
from tiffin.builder.errors import TiffinError
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, BaseImage
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace

BRINGS_LAYERS = ("image", "oci", "docker")  # kinds of outputs: one that is only pushed leaves them in a shared cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A target. `needs`: names of targets whose images it takes, by the names of its contexts."""

    name: str
    options: BuildOptions
    needs: Mapping[str, str] = field(default_factory=dict)

    def options_with(self, results: Mapping[str, BuildResult], *, is_needed: bool) -> BuildOptions:
        """Return what is built, with the images it takes; one that is needed is packed for those that need it."""
        options = self.options
        if self.needs:
            contexts = {name: f"{PREFIX_BUILT}{other}" for name, other in self.needs.items()}
            images = {other: images_of(other, results[other]) for other in self.needs.values()}
            options = replace(options, contexts={**options.contexts, **contexts}, built=images)
        return replace(options, outputs=_linked(options.outputs)) if is_needed else options


def _linked(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """Return outputs after which the layers are here, packed as the outputs have them."""
    if any(spec.kind in BRINGS_LAYERS for spec in outputs):
        return tuple(outputs)
    others = tuple(spec for spec in outputs if spec.kind != "cacheonly")
    packed = next((spec for spec in others if spec.kind in NEEDS_BLOBS), OutputSpec(kind=LINKED))
    return (*others, replace(packed, kind=LINKED, names=(), push=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a target: a result, or what went wrong; neither where it was not begun."""

    result: BuildResult | None = None
    error: TiffinError | None = None


def images_of(name: str, result: BuildResult) -> dict[Platform, BaseImage]:
    """Return what a target made, as other targets stand on it."""
    return {
        platform: BaseImage(
            name=f"{PREFIX_BUILT}{name}",
            manifest=built.manifest,
            config=built.config,
            manifest_digest=Digest.of(built.manifest_bytes),
        )
        for platform, built in result.builds
        if built.manifest is not None
    }


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs so that each follows those it needs; their needs form no circle."""
    by_name = {job.name: job for job in jobs}
    done: dict[str, Job] = {}

    def add(job: Job) -> None:
        for other in job.needs.values():
            if other not in done:
                add(by_name[other])
        done[job.name] = job

    for job in jobs:
        if job.name not in done:
            add(job)
    return list(done.values())


def needed_by(jobs: Mapping[str, Job], names: Iterable[str]) -> list[str]:
    """Return what jobs need, directly or not."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        for other in jobs[waiting.pop()].needs.values():
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)

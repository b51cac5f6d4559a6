"""A build that is made on a farm: what it cannot ask for there, and what its steps are made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import STEPS, BuildOptions
from tiffin.builder.errors import UsageError
from tiffin.builder.farm.executor import FarmBuild, FarmExecutor
from tiffin.builder.farm.urgency import ranks_of
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.farm.joined import JoinedFarm
    from tiffin.builder.api.session import Session
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.layer.compression.codecs import Compression
    from tiffin.builder.plan.plan import Plan, StagePlan
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.solver.build import MakeElsewhere, Services
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.store.snapshots import BlobRef


HERE = "build without --farm"
REFUSED = {  # what workers do not do, and the remedy
    "--egress": f"limit the network of the workers' machines, or {HERE}",
    "--record": HERE,
    "--replay": HERE,
    "--squash and --commit": HERE,
    "layers=split": HERE,
    "--cache-mounts": f"leave it out, each worker keeps its own, or {HERE}",
}


def check_farm(options: BuildOptions) -> None:
    """Raise UsageError for what a farm does not do: it would make another image, or none."""
    fewer_layers = options.layering != STEPS
    splits = any(spec.split is not None for spec in options.outputs)
    given = (options.egress, options.record, options.replay, fewer_layers, splits, options.cache_mounts)
    for name, value in zip(REFUSED, given, strict=True):
        if value:
            raise UsageError(f"{name} cannot be used with --farm", remedy=REFUSED[name])


def on_farm(
    options: BuildOptions,
    session: Session,
    remote: Callable[[], Remote],
    shared: SharedCaches | None,
    services: Services,
) -> Services:
    """Return what a build works with whose steps run on a farm. Raises UsageError for what a farm does not do."""
    assert options.farm is not None
    check_farm(options)
    joined = session.farm(options.farm)

    def bring(ref: BlobRef) -> bool:
        return joined.joined is not None and joined.joined.fetch(ref, session.blobs)

    remote().ask_first(bring)
    return replace(services, elsewhere=_elsewhere(joined, options, session, services, shared))


def _elsewhere(
    joined: JoinedFarm, options: BuildOptions, session: Session, services: Services, shared: SharedCaches | None
) -> MakeElsewhere:
    """Return what makes steps on the farm."""

    def expect(ref: BlobRef, diff_id: Digest) -> None:
        if shared is not None:
            shared.may_have(ref, diff_id)

    def brought(ref: BlobRef, for_target: bool) -> None:
        if shared is not None:
            shared.was_brought(ref, for_target=for_target)

    build = FarmBuild(
        contexts=services.contexts,
        layers=services.layers,
        blobs=services.blobs,
        cache=services.cache,
        sink=services.sink,
        origins=session.store.notes.origins,
        expect=expect,
        shared=brought,
        secrets=services.secrets,
        caches=options.caches,
        insecure=options.registry.insecure,
        isolation=options.isolation,
        agents=services.agents,
    )

    def made(
        plan: Plan, pending: Sequence[tuple[StagePlan, int]], compression: Compression | None, epoch: int | None
    ) -> FarmExecutor:
        return FarmExecutor(partial(joined.join, services.sink), build, ranks_of(plan), pending, compression, epoch)

    return made

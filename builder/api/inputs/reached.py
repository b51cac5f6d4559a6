"""Where the steps of a build run, and what they reach from there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.session import Session
from tiffin.builder.events import Sink
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.sbom.ahead import ReadingAhead
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.solver.build import Services
    from tiffin.cache.store.statedir import StateDir


def reached(
    options: BuildOptions,
    session: Session,
    sink: Sink,
    stack: ExitStack,
    remote: Callable[[], Remote],
    shared: SharedCaches | None,
    services: Services,
) -> Services:
    """Return what a build works with, whose steps run on a farm, have one way out of their sandboxes, or go over layers
    that are read meanwhile.

    `stack` closes what is opened for it. Raises UsageError.
    """
    if options.farm is not None:
        from tiffin.builder.api.farm.joining import on_farm

        return on_farm(options, session, remote, shared, services)
    if options.egress is not None or options.record or options.replay:
        from tiffin.builder.api.rules.ways import way_out_of

        services = replace(services, way_out=stack.enter_context(way_out_of(options, session, sink)))
    if options.attest.sbom is not None and not options.attest.sbom.generator:
        services = replace(services, beside=partial(_reading_ahead, services.layers, services.state))
    return services


def _reading_ahead(layers: LayerStore, state: StateDir) -> ReadingAhead:
    """Return what reads layers. It is loaded where a RUN goes over some, and not by a rebuild with nothing changed."""
    from tiffin.builder.api.sbom.ahead import ReadingAhead

    return ReadingAhead(layers, state)

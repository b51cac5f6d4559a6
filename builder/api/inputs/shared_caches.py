"""The shared caches of a build."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.inputs.build_request import signer_for
from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.sharing.mounts import SharedMounts


def open_shared(
    options: BuildOptions, session: Session, sink: Sink, layers: LayerStore, remote: Callable[[], Remote]
) -> SharedCaches | None:
    """Open the shared caches of a build, if it has any."""
    if not options.caches:
        return None
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.cache.trust import Trust

    return SharedCaches(
        options.caches,
        blobs=session.blobs,
        layers=layers,
        remote=remote,
        sink=sink,
        signer=signer_for(options),
        trust=Trust(os.environ, cert_file=options.registry.cert, given=options.registry.certificates),
    )


def open_mounts(
    options: BuildOptions, session: Session, sink: Sink, layers: LayerStore, shared: SharedCaches | None
) -> SharedMounts | None:
    """Open the cache mounts that are shared."""
    if not options.cache_mounts:
        return None
    if shared is None:
        raise UsageError("--cache-mounts needs a shared cache", remedy="add --cache-from or --cache-to")
    from tiffin.builder.sharing.mounts import SharedMounts

    return SharedMounts(
        options.cache_mounts, shared=shared, layers=layers, blobs=session.blobs, state=session.state, sink=sink
    )

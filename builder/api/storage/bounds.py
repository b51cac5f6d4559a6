"""Keep the state directory within the bounds of the configuration file."""

from __future__ import annotations

import os
import time

from tiffin.builder.api.session import BUILDING, Session
from tiffin.builder.api.storage.build_cache import prune
from tiffin.builder.api.storage.prune import reach_trees
from tiffin.builder.api.storage.state_size import state_size
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.plain_text import size_text
from tiffin.builder.settings.storage import StorageBounds, storage_bounds
from tiffin.cache.store.local import LocalCache

CHECKED = "bounds"  # in the table of the state directory: what was there when they were last kept to
DAY_SECONDS = 86400  # after which it is looked again, as steps get older


def keep_to_bounds(session: Session, sink: Sink) -> None:
    """Remove the oldest steps until the state directory keeps to the bounds of the configuration file.

    Nothing is removed while a build runs: the last one to end does it. A build that added no layer is not looked after.
    Raises UsageError.
    """
    bounds = storage_bounds(os.environ)
    if not bounds or session.table.get(CHECKED) == _look(session, bounds):
        return
    with session.state.lock(BUILDING, blocking=False) as is_alone:
        if not is_alone:
            return
        reach_trees(session)
        before = after = state_size(session)
        if (bounds.max_bytes is not None and before > bounds.max_bytes) or _has_old(session, bounds):
            prune(session, max_bytes=bounds.max_bytes, max_age_seconds=bounds.keep_seconds, keep=None)
            after = state_size(session)
        session.table.set(CHECKED, _look(session, bounds))
    if after < before:
        text = f"removed {size_text(before - after)} of the build cache, which takes {size_text(after)} now"
        sink.emit(InfoMessage(message=text))
    if bounds.max_bytes is not None and after > bounds.max_bytes:
        text = f"the state directory takes {size_text(after)}, and max-size is {size_text(bounds.max_bytes)}"
        sink.emit(WarningMessage(message=f"{text}: images and containers need the rest"))


def _look(session: Session, bounds: StorageBounds) -> bytes:
    """Return what is another once a layer or a blob came or went, on another day, and for other bounds."""
    places = (session.state.layers, session.blobs.folder, session.state.containers)
    times = [path.stat().st_mtime_ns if path.is_dir() else 0 for path in places]
    return repr((times, int(time.time() // DAY_SECONDS), bounds)).encode()


def _has_old(session: Session, bounds: StorageBounds) -> bool:
    limit = bounds.keep_seconds
    now = time.time()
    return limit is not None and any(
        now - written > limit for _, _, written in LocalCache(session.table).dated_records()
    )

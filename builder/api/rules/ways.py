"""The way out of the steps of a build, as its options want it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.session import Session
from tiffin.builder.egress.allowed import Connections
from tiffin.builder.egress.record import Recording, Replay
from tiffin.builder.egress.way_out import WayOut
from tiffin.builder.errors import UsageError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.settings.registries import read_registry_options
from tiffin.cache.foundation.frozen import replace


@contextlib.contextmanager
def way_out_of(options: BuildOptions, session: Session, sink: Sink) -> Iterator[WayOut]:
    """Yield it; at the end tell where steps connected, and what they asked for in vain. Raises UsageError."""
    if options.record and options.replay:
        raise UsageError("--record and --replay exclude each other", remedy="use one of them")
    try:
        from tiffin.builder.egress.authority import Authority
        from tiffin.builder.egress.conversation import Way
    except ImportError as exc:
        raise UsageError("--egress, --record and --replay need h11", remedy='run pip install "tiffin[egress]"') from exc
    from tiffin.builder.api.rules.kept_records import new_record
    from tiffin.builder.egress.servers import Servers

    reached = read_registry_options(os.environ, replace(options.registry, insecure=(), mirrors=(), mirrors_of={}))
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(session.state.scratch("egress"))
        record = stack.enter_context(new_record(options.record, session, sink, options.registry))
        way = Way(
            servers=Servers(reached.trust, reached.proxies),
            connections=Connections(),
            egress=options.egress,
            recording=Recording(record) if options.record else None,
            replay=Replay(Path(options.replay)) if options.replay else None,
            authority=Authority(scratch) if options.record or options.replay else None,
        )
        found = WayOut(way)
        try:
            yield found
        finally:
            _tell(found, sink)


def _tell(way_out: WayOut, sink: Sink) -> None:
    if way_out.made():
        sink.emit(InfoMessage(message=f"steps connected to {', '.join(way_out.made())}"))
    if way_out.refused():
        sink.emit(WarningMessage(message=f"--egress refused {', '.join(way_out.refused())}"))
    for text in way_out.missing():
        sink.emit(WarningMessage(message=f"not in the record: {text}"))

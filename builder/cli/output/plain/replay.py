"""A build's log again, from the events that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

from tiffin.builder.cli.output.plain.step_lines import ALL, NONE
from tiffin.builder.cli.output.render import PlainRenderer
from tiffin.builder.events import TYPE_NAMES, StepOutput


def replay(lines: Iterable[str], stream: TextIO) -> None:
    """Print events as --progress plain did; what another tiffin wrote and this one does not know is left out."""
    types = {name: kind for kind, name in TYPE_NAMES.items()}
    moment = 0.0
    stream.flush()
    renderer = PlainRenderer(stream.buffer, ALL if stream.isatty() else NONE, clock=lambda: moment)
    for line in lines:
        members = json.loads(line)
        kind = types.get(members.pop("type"))
        moment = members.pop("time")
        if kind is None or set(members) - set(kind.__slots__):
            continue
        if kind is StepOutput:
            members["data"] = members["data"].encode()
        renderer.emit(kind(**members))

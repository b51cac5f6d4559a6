"""Builds for several platforms in one command: what progress calls their steps."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.bake.sinks import Numbers, TargetSink
from tiffin.builder.events import Sink
from tiffin.builder.oci.spec import Platform


def sinks_of(platforms: Sequence[Platform], sink: Sink) -> list[Sink]:
    """Return a sink for each platform: steps have the platforms in their names, as with BuildKit, and numbers of their
    own.
    """
    numbers = Numbers()
    return [TargetSink(sink, numbers, str(platform)) for platform in platforms]


def named_for(name: str, platform: Platform, builds: Sequence[object]) -> str:
    """Return what progress calls a step of one of these builds."""
    return name if len(builds) == 1 or not name.startswith("[") else f"[{platform} {name[1:]}"

"""How long it is from the beginning of each step to the end of a build, were there workers without number."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import TopologicalSorter


def ranks(seconds: Mapping[str, float], needs: Mapping[str, Collection[str]]) -> dict[str, float]:
    """Return for each name its seconds and the most of what can begin only after it.

    `needs` maps a name to those that have to be done before. Raises graphlib.CycleError.
    """
    after = dict.fromkeys(seconds, 0.0)
    order = tuple(TopologicalSorter({name: needs.get(name, ()) for name in seconds}).static_order())
    for name in reversed(order):
        rank = after[name] + seconds[name]
        for before in needs.get(name, ()):
            after[before] = max(after[before], rank)
    return {name: after[name] + seconds[name] for name in order}

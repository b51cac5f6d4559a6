"""In which order services start, and which of them are meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from tiffin.builder.compose.model.values import Project, Service
from tiffin.builder.compose.places import wrong


def in_order(services: Mapping[str, Service]) -> list[str]:
    """Return the services so that each follows those that it depends on. Raises ComposeError for a circle."""
    graph = {name: sorted(set(one.depends_on) & set(services)) for name, one in sorted(services.items())}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        circle = exc.args[1]
        place = services[circle[0]].document.place("depends_on")
        raise wrong(f"depends_on goes round in a circle: {' -> '.join(circle)}", place, remedy="break it") from exc


def chosen(project: Project, names: Collection[str], *, with_dependencies: bool) -> dict[str, Service]:
    """Return the services of those names, all for none, with what they depend on. Raises ComposeError."""
    missing = sorted(set(names) - set(project.services))
    if missing:
        raise wrong(
            f"no such service: {missing[0]}", None, remedy=f"the services are {', '.join(sorted(project.services))}"
        )
    wanted = set(names or project.services)
    pending = list(wanted) if with_dependencies else []
    while pending:
        for name in project.services[pending.pop()].depends_on:
            if name in project.services and name not in wanted:
                wanted.add(name)
                pending.append(name)
    ordered = in_order(project.services)
    return {name: project.services[name] for name in ordered if name in wanted}

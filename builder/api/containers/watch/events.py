"""What happened to containers, images, networks and volumes, as docker events filters it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.lifecycle.events import CONTAINER, IMAGE, NETWORK, VOLUME, RecordedEvent, read_events
from tiffin.builder.options import has_labels

FILTERS = ("container", "daemon", "event", "image", "label", "network", "plugin", "scope", "type", "volume")
WITH_WORDS = ("exec_create", "exec_start", "health_status")  # more follows such an action


def watch_events(
    session: Session,
    filters: Mapping[str, Sequence[str]],
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    follows: bool = True,
) -> Iterator[RecordedEvent]:
    """Yield events that fit all `filters`, as `read_events` does."""
    for event in read_events(session.state, since_ns=since_ns, until_ns=until_ns, follows=follows):
        if is_wanted(event, filters):
            yield event


def is_wanted(event: RecordedEvent, filters: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether an event fits one value of every filter, and all labels; by docker's rules."""
    name = event.attributes.get("name", "")
    return (
        _fits(filters, "type", event.kind)
        and _fits(filters, "scope", "local")
        and _fits_action(filters.get("event", ()), event.action)
        and all(_begins(filters, kind, event.identity, name) for kind in (CONTAINER, NETWORK, VOLUME))
        and _fits_image(filters.get(IMAGE, ()), event)
        and has_labels(event.attributes, filters.get("label", ()))
        and "plugin" not in filters
    )


def _fits(filters: Mapping[str, Sequence[str]], kind: str, value: str) -> bool:
    return value in filters.get(kind, (value,))


def _begins(filters: Mapping[str, Sequence[str]], kind: str, *values: str) -> bool:
    return kind not in filters or any(value.startswith(text) for value in values for text in filters[kind])


def _fits_action(wanted: Sequence[str], action: str) -> bool:
    return not wanted or any(
        action == text or (text in WITH_WORDS and action.startswith(f"{text}:")) for text in wanted
    )


def _fits_image(wanted: Sequence[str], event: RecordedEvent) -> bool:
    name = event.attributes.get("name" if event.kind == IMAGE else "image", "")
    return not wanted or any(text in (event.identity, name, _without_tag(name)) for text in wanted)


def _without_tag(name: str) -> str:
    head, _, tail = name.rpartition(":")
    return head if head and "/" not in tail else name

"""tiffin events."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.lifecycle.events import RecordedEvent

JSON = "json"


class EventsArguments(Arguments):
    """What may stand on the line."""

    since = Text("--since", metavar="TIME", help="From then on: 2026-11-29T10:00:00Z, 1764410400 or 10m.")
    until = Text("--until", metavar="TIME", help="Up to then, which may be in the future.")
    filters = Many("-f", "--filter", metavar="NAME=VALUE", help="container=, event=, image=, label=, type=, …")
    form = Text("--format", metavar="json|TEMPLATE", help="Go template, or one line of JSON for each.")
    stream = Flag("--stream", default=True, off="--no-stream", help="Wait for what is to come.")
    no_trunc = Flag("--no-trunc", help="Nothing is truncated here.")


def events(session: Session, line: EventsArguments) -> None:
    """Print what happens, until somebody interrupts it. Raises UsageError."""
    from tiffin.builder.api.containers.logs import parse_moment
    from tiffin.builder.api.containers.watch.events import FILTERS, watch_events
    from tiffin.builder.cli.output.lists import filters_of
    from tiffin.builder.cli.output.template import Template

    wanted = filters_of(line.filters, FILTERS)
    template = Template("{{json .}}" if line.form == JSON else line.form) if line.form else None
    found = watch_events(
        session,
        wanted,
        since_ns=parse_moment(line.since) if line.since else None if line.stream and not line.until else 0,
        until_ns=parse_moment(line.until) if line.until else None,
        follows=line.stream,
    )
    for event in found:
        print_result(_text(event) if template is None else template.render(event.document()))
        sys.stdout.flush()


def _text(event: RecordedEvent) -> str:
    """Return a line as docker writes it."""
    from tiffin.builder.containers.lifecycle.log import time_text

    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    more = f" ({attributes})" if attributes else ""
    return f"{time_text(event.time_ns)} {event.kind} {event.action} {event.identity}{more}"


COMMANDS = (
    Command(
        "events",
        EventsArguments,
        events,
        about="Show what happens to containers and images.",
        help="Show what happens to containers, images, networks and volumes, as it happens or since some time.",
        section=CONTAINERS,
        examples=(
            "tiffin events --since 10m --until 0s",
            "tiffin events --filter event=start --format '{{json .}}'",
        ),
        aliases=("system events",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin compose events, stats, volumes."""

from __future__ import annotations

import sys

from tiffin.builder.cli.commands import volume
from tiffin.builder.cli.commands.compose_life import chosen
from tiffin.builder.cli.commands.stats import StatsArguments
from tiffin.builder.cli.commands.stats import stats as stats_of_containers
from tiffin.builder.cli.compose.arguments import OnServices
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.lifecycle.events import RecordedEvent

PREFIX = "com.docker.compose."  # of labels that say what compose itself needs


class ComposeEventsArguments(OnServices):
    """What may stand on the line."""

    as_json = Flag("--json", help="A line of JSON for each.")
    since = Text("--since", metavar="TIME", help="From then on: 2026-11-29T10:00:00Z, 1764410400 or 10m.")
    until = Text("--until", metavar="TIME", help="Up to then, which may be in the future.")


class ComposeStatsArguments(ListArguments, OnServices):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also show containers that do not run.")
    once = Flag("--no-stream", help="Show it once.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids.")


class ComposeVolumesArguments(ListArguments, OnServices):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Print names only.")


def events(session: Session, line: ComposeEventsArguments) -> None:
    """Print what happens to the containers of a project. Raises TiffinError."""
    from tiffin.builder.api.compose import naming
    from tiffin.builder.api.containers.logs import parse_moment
    from tiffin.builder.api.containers.watch.events import watch_events

    name, _, _ = chosen(session, line, strangers=True)
    found = watch_events(
        session,
        {"type": ["container"], "label": [f"{naming.PROJECT}={name}"]},
        since_ns=parse_moment(line.since) if line.since else 0 if line.until else None,
        until_ns=parse_moment(line.until) if line.until else None,
        follows=True,
    )
    for event in found:
        if not line.services or event.attributes.get(naming.SERVICE) in line.services:
            print_result(_json(event) if line.as_json else _text(event))
            sys.stdout.flush()


def _own(event: RecordedEvent) -> dict[str, str]:
    """Return the attributes of an event without the labels of compose."""
    return {name: value for name, value in sorted(event.attributes.items()) if not name.startswith(PREFIX)}


def _json(event: RecordedEvent) -> str:
    import json

    from tiffin.builder.api.compose import naming
    from tiffin.builder.containers.lifecycle.log import time_text

    document = {"time": time_text(event.time_ns), "type": event.kind, "action": event.action, "id": event.identity}
    document |= {"service": event.attributes.get(naming.SERVICE, "")}
    return json.dumps({**document, "attributes": _own(event)}, separators=(",", ":"))


def _text(event: RecordedEvent) -> str:
    from datetime import datetime

    moment = datetime.fromtimestamp(event.time_ns / 1e9).isoformat(" ", "microseconds")
    attributes = ", ".join(f"{name}={value}" for name, value in _own(event).items())
    return f"{moment} {event.kind} {event.action} {event.identity} ({attributes})"


def stats(session: Session, line: ComposeStatsArguments) -> None:
    """Print what the containers of a project use, every second. Raises TiffinError."""
    _, _, found = chosen(session, line, strangers=True)
    names = tuple(one.state.id for one in found if one.is_alive or line.everything)
    if names:
        given = {"names": names, "everything": line.everything, "once": line.once, "no_trunc": line.no_trunc}
        stats_of_containers(session, StatsArguments({**given, "form": line.form}))


def volumes(session: Session, line: ComposeVolumesArguments) -> None:
    """Print a list of the volumes of a project. Raises TiffinError."""
    from tiffin.builder.api.compose import naming

    name, project, _ = chosen(session, line, strangers=True)
    names: set[str] | None = None
    if line.services and project is not None:
        services = project.every_service
        keys = {mount.source for key in line.services for mount in services[key].mounts}
        names = {one.name for key, one in project.volumes.items() if key in keys}
    given = {"filters": (f"label={naming.PROJECT}={name}",), "quiet": line.quiet, "form": line.form}
    volume.ls(session, volume.LsArguments(given), names=names)


COMMANDS = (
    Command("compose events", ComposeEventsArguments, events, about="Show what happens to containers, as it happens.",
            section=CONTAINERS, examples=("tiffin compose events --json web",)),
    Command("compose stats", ComposeStatsArguments, stats, about="Show what containers use.",
            section=CONTAINERS, examples=("tiffin compose stats --no-stream",)),
    Command("compose volumes", ComposeVolumesArguments, volumes, about="List the volumes of a project.",
            section=CONTAINERS, examples=("tiffin compose volumes -q",)),
)  # fmt: skip

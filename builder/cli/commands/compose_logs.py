"""tiffin compose logs."""

from __future__ import annotations

from tiffin.builder.cli.commands.compose_life import chosen
from tiffin.builder.cli.compose.arguments import OnServices, whole_number
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag, Text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class LogsArguments(OnServices):
    """What may stand on the line."""

    follow = Flag("-f", "--follow", help="Go on while containers run.")
    tail = Text("-n", "--tail", metavar="LINES|all", default="all", help="The last lines of each container only.")
    since = Text("--since", metavar="TIME", help="From then on: 2026-11-29T10:00:00Z, 1764410400 or 10m.")
    until = Text("--until", metavar="TIME", help="Up to then.")
    timestamps = Flag("-t", "--timestamps", help="With the time of each line.")
    no_color = Flag("--no-color", help="No colours.")
    no_log_prefix = Flag("--no-log-prefix", help="No names before lines.")
    index = Text("--index", metavar="N", default="0", help="Which container of a service.")


def logs(session: Session, line: LogsArguments) -> None:
    """Print what the containers of a project printed. Raises TiffinError."""
    import time

    from tiffin.builder.api.compose.following.logs import Follower, LogLine, logs
    from tiffin.builder.api.containers.logs import parse_moment
    from tiffin.builder.cli.compose.printing import LinePrinter, has_colours, shown_name

    name, _, found = chosen(session, line, one_off=None)
    index = whole_number("--index", line.index)
    found = [one for one in found if index in (0, one.number)]
    printer = LinePrinter(
        coloured=has_colours(line.project.ansi, is_off=line.no_color),
        prefixed=not line.no_log_prefix,
        timestamps=line.timestamps,
    )
    printer.know([shown_name(one) for one in found])
    last = None if line.tail == "all" else whole_number("--tail", line.tail)
    now = time.time_ns()
    until = parse_moment(line.until) if line.until else now if line.follow else None
    since = parse_moment(line.since) if line.since else 0
    for one in logs(found, session, last=last, since_ns=since, until_ns=until):
        printer.line(one)
    if not line.follow:
        return
    follower = Follower(name, line.services, session, since_ns=now + 1)
    try:
        for event in follower.follow():
            if isinstance(event, LogLine):
                printer.line(event)
            else:
                printer.told(event.member, f"exited with code {event.exit_code}")
    finally:
        follower.close()


COMMANDS = (
    Command(
        "compose logs",
        LogsArguments,
        logs,
        about="Show what containers printed.",
        section=CONTAINERS,
        examples=("tiffin compose logs -f web", "tiffin compose logs --since 10m -n 20"),
    ),
)

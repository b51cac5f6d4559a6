"""What compose prints: what happens to containers, and their lines with the names of their services."""

from __future__ import annotations

import os
import sys

from tiffin.builder.api.compose.following.logs import LogLine
from tiffin.builder.api.compose.members import Member
from tiffin.builder.cli.output.console import print_error, warn
from tiffin.builder.containers.lifecycle.log import STDOUT
from tiffin.builder.containers.streams import write_all
from tiffin.builder.events import Event, InfoMessage, ResourceChanged, WarningMessage

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
STDOUT_NUMBER, STDERR_NUMBER = 1, 2


class ChangeSink:
    """Prints what happens to resources on stderr, as docker compose does without a terminal."""

    def __init__(self, progress: str) -> None:
        self._progress = progress

    def emit(self, event: Event) -> None:
        """Print an event."""
        if isinstance(event, WarningMessage):
            warn(event.message)
        elif isinstance(event, InfoMessage):
            print_error(event.message)
        elif isinstance(event, ResourceChanged) and self._progress == "json":
            import json

            print_error(json.dumps({"id": f"{event.kind} {event.name}", "status": event.change}, separators=(",", ":")))
        elif isinstance(event, ResourceChanged) and self._progress != "quiet":
            print_error(f" {event.kind} {event.name}  {event.change}")


def has_colours(ansi: str, *, is_off: bool = False) -> bool:
    """Whether lines are coloured: where --ansi says so, or stdout is a terminal."""
    if is_off or ansi == "never" or os.environ.get("NO_COLOR"):
        return False
    return ansi == "always" or sys.stdout.isatty()


class LinePrinter:
    """Prints lines of containers, each after the name of its own."""

    def __init__(self, *, coloured: bool, prefixed: bool = True, timestamps: bool = False) -> None:
        self._coloured = coloured
        self._prefixed = prefixed
        self._timestamps = timestamps
        self._width = 0
        self._colours: dict[str, int] = {}
        self._open = ""  # whose line has no end as yet

    def know(self, names: list[str]) -> None:
        """Make room for these names."""
        self._width = max([self._width, *map(len, names)])

    def line(self, line: LogLine) -> None:
        """Print a line, or the part of one."""
        name = shown_name(line.member)
        entry = line.entry
        pieces = []
        if self._open and self._open != name:
            pieces.append(b"\n")
        if self._open != name:
            pieces.append(self._prefix(name).encode())
            if self._timestamps:
                pieces.append(f"{entry.time} ".encode())
        pieces.append(entry.text)
        self._open = "" if entry.text.endswith(b"\n") else name
        write_all(STDOUT_NUMBER if entry.stream == STDOUT else STDERR_NUMBER, b"".join(pieces))

    def told(self, member: Member, text: str) -> None:
        """Print what is said of a container."""
        name = shown_name(member)
        write_all(STDOUT_NUMBER, f"{self._paint(name, name)} {text}\n".encode())

    def _prefix(self, name: str) -> str:
        if not self._prefixed:
            return ""
        self.know([name])
        return self._paint(name, f"{name.ljust(self._width)}  | ")

    def _paint(self, name: str, text: str) -> str:
        if not self._coloured:
            return text
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{text}\x1b[0m"


def shown_name(member: Member) -> str:
    """Return how a container is called before its lines: by its service and its number."""
    return f"{member.service}-{member.number}" if member.number and not member.is_one_off else member.name

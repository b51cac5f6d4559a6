"""tiffin logs."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Text, Word
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

ALL = "all"
STDOUT_NUMBER, STDERR_NUMBER = 1, 2
BLOCK_BYTES = 1 << 16  # of what is printed at once


class LogsArguments(Arguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    follow = Flag("-f", "--follow", help="Go on while it runs.")
    tail = Text("-n", "--tail", metavar="LINES|all", default=ALL, help="The last lines only.")
    since = Text("--since", metavar="TIME", help="From then on: 2026-11-29T10:00:00Z, 1764410400 or 10m.")
    until = Text("--until", metavar="TIME", help="Up to then.")
    timestamps = Flag("-t", "--timestamps", help="With the time of each line.")
    details = Flag("--details", help="Shows nothing more here.")
    color = Flag("--color", help="No effect: lines of one container have one colour.")  # podman-compose asks for it

    def last(self) -> int | None:
        """Return how many lines are wanted, None for all. Raises UsageError."""
        if self.tail == ALL:
            return None
        try:
            number = int(self.tail)
        except ValueError as exc:
            raise UsageError(f'--tail "{self.tail}" is not a whole number', remedy="write -n 10, or all") from exc
        return number if number >= 0 else None


def logs(session: Session, line: LogsArguments) -> None:
    """Print the log of a container. Raises TiffinError."""
    from tiffin.builder.api.containers.logs import parse_moment, read_log
    from tiffin.builder.containers.lifecycle.log import STDOUT
    from tiffin.builder.containers.streams import write_all

    entries = read_log(
        line.name,
        session,
        follows=line.follow,
        last=line.last(),
        since_ns=parse_moment(line.since) if line.since else 0,
        until_ns=parse_moment(line.until) if line.until else None,
    )
    pending: list[bytes] = []
    size, fd = 0, STDOUT_NUMBER
    for entry in entries:
        number = STDOUT_NUMBER if entry.stream == STDOUT else STDERR_NUMBER
        if number != fd or size > BLOCK_BYTES or line.follow:
            write_all(fd, b"".join(pending))
            pending, size, fd = [], 0, number
        pending.append((f"{entry.time} ".encode() if line.timestamps else b"") + entry.text)
        size += len(entry.text)
        if line.follow:
            write_all(fd, pending.pop())
    write_all(fd, b"".join(pending))


COMMANDS = (
    Command(
        "logs",
        LogsArguments,
        logs,
        about="Show what a container printed.",
        section=CONTAINERS,
        examples=("tiffin logs -f web", "tiffin logs --since 10m -n 20 web"),
        aliases=("container logs",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin top."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Word, Words
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

MIN_WIDTH, PADDING = 20, 3  # docker's


class TopArguments(Arguments):
    """What may stand on the line."""

    ends_options = True
    name = Word("CONTAINER")
    words = Words("[OPTIONS OF PS]...")


def top(session: Session, line: TopArguments) -> None:
    """Print the processes of a container. Raises TiffinError."""
    from tiffin.builder.api.containers.watch.top import top

    rows = top(line.name, session, line.words)
    widths = [max(MIN_WIDTH, *(len(row[column]) + PADDING for row in rows)) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print_result("".join([*cells, row[-1]]))


COMMANDS = (
    Command(
        "top",
        TopArguments,
        top,
        about="Show the processes of a container.",
        help="Show the processes of a container by their numbers on this machine, in the columns of `ps -ef`, `aux` or "
        "`-o pid,comm`.",
        section=CONTAINERS,
        examples=("tiffin top web", "tiffin top web -o pid,rss,cmd"),
        aliases=("container top",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

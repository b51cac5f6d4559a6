"""tiffin stats."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag, Words
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.containers.watch.stats import Usage
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.state import ContainerState

HEADINGS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
SECONDS = 1.0  # between two looks
CLEAR = "\033[2J\033[H"


class StatsArguments(ListArguments):
    """What may stand on the line."""

    names = Words("[CONTAINER]...")
    everything = Flag("-a", "--all", help="Also show containers that do not run.")
    once = Flag("--no-stream", help="Show it once.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids.")


def stats(session: Session, line: StatsArguments) -> None:
    """Print what containers use, every second. Raises TiffinError."""
    from tiffin.builder.api.containers.watch.stats import Usage, chosen, measure
    from tiffin.builder.cli.output.lists import show_rows

    before: dict[str, Usage] = {}
    clears = line.form.startswith("table") and sys.stdout.isatty() and not line.once
    chosen(line.names, session, everything=line.everything)  # a name that is not there is told at once
    while True:
        found = [(state, measure(state, session)) for state in chosen(line.names, session, everything=line.everything)]
        if before or not found:
            rows = [_row(state, usage, before.get(state.id, Usage()), line.no_trunc) for state, usage in found]
            if clears:
                sys.stdout.write(CLEAR)
            show_rows(rows, line.form, COLUMNS, HEADINGS)
            sys.stdout.flush()
            if line.once:
                return
        before = {state.id: usage for state, usage in found}
        time.sleep(SECONDS)


def _row(state: ContainerState, usage: Usage, before: Usage, no_trunc: bool) -> Mapping[str, object]:
    from tiffin.builder.containers.container import SHORT_ID_LENGTH
    from tiffin.builder.plain_text import size_text

    values = {
        "CPUPerc": f"{usage.cpu_share(before):.2f}%",
        "MemUsage": f"{_binary(usage.memory)} / {_binary(usage.memory_limit)}",
        "MemPerc": f"{usage.memory_share:.2f}%",
        "NetIO": f"{size_text(usage.received)} / {size_text(usage.sent)}",
        "BlockIO": f"{size_text(usage.read)} / {size_text(usage.written)}",
        "PIDs": str(usage.tasks),
    }
    identity = state.id if no_trunc else state.id[:SHORT_ID_LENGTH]
    return {"Container": identity, "ID": identity, "Name": state.name, **values}


def _binary(size: int) -> str:
    """Return a size in units of 1024, as docker shows memory."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.4g}{units[0]}"


COMMANDS = (
    Command(
        "stats",
        StatsArguments,
        stats,
        about="Show what containers use.",
        help="Show the processor time, memory, network and disk traffic and the processes of containers, every second.",
        section=CONTAINERS,
        examples=("tiffin stats", "tiffin stats --no-stream --format json web"),
        aliases=("container stats",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""The answers that are asked for most and need nothing: `tiffin --help` and `tiffin version`.

click takes longer to import than Python to start. A test holds these answers against click's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tiffin.builder.version import VERSION, version_text

VERSION_TEXT = f"tiffin version {VERSION}"
COLUMNS = 80  # click breaks lines for narrower terminals


def answer(arguments: Sequence[str]) -> str | None:
    """Return what to print for a question that is easily answered; None for all others."""
    match list(arguments):
        case ["version"]:
            return VERSION_TEXT
        case ["--version" | "-v"]:
            return version_text()
        case [] | ["--help" | "-h" | "help"] if _is_wide():
            return help_text()
        case _:
            return None


def help_text() -> str:
    """Return the help of the program, as click writes it."""
    from tiffin.builder.cli.tree import ABOUT, ProgramArguments, sections

    options = {row.spelling(): row.help for row in ProgramArguments.rows}
    options["-h, --help"] = "Show this message and exit."
    return "\n\n".join(
        [
            "Usage: tiffin [OPTIONS] COMMAND [ARGS]...",
            f"  {ABOUT}",
            _section("Options", options),
            *(_section(title, commands) for title, commands in sections()),
        ]
    )


def _section(title: str, rows: Mapping[str, str]) -> str:
    width = max(map(len, rows)) + 2
    return "\n".join([f"{title}:", *(f"  {name:{width}}{text}" for name, text in rows.items())])


def _is_wide() -> bool:
    columns = os.environ.get("COLUMNS", "0")
    try:
        width = int(columns) if columns.isdecimal() else 0
        return (width or os.get_terminal_size().columns or COLUMNS) >= COLUMNS
    except OSError:  # no terminal
        return True

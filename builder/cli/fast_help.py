"""The commands by name, and the answers that are asked for most and need nothing: `tiffin --help` and `tiffin version`.

click takes longer to import than Python to start. A test holds these answers against click's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tiffin.builder.version import VERSION, version_text

ABOUT = "Build, move and run container images: no daemon, no root."
VERSION_TEXT = f"tiffin version {VERSION}"
COLUMNS = 80  # click breaks lines for narrower terminals
COMMANDS = {  # name: (module, short help)
    "build": ("tiffin.builder.cli.commands.build", "Build an image from a Dockerfile."),
    "run": ("tiffin.builder.cli.commands.run", "Run a command in a new container."),
    "ps": ("tiffin.builder.cli.commands.ps", "List containers."),
    "rm": ("tiffin.builder.cli.commands.rm", "Remove containers."),
    "export": ("tiffin.builder.cli.commands.export", "Write the file system of a container as a tar."),
    "pull": ("tiffin.builder.cli.commands.pull", "Download an image from a registry."),
    "push": ("tiffin.builder.cli.commands.push", "Upload an image to a registry."),
    "images": ("tiffin.builder.cli.commands.images", "List images."),
    "tag": ("tiffin.builder.cli.commands.tag", "Give an image another name."),
    "rmi": ("tiffin.builder.cli.commands.rmi", "Remove images."),
    "inspect": ("tiffin.builder.cli.commands.inspect", "Show what images are, as JSON."),
    "history": ("tiffin.builder.cli.commands.history", "Show how an image was made."),
    "save": ("tiffin.builder.cli.commands.save", "Save images to an archive."),
    "load": ("tiffin.builder.cli.commands.load", "Load images from an archive."),
    "login": ("tiffin.builder.cli.commands.login", "Log in to a registry."),
    "logout": ("tiffin.builder.cli.commands.logout", "Log out from a registry."),
    "info": ("tiffin.builder.cli.commands.info", "Show what tiffin found on this machine."),
    "version": ("tiffin.builder.cli.commands.version", "Show the version."),
    "cache": ("tiffin.builder.cli.commands.cache", "What the build cache holds, and sharing it."),
    "completion": ("tiffin.builder.cli.commands.completion", "Print a script that completes words in a shell."),
    "system": ("tiffin.builder.cli.commands.system", "Disk usage, prune, reset."),
}
OPTIONS = {
    "--root DIR": "State directory.",
    "--debug": "Show tracebacks.",
    "-v, --version": "Show the version and exit.",
    "-h, --help": "Show this message and exit.",
}


def answer(arguments: Sequence[str]) -> str | None:
    """What to print for a question that is easily answered; None for all others."""
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
    """The help of the program, as click writes it."""
    commands = {name: text for name, (_, text) in COMMANDS.items()}
    sections = (("Options", OPTIONS), ("Commands", commands))
    return "\n\n".join(
        ["Usage: tiffin [OPTIONS] COMMAND [ARGS]...", f"  {ABOUT}", *(_section(*section) for section in sections)]
    )


def _section(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows)) + 2
    return "\n".join([f"{title}:", *(f"  {name:{width}}{text}" for name, text in rows.items())])


def _is_wide() -> bool:
    columns = os.environ.get("COLUMNS", "0")
    try:
        width = int(columns) if columns.isdecimal() else 0
        return (width or os.get_terminal_size().columns or COLUMNS) >= COLUMNS
    except OSError:  # no terminal
        return True

"""All commands by their words. A command is a file in `commands`: nothing else lists it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache

from tiffin.builder.cli import commands as folder
from tiffin.builder.cli.options.command import SECTIONS, Command, Group, Row
from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Text

ABOUT = "Build, move and run container images: no daemon, no root."
BUILDX_ALONE = ("open", "trace")  # what only buildx has below history, of which one is told why
LOCAL_HOSTS = ("unix://", "npipe://", "fd://", "/")
Path = tuple[str, ...]


class ProgramArguments(Arguments):
    """What may stand before the command."""

    root = Text("--root", metavar="DIR", variable="TIFFIN_ROOT", help="State directory.")
    debug = Flag("-D", "--debug", help="Show tracebacks.")
    version = Flag("-v", "--version", help="Show the version and exit.")
    config = Text("--config", metavar="DIR", help="Where credentials are (DOCKER_CONFIG).")
    host = Many("-H", "--host", effect=REFUSED, why="there is no daemon", judged=True)
    context = Text("-c", "--context", metavar="default", help="This machine is the only one.")
    log_level = Many("-l", "--log-level", effect=WITHOUT_EFFECT)
    tls = Flag("--tls", effect=WITHOUT_EFFECT)
    tlsverify = Flag("--tlsverify", effect=WITHOUT_EFFECT)
    tlscacert = Many("--tlscacert", effect=WITHOUT_EFFECT)
    tlscert = Many("--tlscert", effect=WITHOUT_EFFECT)
    tlskey = Many("--tlskey", effect=WITHOUT_EFFECT)

    def heed(self) -> None:
        """Do what docker's own options ask for. Raises UsageError for another machine."""
        from tiffin.builder.errors import UsageError

        for host in self.host:
            if not host.startswith(LOCAL_HOSTS):
                raise UsageError(
                    f"--host {host} is a daemon, maybe on another machine, and tiffin has none",
                    remedy="run tiffin there, or leave the option out",
                )
        if self.context not in ("", "default"):
            raise UsageError(
                f'context "{self.context}" not found', remedy="there is one, default: this machine, without a daemon"
            )
        if self.config:
            os.environ["DOCKER_CONFIG"] = self.config


def find(words: Sequence[str]) -> Row | None:
    """Return the command or the group that has exactly these words."""
    if len(words) == 1 and words[0] in _modules():  # most are found without a look at the others
        for row in _rows_of(words[0]):
            if row.words == tuple(words) and isinstance(row, Command):
                return row
    return rows().get(tuple(words))


def spelled_out(words: Sequence[str]) -> Sequence[str]:
    """Return the words of a line by the names that commands have: `build history ls` is `buildx history ls`, while
    `build history` builds a directory of that name.
    """
    if len(words) > 2 and list(words[:2]) == ["build", "history"]:
        known = find(("buildx", *words[1:3])) is not None or words[2] in BUILDX_ALONE
        return ("buildx", *words[1:]) if known else words
    return words


def command_of(words: Sequence[str]) -> tuple[Command, Sequence[str]] | None:
    """Return the command that a line names and the words after its name; None for a line that names none."""
    words = spelled_out(words)
    for count in range(1, len(words) + 1):
        row = find(words[:count])
        if isinstance(row, Command):
            return row, words[count:]
        if row is None:
            break
    return None


def members(group: Path = ()) -> dict[str, Row]:
    """Return what a group holds, by the word that follows the group's, in the order of help; of several names the
    first.
    """
    listed: dict[str, Row] = {}
    for path, row in rows().items():
        if path and path[:-1] == group and not row.is_hidden and row not in listed.values():
            listed[path[-1]] = row
    return listed if not group else dict(sorted(listed.items()))


def sections() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the titles of the program's help with the commands below each and what they do."""
    for title in SECTIONS:
        yield title, {name: row.about for name, row in members().items() if row.section == title}


@cache
def rows() -> dict[Path, Row]:
    """Return every command and group by its words, other names too: sections in their order, names in the
    alphabet's.
    """
    found = [row for name in _modules() for row in _rows_of(name)]
    found.sort(key=lambda row: (SECTIONS.index(row.section), row.words))
    result: dict[Path, Row] = {row.words: row for row in found}
    for row in found:
        if isinstance(row, Command):
            result |= dict.fromkeys(row.aliases, row)
    return result


@cache
def _modules() -> Sequence[str]:
    (place,) = folder.__path__
    return sorted(name.removesuffix(".py") for name in os.listdir(place) if name.endswith(".py") and name[0] != "_")  # noqa: PTH208


def _rows_of(module: str) -> Sequence[Command | Group]:
    # not importlib.import_module: nothing else here loads importlib
    found: Sequence[Command | Group] = __import__(f"{folder.__name__}.{module}", fromlist=["COMMANDS"]).COMMANDS
    return found

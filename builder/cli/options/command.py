"""A command as data: its words, what may stand on its line, what it does, and what is told of it.

Modules of `commands` have such rows in COMMANDS, and are loaded for the list of commands: what a command needs to run
it imports when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tiffin.builder.cli.options.option import Arguments
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeVar

    from tiffin.builder.api.session import Session

    Line = TypeVar("Line", bound=Arguments)

BUILDS, CONTAINERS, IMAGES, REGISTRIES, MACHINE = "Builds", "Containers", "Images", "Registries", "This machine"
SECTIONS = (BUILDS, CONTAINERS, IMAGES, REGISTRIES, MACHINE)  # of the program's help, in this order
EXIT_USAGE = 2
EXIT_OF_CONTAINERS = 125  # docker's, where a line is wrong and not the command in the container


class Row:
    """What has a name on the command line: `words` are those of the name, `about` is one line, `help` all."""

    def __init__(self, name: str, *, about: str, help: str, section: str, is_hidden: bool) -> None:
        self.words = tuple(name.split())
        self.about = about
        self.help = help or about
        self.section = section
        self.is_hidden = is_hidden


class Group(Row):
    """Commands with a first word in common; `arguments` are options that stand before the word of a command."""

    def __init__(
        self,
        name: str,
        *,
        about: str,
        section: str = MACHINE,
        is_hidden: bool = False,
        arguments: type[Arguments] = Arguments,
    ) -> None:
        super().__init__(name, about=about, help="", section=section, is_hidden=is_hidden)
        self.arguments = arguments


class Command(Row):
    """A command. `aliases` are its other names; of those in one group help lists the first.

    `do` returns the exit code, None for 0. Wrong lines end with `usage_code`, unknown options with
    `unknown_option_code`.
    """

    def __init__(
        self,
        name: str,
        arguments: type[Line],
        do: Callable[[Session, Line], int | None],
        *,
        about: str,
        help: str = "",
        section: str = MACHINE,
        examples: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
        usage_code: int = EXIT_USAGE,
        unknown_option_code: int = EXIT_USAGE,
        is_hidden: bool = False,
    ) -> None:
        super().__init__(name, about=about, help=help, section=section, is_hidden=is_hidden)

        def run(session: Session, values: Mapping[str, Any]) -> int | None:
            return do(session, arguments(values))

        self.run = run
        self.arguments: type[Arguments] = arguments
        self.examples = examples
        self.aliases = tuple(tuple(alias.split()) for alias in aliases)
        self.usage_code = usage_code
        self.unknown_option_code = unknown_option_code

    def help_options(self) -> list[str]:
        """Return the spellings of --help that no option of its own has."""
        taken = {name for row in self.arguments.rows for name in row.names}
        return [name for name in ("-h", "--help") if name not in taken]

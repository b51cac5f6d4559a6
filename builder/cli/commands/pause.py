"""tiffin pause and unpause."""

from __future__ import annotations

from tiffin.builder.cli.commands.run import WarningSink
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.containers.chosen import ChosenArguments
from tiffin.builder.cli.output.console import each, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.events import Event


class _Once(WarningSink):
    """Says the same thing once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def emit(self, event: Event) -> None:
        """Print a warning that was not printed yet."""
        text = str(event)
        if text not in self._told:
            self._told.add(text)
            super().emit(event)


def pause(session: Session, line: ChosenArguments) -> None:
    """Freeze containers. Raises TiffinError."""
    from tiffin.builder.api.containers.change import pausing

    sink = _Once()

    def freeze(name: str) -> None:
        pausing.pause(name, session, sink)
        print_result(name)

    each(line.chosen(session, ("running",)), freeze)


def unpause(session: Session, line: ChosenArguments) -> None:
    """Let containers go on. Raises TiffinError."""
    from tiffin.builder.api.containers.change import pausing

    def go_on(name: str) -> None:
        pausing.unpause(name, session)
        print_result(name)

    each(line.chosen(session, ("paused",)), go_on)


COMMANDS = (
    Command(
        "pause",
        ChosenArguments,
        pause,
        about="Freeze all processes of containers.",
        help="Freeze all processes of containers: by their control group, or where there is none by SIGSTOP.",
        section=CONTAINERS,
        examples=("tiffin pause web",),
        aliases=("container pause",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "unpause",
        ChosenArguments,
        unpause,
        about="Let containers go on that were paused.",
        section=CONTAINERS,
        examples=("tiffin unpause web",),
        aliases=("container unpause",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

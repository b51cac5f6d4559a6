"""tiffin stop, kill, restart, wait, rename."""

from __future__ import annotations

from tiffin.builder.cli.commands.run import WarningSink
from tiffin.builder.cli.commands.start import begin_limited
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.containers.chosen import ChosenArguments, PatientArguments
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import each, each_at_once, print_result
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


ALIVE = ("running", "paused", "restarting")  # ps's words


class StopArguments(PatientArguments):
    """What may stand on the line."""

    signal = Text("-s", "--signal", metavar="SIGNAL", help="What is sent first (default: the image's, or TERM).")


class RestartArguments(StopArguments):
    """What may stand on the line."""

    running = Flag("--running", help="All that run.")

    @property
    def is_listed(self) -> bool:
        """Whether an option stands for the containers."""
        return self.running or super().is_listed


class KillArguments(ChosenArguments):
    """What may stand on the line."""

    signal = Text("-s", "--signal", metavar="SIGNAL", default="KILL", help="What is sent.")


class WaitArguments(Arguments):
    """What may stand on the line."""

    names = Words("CONTAINER...", needed=True)
    conditions = Many("--condition", metavar="CONDITION", help="Wait for running, healthy, removed, …; repeatable.")
    interval = Many("-i", "--interval", effect=WITHOUT_EFFECT)
    ignore = Flag("--ignore", help="Print -1 for containers that are not there.")


class RenameArguments(Arguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    new = Word("NEW_NAME")


def stop(session: Session, line: StopArguments) -> None:
    """Stop containers. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    patience = line.patience()

    def end(name: str) -> None:
        lifecycle.stop(name, session, seconds=patience, signal_name=line.signal)

    assert session.state  # opened once, before there are threads
    each_at_once(line.chosen(session, ALIVE), end)


def kill(session: Session, line: KillArguments) -> None:
    """Send a signal to the commands of containers. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    def send(name: str) -> None:
        lifecycle.kill(name, session, line.signal)
        print_result(name)

    each(line.chosen(session, ALIVE), send)


def restart(session: Session, line: RestartArguments) -> None:
    """Stop containers and start them again. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    names = line.chosen(session, ALIVE if line.running else ())
    begin_limited(session, names)
    patience = line.patience()

    def again(name: str) -> None:
        started = lifecycle.restart(name, session, WarningSink(), seconds=patience, signal_name=line.signal)
        if started.message:
            raise ContainerError(started.message, remedy="check the command and the image's PATH")
        print_result(name)

    each(names, again)


def wait(session: Session, line: WaitArguments) -> None:
    """Print how containers end. Raises TiffinError."""
    from tiffin.builder.api.containers.conditions import CONDITIONS, wait_for
    from tiffin.builder.api.containers.lifecycle import wait
    from tiffin.builder.errors import ImageNotFoundError

    wanted = [word for text in line.conditions for word in text.split(",")]
    unknown = [word for word in wanted if word not in CONDITIONS]
    if unknown:
        raise UsageError(f'--condition "{unknown[0]}" is not supported', remedy=f"use one of {', '.join(CONDITIONS)}")

    def end(name: str) -> None:
        try:
            code = wait_for(name, session, wanted) if wanted else wait(name, session)
        except ImageNotFoundError:
            if not line.ignore:
                raise
            code = -1
        print_result(str(code))

    each(line.names, end)


def rename(session: Session, line: RenameArguments) -> None:
    """Rename a container. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    lifecycle.rename(line.name, line.new, session)


COMMANDS = (
    Command(
        "stop",
        StopArguments,
        stop,
        about="Stop containers.",
        help="Ask the commands of containers to end, and kill them after a while.",
        section=CONTAINERS,
        examples=("tiffin stop web", "tiffin stop -t 30 db"),
        aliases=("container stop",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "kill",
        KillArguments,
        kill,
        about="Send a signal to containers.",
        help="Send a signal, KILL if none is named, to the commands of containers.",
        section=CONTAINERS,
        examples=("tiffin kill web", "tiffin kill -s HUP web"),
        aliases=("container kill",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "restart",
        RestartArguments,
        restart,
        about="Stop containers and start them again.",
        section=CONTAINERS,
        examples=("tiffin restart web",),
        aliases=("container restart",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "wait",
        WaitArguments,
        wait,
        about="Wait until containers end, and print their exit codes.",
        help="Wait until containers end, or are in a --condition, and print their exit codes (-1 where there is none).",
        section=CONTAINERS,
        examples=("tiffin wait job", "tiffin wait --condition healthy db"),
        aliases=("container wait",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "rename",
        RenameArguments,
        rename,
        about="Give a container another name.",
        section=CONTAINERS,
        examples=("tiffin rename web old-web",),
        aliases=("container rename",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

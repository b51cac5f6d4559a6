"""tiffin run."""

from __future__ import annotations

import os
from functools import cache

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.run_arguments import CreateArguments, RunArguments
from tiffin.builder.cli.output.console import print_error, print_result, warn
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.run import RunResult
    from tiffin.builder.api.run_options import RunOptions
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.output.renderer import Renderer
    from tiffin.builder.events import Event


class WarningSink:
    """Prints warnings as soon as they come, and nothing else."""

    def emit(self, event: Event) -> None:
        """Print a warning."""
        from tiffin.builder.events import WarningMessage

        if isinstance(event, WarningMessage):
            warn(event.message)


def run(session: Session, line: RunArguments) -> int:
    """Run a command in a new container, as a line says; return the exit code. Raises TiffinError."""
    from tiffin.builder.api.run import EXIT_OWN_FAILURE, run
    from tiffin.builder.errors import TiffinError, UsageError

    try:
        if line.tty and line.interactive and not line.detach and not os.isatty(0):
            raise UsageError("stdin is not a terminal, which -i -t need", remedy="leave out -t")
        from tiffin.builder.cli.options.run_values import container_options, run_options

        for notice in line.notices():
            warn(notice)
        container = cache(lambda: container_options(line))  # read once: a file of variables may be a pipe
        if line.is_limited():
            from tiffin.builder.containers.limits import begin_in_scope

            begin_in_scope(container().limits, os.environ)
        if line.detach and line.attach:
            raise UsageError("--detach and --attach do not go together", remedy="leave out one of them")
        if line.detach:
            return run_in_background(session, run_options(line, container), line)
        if line.is_supervised():
            result = run_supervised(session, run_options(line, container), line)
        else:
            result = run(run_options(line, container), session, WarningSink(), lambda: renderer(line))
    except TiffinError as exc:
        exc.ends_with(EXIT_OWN_FAILURE)
        raise
    if result.message:
        print_not_begun(result.message)
    return result.exit_code


def run_in_background(session: Session, options: RunOptions, line: RunArguments) -> int:
    """Start a container that outlives this command, and print its id; return the exit code. Raises TiffinError."""
    from tiffin.builder.api.containers.lifecycle import run_detached

    started = run_detached(options, session, WarningSink(), lambda: renderer(line))
    if started.message:
        print_not_begun(started.message)
    else:
        print_result(started.id)
    return started.exit_code


def run_supervised(session: Session, options: RunOptions, line: RunArguments) -> RunResult:
    """Run a command that does not end with this process; return how it ended. Raises TiffinError."""
    from tiffin.builder.api.containers.attached import parse_streams, run_attached, shows_output

    streams = parse_streams(line.attach)
    return run_attached(
        options,
        session,
        WarningSink(),
        lambda: renderer(line),
        streams=streams,
        forwards=line.sig_proxy,
        detach_keys=line.detach_keys,
        is_held=line.is_held(),
        **({} if shows_output(streams) else {"begun": print_result}),
    )


def print_not_begun(message: str, *, whose: str = "image") -> None:
    """Say why a command could not be begun."""
    print_error(f"error: {message}; check the command and the {whose}'s PATH")


def renderer(line: CreateArguments) -> Renderer:
    """Return what shows the progress of a pull."""
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if

    return make_renderer(quiet_if(line.quiet, line.progress))


COMMANDS = (
    Command(
        "run",
        RunArguments,
        run,
        about="Run a command in a new container.",
        help="Run COMMAND (or the image's own) in a new container of IMAGE.\n\n"
        "The exit code is the command's; 125 says that tiffin failed, 126 and 127 that the command could not be run.",
        section=CONTAINERS,
        examples=(
            "tiffin run --rm -it app sh",
            "tiffin run -d --name web -p 8080:80 app",
            'tiffin run --rm -u "$(id -u):$(id -g)" -v .:/w -w /w app make',
        ),
        aliases=("container run",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

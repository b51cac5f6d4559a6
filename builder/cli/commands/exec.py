"""tiffin exec."""

from __future__ import annotations

import os

from tiffin.builder.cli.commands.run import print_not_begun
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

EXIT_NOT_BEGUN = 126  # docker's: a command that cannot be executed


class ExecArguments(Arguments):
    """What may stand on the line."""

    ends_options = True
    name = Word("CONTAINER")
    words = Words("COMMAND [ARG]...", needed=True)
    detach = Flag("-d", "--detach", help="Run it in the background.")
    interactive = Flag("-i", "--interactive", help="Pass stdin on.")
    tty = Flag("-t", "--tty", help="Give the command a terminal.")
    user = Text("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
    env = Many("-e", "--env", metavar="K[=V]", help="Environment variable; repeatable.")
    env_files = Many("--env-file", metavar="FILE", help="File of K=V lines; repeatable.")
    workdir = Text("-w", "--workdir", metavar="DIR", help="Working directory.")
    privileged = Flag("--privileged", help="Every capability, no filter.")
    detach_keys = Many("--detach-keys", effect=WITHOUT_EFFECT)


def exec_(session: Session, line: ExecArguments) -> int:
    """Run a command in a container; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.containers.exec import ExecOptions, execute, execute_detached
    from tiffin.builder.containers.environment import parse_variables
    from tiffin.builder.errors import ContainerError, ImageNotFoundError, TiffinError, UsageError

    if line.tty and line.interactive and not os.isatty(0):
        raise UsageError("stdin is not a terminal, which -i -t need", remedy="leave out -t")
    if line.workdir and not line.workdir.startswith("/"):
        raise UsageError(f'--workdir "{line.workdir}" is not an absolute path', remedy="begin it with /")
    options = ExecOptions(
        container=line.name,
        command=line.words,
        variables=parse_variables(line.env, line.env_files, os.environ),
        workdir=line.workdir,
        user=line.user,
        interactive=line.interactive,
        tty=line.tty,
        privileged=line.privileged,
    )
    try:
        result = (execute_detached if line.detach else execute)(options, session)
    except (ContainerError, ImageNotFoundError):  # none of that name, or it does not run
        raise
    except TiffinError as exc:  # no such user, no such directory
        exc.ends_with(EXIT_NOT_BEGUN)
        raise
    if result.message:
        print_not_begun(result.message, whose="container")
    return result.exit_code


COMMANDS = (
    Command(
        "exec",
        ExecArguments,
        exec_,
        about="Run a command in a container that runs.",
        help="Run COMMAND in a container that runs. The exit code is the command's, as of tiffin run.",
        section=CONTAINERS,
        examples=("tiffin exec -it web sh", "tiffin exec -u postgres db psql -c 'select 1'"),
        aliases=("container exec",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin update."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.containers.docker_arguments import ResourceArguments
from tiffin.builder.cli.options.option import Text, Words
from tiffin.builder.cli.output.console import each, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class UpdateArguments(ResourceArguments):
    """What may stand on the line."""

    names = Words("CONTAINER...", needed=True)
    restart = Text("--restart", metavar="no|on-failure[:N]|always|unless-stopped", help="When to start it again.")


def update(session: Session, line: UpdateArguments) -> None:
    """Change limits and the restart policy of containers. Raises TiffinError."""
    from tiffin.builder.api.containers.change.update import update
    from tiffin.builder.cli.options.containers.confinement import limits_of
    from tiffin.builder.cli.options.run_values import restart_policy
    from tiffin.builder.errors import UsageError

    limits = limits_of(line)
    policy = restart_policy(line.restart) if line.restart else None
    if not limits.controllers() and policy is None:
        raise UsageError("nothing to change", remedy="give one or more options, such as --memory or --restart")

    def change(name: str) -> None:
        update(name, session, limits, policy)
        print_result(name)

    each(line.names, change)


COMMANDS = (
    Command(
        "update",
        UpdateArguments,
        update,
        about="Change limits and the restart policy of containers.",
        help="Change limits of containers, of those that run where they have control groups, and the restart policy.",
        section=CONTAINERS,
        examples=("tiffin update --restart always web", "tiffin update -m 512m --cpus 2 db"),
        aliases=("container update",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin rm."""

from __future__ import annotations

import contextlib

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Words
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import ImageNotFoundError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.state import ContainerState


class RmArguments(Arguments):
    """What may stand on the line."""

    names = Words("CONTAINER...", needed=True)
    force = Flag("-f", "--force", help="Kill running containers; ignore missing ones.")
    volumes = Flag("-v", "--volumes", help="Remove their anonymous volumes, too.")


def rm(session: Session, line: RmArguments) -> None:
    """Remove containers."""
    from tiffin.builder.api.containers.removal import remove_container
    from tiffin.builder.containers.container import Containers

    containers = Containers(session.state)
    found: dict[str, ContainerState] = {}
    if line.force:
        for name in line.names:
            with contextlib.suppress(ImageNotFoundError, UsageError):  # told below
                found[name] = state = containers.find(name)
                if containers.is_alive(state.id):
                    containers.kill(state)

    def remove(name: str) -> None:
        state = found.pop(name, None) or containers.find(name)
        remove_container(containers, state, session, volumes=line.volumes)
        print_result(name)

    each(line.names, remove, ignored=ImageNotFoundError if line.force else ())


COMMANDS = (
    Command(
        "rm",
        RmArguments,
        rm,
        about="Remove containers.",
        help="Remove containers by name or id.",
        section=CONTAINERS,
        examples=("tiffin rm web", "tiffin rm -f $(tiffin ps -aq)"),
        aliases=("container rm", "container remove"),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

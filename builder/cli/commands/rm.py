"""tiffin rm."""

from __future__ import annotations

import contextlib

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.containers.chosen import PatientArguments
from tiffin.builder.cli.options.option import REFUSED, Flag
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import ImageNotFoundError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.container import Containers
    from tiffin.builder.containers.state import ContainerState


class RmArguments(PatientArguments):
    """What may stand on the line."""

    force = Flag("-f", "--force", help="Kill running containers; ignore missing ones.")
    volumes = Flag("-v", "--volumes", help="Remove their anonymous volumes, too.")
    link = Flag("--link", effect=REFUSED, why="A link is a name in one container alone, and goes with it")


def rm(session: Session, line: RmArguments) -> None:
    """Remove containers."""
    from tiffin.builder.api.containers.removal import remove_container
    from tiffin.builder.containers.container import Containers

    containers = Containers(session.state)
    names, patience = line.chosen(session), line.patience()
    found: dict[str, ContainerState] = {}
    if line.force:
        for name in names:
            with contextlib.suppress(ImageNotFoundError, UsageError):  # told below
                found[name] = state = containers.find(name)
                if containers.is_alive(state.id):
                    _end(containers, state, session, patience)

    def remove(name: str) -> None:
        state = found.pop(name, None) or containers.find(name)
        remove_container(containers, state, session, volumes=line.volumes)
        print_result(name)

    each(names, remove, ignored=ImageNotFoundError if line.force else ())


def _end(containers: Containers, state: ContainerState, session: Session, patience: int | None) -> None:
    """Kill a container, after a while in which it may end itself if that was asked for."""
    if patience is None:
        containers.kill(state)
        return
    from tiffin.builder.api.containers import lifecycle

    lifecycle.stop(state.id, session, seconds=patience)


COMMANDS = (
    Command(
        "rm",
        RmArguments,
        rm,
        about="Remove containers.",
        help="Remove containers by name or id.",
        section=CONTAINERS,
        examples=("tiffin rm web", "tiffin rm -f --all"),
        aliases=("container rm", "container remove"),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

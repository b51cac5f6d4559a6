"""podman's image, container and pod exists: an exit code, and nothing is printed."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, IMAGES, Command, Group
from tiffin.builder.cli.options.containers.chosen import is_there
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Word
from tiffin.builder.errors import ImageNotFoundError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class ExistsArguments(Arguments):
    """What may stand on the line."""

    name = Word("NAME")
    external = Flag("--external", effect=WITHOUT_EFFECT)


def image_exists(session: Session, line: ExistsArguments) -> int:
    """Return 0 for an image that is here, else 1."""
    try:
        session.store.find(line.name)
    except ImageNotFoundError:
        return 1
    return 0


def container_exists(session: Session, line: ExistsArguments) -> int:
    """Return 0 for a container that is here, else 1."""
    return 0 if is_there(session, line.name) else 1


COMMANDS = (
    Command(
        "image exists",
        ExistsArguments,
        image_exists,
        about="Tell by the exit code whether an image is here.",
        section=IMAGES,
        examples=("tiffin image exists app || tiffin pull app",),
    ),
    Command(
        "container exists",
        ExistsArguments,
        container_exists,
        about="Tell by the exit code whether a container is here.",
        section=CONTAINERS,
        examples=("tiffin container exists web",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Group("pod", about="podman's groups of containers, of which there are none.", section=CONTAINERS, is_hidden=True),
    Command(
        "pod exists",
        ExistsArguments,
        lambda _, __: 1,
        about="Tell by the exit code that there is no such pod.",
        section=CONTAINERS,
        examples=("tiffin pod exists web",),
    ),
)

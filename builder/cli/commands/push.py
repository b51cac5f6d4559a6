"""tiffin push."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Flag, Word
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class PushArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    destination = Word("[DESTINATION]", "")
    quiet = Flag("-q", "--quiet", help="No progress.")
    all_tags = Flag("-a", "--all-tags", help="Push all names that images have in the repository IMAGE.")


def push(session: Session, line: PushArguments) -> None:
    """Upload an image and print where it is."""
    from tiffin.builder.api import images
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if

    names = images.tags_of(line.image, session) if line.all_tags else (line.image,)
    if line.all_tags and line.destination:
        raise UsageError("--all-tags pushes names as they are", remedy="leave DESTINATION out")

    def push_one(name: str) -> None:
        with make_renderer(quiet_if(line.quiet, line.progress)) as sink:
            pushed = images.push(name, line.destination, session, sink, line.registry_access())
        print_result(f"{pushed.reference.name}@{pushed.digest}")

    each(names, push_one)


COMMANDS = (
    Command(
        "push",
        PushArguments,
        push,
        about="Upload an image to a registry.",
        help="Upload IMAGE under its name, or under DESTINATION.",
        section=IMAGES,
        examples=(
            "tiffin push registry.example/app:1",
            "tiffin push --all-tags registry.example/app",
            "tiffin push app registry.example/app:1",
        ),
        aliases=("image push",),
    ),
)

"""tiffin push."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import PolicyArguments, ProgressArguments
from tiffin.builder.cli.options.option import Flag, Text, Word, Words
from tiffin.builder.cli.options.spellings import REGISTRY, need_registry
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.session import Session


class PushArguments(ProgressArguments, PolicyArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    others = Words("[DESTINATION | IMAGE…]")
    quiet = Flag("-q", "--quiet", help="No progress.")
    all_tags = Flag("-a", "--all-tags", help="Push all names that images have in the repository IMAGE.")
    form = Text(
        "-f", "--format", choices=("oci", "docker", "v2s2"), help="Push only an image of these media types, podman's."
    )


def push(session: Session, line: PushArguments) -> None:
    """Upload images and print where each is; go on after one that fails."""
    from tiffin.builder.api import images
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if

    if line.all_tags and line.others:
        raise UsageError("--all-tags pushes names as they are", remedy="name the repository alone")
    others, destination = tuple(name.removeprefix(REGISTRY) for name in line.others), ""
    names: Sequence[str] = (line.image, *others)
    if len(others) == 1:
        need_registry(others[0])
    if line.all_tags:
        names = images.tags_of(line.image, session)
    elif len(others) == 1 and images.is_destination(line.image, others[0], session):
        names, destination = (line.image,), others[0]

    def push_one(name: str) -> None:
        if line.form:
            images.check_types(name, session, docker=line.form != "oci")
        with make_renderer(quiet_if(line.quiet, line.progress)) as sink:
            pushed = images.push(name, destination, session, sink, line.registry_access())
        print_result(f"{pushed.reference.name}@{pushed.digest}")

    each(names, push_one)


COMMANDS = (
    Command(
        "push",
        PushArguments,
        push,
        about="Upload images to registries.",
        help="Upload images under their names; or one under DESTINATION, which is not the name of an image here.",
        section=IMAGES,
        examples=(
            "tiffin push registry.example/app:1",
            "tiffin push --all-tags registry.example/app",
            "tiffin push app registry.example/app:1",
            "tiffin push one.example/app:1 other.example/app:1",
        ),
        aliases=("image push",),
    ),
)

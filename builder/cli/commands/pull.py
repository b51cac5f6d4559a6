"""tiffin pull."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import PolicyArguments, ProgressArguments
from tiffin.builder.cli.options.option import Flag, Text, Word
from tiffin.builder.cli.options.spellings import REGISTRY
from tiffin.builder.cli.output.console import each, print_error, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class PullArguments(ProgressArguments, PolicyArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    platform = Text(
        "--platform",
        metavar="OS/ARCH",
        variable="DOCKER_DEFAULT_PLATFORM",
        help="Platform to pull (default: this machine's).",
    )
    attestations = Flag("--attestations", help="Bring attestations and signatures along.")
    all_tags = Flag("-a", "--all-tags", help="Pull all images of the repository IMAGE.")
    quiet = Flag("-q", "--quiet", help="Print the name only.")


def pull(session: Session, line: PullArguments) -> None:
    """Download an image and print its digest and its name."""
    from tiffin.builder.api import images
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if
    from tiffin.builder.oci.spec import Platform

    wanted, access = Platform.parse(line.platform) if line.platform else None, line.registry_access()
    names: Sequence[str] = (line.image.removeprefix(REGISTRY),)

    def pull_one(name: str) -> None:
        with make_renderer(quiet_if(line.quiet, line.progress)) as sink:
            pulled = images.pull(name, session, sink, access, wanted, with_attestations=line.attestations)
        if not line.quiet:
            print_error(f"Digest: {pulled.digest}")
        print_result(str(pulled.reference))

    if line.all_tags:
        with make_renderer(quiet_if(line.quiet, line.progress)) as sink:
            names = images.tags_elsewhere(names[0], session, sink, access)
    each(names, pull_one)


COMMANDS = (
    Command(
        "pull",
        PullArguments,
        pull,
        about="Download an image from a registry.",
        help="Download IMAGE with all its layers.",
        section=IMAGES,
        examples=(
            "tiffin pull alpine:3.20",
            "tiffin pull --platform linux/arm64 debian",
            "tiffin pull -a registry.example/app",
        ),
        aliases=("image pull",),
    ),
)

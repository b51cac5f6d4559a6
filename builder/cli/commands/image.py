"""docker's group image: the commands of images by other names, and prune, which is only here."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag
from tiffin.builder.cli.output.console import confirm
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class PruneArguments(Arguments):
    """Which images go."""

    everything = Flag("-a", "--all", help="Remove all images that no container uses.")
    force = Flag("-f", "--force", help="Do not ask.")


def prune(session: Session, line: PruneArguments) -> None:
    """Remove images; print how much they took."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_images, remove_unneeded
    from tiffin.builder.cli.output.pruned import print_total, show_images
    from tiffin.builder.containers.container import Containers

    what = "all images that no container uses" if line.everything else "images without a name"
    confirm(line.force, f"Remove {what}?")
    reach_trees(session)
    with print_total(session):
        used = {state.image_id for state in Containers(session.state).states()}
        unused = [image for image in session.store.images() if str(image.id) not in used]
        removed = [image for image in unused if line.everything or not image.names]
        remove_images(session, removed)
        show_images(removed)
        remove_unneeded(session, keep_records=True)


COMMANDS = (
    Group("image", about="Images.", section=IMAGES, is_hidden=True),
    Command(
        "image prune",
        PruneArguments,
        prune,
        about="Remove images without a name, or that no container uses.",
        help="Remove images without a name, or with --all those that no container uses.",
        section=IMAGES,
        examples=("tiffin image prune -f", "tiffin image prune --all"),
    ),
)

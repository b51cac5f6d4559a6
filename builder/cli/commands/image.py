"""docker's group image: the commands of images by other names, and prune, which is only here."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Many
from tiffin.builder.cli.output.console import confirm
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.session import Session

FILTERS = ("until", "label", "label!", "dangling")


class PruneArguments(Arguments):
    """Which images go."""

    everything = Flag("-a", "--all", help="Remove all images that no container uses.")
    force = Flag("-f", "--force", help="Do not ask.")
    filters = Many(
        "--filter",
        metavar="NAME=VALUE",
        help="until=TIME, label=K[=V], label!=K[=V]: only such images; dangling=false is --all; repeatable.",
    )


def prune(session: Session, line: PruneArguments) -> None:
    """Remove images; print how much they took."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_images, remove_unneeded
    from tiffin.builder.api.storage.prune_filter import PruneFilter
    from tiffin.builder.cli.output.lists import filters_of
    from tiffin.builder.cli.output.pruned import print_total, show_images
    from tiffin.builder.containers.container import Containers

    filters = filters_of(line.filters, FILTERS)
    wanted = PruneFilter.parse(filters)
    takes_named = line.everything or _takes_named(filters.get("dangling", ()))
    what = "all images that no container uses" if takes_named else "images without a name"
    confirm(line.force, f"Remove {what}?")
    reach_trees(session)
    with print_total(session):
        used = {state.image_id for state in Containers(session.state).states()}
        unused = [image for image in session.store.images() if str(image.id) not in used]
        removed = [
            image
            for image in unused
            if (takes_named or not image.names) and wanted.fits(image.config.created, image.config.config.labels)
        ]
        remove_images(session, removed)
        show_images(removed)
        remove_unneeded(session, keep_records=True)


def _takes_named(values: Sequence[str]) -> bool:
    """Tell whether `dangling` asks for images with names as well. Raises UsageError."""
    for value in values:
        if value.lower() not in ("true", "false", "1", "0"):
            raise UsageError(f'--filter "dangling={value}" is neither true nor false', remedy="write dangling=false")
    return any(value.lower() in ("false", "0") for value in values)


COMMANDS = (
    Group("image", about="Images.", section=IMAGES, is_hidden=True),
    Command(
        "image prune",
        PruneArguments,
        prune,
        about="Remove images without a name, or that no container uses.",
        help="Remove images without a name, or with --all those that no container uses.",
        section=IMAGES,
        examples=("tiffin image prune -f", "tiffin image prune --all --filter until=24h"),
    ),
)

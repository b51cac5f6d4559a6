"""tiffin system prune | reset."""

from __future__ import annotations

from tiffin.builder.cli.options.command import Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag
from tiffin.builder.cli.output.console import confirm
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class ForceArguments(Arguments):
    """What is removed, is asked for."""

    force = Flag("-f", "--force", help="Do not ask.")


class PruneArguments(ForceArguments):
    """How much goes."""

    everything = Flag("-a", "--all", help="Also remove unnamed images and the whole build cache.")


def prune(session: Session, line: PruneArguments) -> None:
    """Remove what nothing needs; print how much it took."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_images, remove_stopped, remove_unneeded
    from tiffin.builder.cli.output.pruned import print_total, show_containers, show_images
    from tiffin.cache.store.mounts import CacheMounts

    what = "the build cache, images without a name" if line.everything else "blobs and layers that nothing needs"
    confirm(line.force, f"Remove {what} and stopped containers?")
    reach_trees(session)
    with print_total(session):
        show_containers(remove_stopped(session))
        if line.everything:
            nameless = [image for image in session.store.images() if not image.names]
            remove_images(session, nameless)
            show_images(nameless)
        remove_unneeded(session, keep_records=not line.everything)
        if line.everything:
            mounts = CacheMounts(session.state, "")
            for mount in mounts.list():
                mounts.remove(mount)


def reset(session: Session, line: ForceArguments) -> None:
    """Empty the state directory. Raises UsageError while a container runs."""
    from tiffin.builder.api.storage.prune import reach_trees
    from tiffin.builder.containers.container import Containers
    from tiffin.builder.errors import UsageError
    from tiffin.cache.foundation.files import remove_tree

    root = session.state.root
    confirm(line.force, f"Remove everything in {root}?")
    alive = [state.name for state in Containers(session.state).states() if Containers(session.state).is_alive(state.id)]
    if alive:
        raise UsageError(f"container {alive[0]} is running", remedy="end it first")
    reach_trees(session)
    for item in list(root.iterdir()):
        remove_tree(item)


COMMANDS = (
    Group("system", about="Disk usage, prune, reset."),
    Command(
        "system prune",
        PruneArguments,
        prune,
        about="Remove data that no image and no cached step needs.",
        help="Remove data that no image and no cached step needs; with --all the build cache, too.",
        examples=("tiffin system prune -f", "tiffin system prune --all"),
    ),
    Command(
        "system reset",
        ForceArguments,
        reset,
        about="Remove everything: images, containers, cache.",
        examples=("tiffin system reset",),
    ),
)

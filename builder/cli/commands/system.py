"""tiffin system prune | reset."""

from __future__ import annotations

from tiffin.builder.cli.options.command import Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Many
from tiffin.builder.cli.output.console import confirm
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.session import Session
    from tiffin.builder.api.storage.prune_filter import PruneFilter

FILTERS = ("until", "label", "label!")


class ForceArguments(Arguments):
    """What is removed, is asked for."""

    force = Flag("-f", "--force", help="Do not ask.")


class PruneArguments(ForceArguments):
    """How much goes."""

    everything = Flag("-a", "--all", help="Also remove unnamed images and the whole build cache.")
    volumes = Flag("--volumes", help="Also remove anonymous volumes that no container has.")
    filters = Many(
        "--filter",
        metavar="NAME=VALUE",
        help="until=TIME, label=K[=V], label!=K[=V]: only such containers, images, networks and volumes, and steps "
        "before TIME; repeatable.",
    )


def prune(session: Session, line: PruneArguments) -> None:
    """Remove what nothing needs; print how much it took."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_stopped
    from tiffin.builder.api.storage.prune_filter import PruneFilter
    from tiffin.builder.cli.output.lists import filters_of
    from tiffin.builder.cli.output.pruned import print_total, show_containers

    filters = filters_of(line.filters, FILTERS)
    wanted = PruneFilter.parse(filters)
    if line.volumes and "until" in filters:
        raise UsageError('The "until" filter is not supported with "--volumes"', remedy="leave out one of them")
    what = "the build cache, images without a name" if line.everything else "blobs and layers that nothing needs"
    confirm(line.force, f"Remove {what} and stopped containers?")
    reach_trees(session)
    with print_total(session):
        show_containers(remove_stopped(session, wanted))
        if not filters.keys() - {"label"}:
            _remove_named(session, filters.get("label", ()), with_volumes=line.volumes)
        if filters:
            _remove_some_data(session, wanted, everything=line.everything)
        else:
            _remove_data(session, everything=line.everything)


def _remove_named(session: Session, labels: Sequence[str], *, with_volumes: bool) -> None:
    from tiffin.builder.api.networks import prune_networks
    from tiffin.builder.cli.output.pruned import show_names

    show_names("Networks", prune_networks(session, labels=labels))
    if with_volumes:
        from tiffin.builder.api.volumes import prune_volumes

        show_names("Volumes", prune_volumes(session, labels=labels))


def _remove_some_data(session: Session, wanted: PruneFilter, *, everything: bool) -> None:
    """Remove unnamed images that are meant, steps of the cache that are older, and what nothing needs then."""
    from tiffin.builder.api.storage.build_cache import prune as prune_cache
    from tiffin.builder.api.storage.prune import remove_images, remove_unneeded
    from tiffin.builder.cli.output.pruned import show_images

    if everything:
        images = [image for image in session.store.images() if not image.names]
        removed = [image for image in images if wanted.fits(image.config.created, image.config.config.labels)]
        remove_images(session, removed)
        show_images(removed)
    if everything and wanted.before is not None:
        prune_cache(session, max_bytes=None, max_age_seconds=wanted.max_age_seconds, keep=None)
    else:
        remove_unneeded(session, keep_records=True)


def _remove_data(session: Session, *, everything: bool) -> None:
    from tiffin.builder.api.storage.prune import remove_failures, remove_images, remove_unneeded
    from tiffin.builder.cli.output.pruned import show_images
    from tiffin.cache.store.mounts import CacheMounts

    if everything:
        nameless = [image for image in session.store.images() if not image.names]
        remove_images(session, nameless)
        show_images(nameless)
    remove_unneeded(session, keep_records=not everything)
    remove_failures(session)
    if everything:
        mounts = CacheMounts(session.state, "")
        for mount in mounts.list():
            mounts.remove(mount)


def reset(session: Session, line: ForceArguments) -> None:
    """Empty the state directory. Raises UsageError while a container runs."""
    from tiffin.builder.api.storage.prune import reach_trees
    from tiffin.builder.containers.container import Containers
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
        help="Remove containers that ended, networks that no container runs in, and data that no image and no cached "
        "step needs; with --all the build cache, too.",
        examples=("tiffin system prune -f", "tiffin system prune --all --volumes"),
    ),
    Command(
        "system reset",
        ForceArguments,
        reset,
        about="Remove everything: images, containers, cache.",
        examples=("tiffin system reset",),
    ),
)

"""docker's group container: the commands of containers by other names, and prune, which is only here."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Many
from tiffin.builder.cli.output.console import confirm
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


FILTERS = ("until", "label", "label!")


class PruneArguments(Arguments):
    """Whether to ask, and which."""

    force = Flag("-f", "--force", help="Do not ask.")
    filters = Many("--filter", metavar="NAME=VALUE", help="until=TIME, label=K[=V], label!=K[=V]; repeatable.")


def prune(session: Session, line: PruneArguments) -> None:
    """Remove containers; print how much they took."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_stopped
    from tiffin.builder.api.storage.prune_filter import PruneFilter
    from tiffin.builder.cli.output.lists import filters_of
    from tiffin.builder.cli.output.pruned import print_total, show_containers

    wanted = PruneFilter.parse(filters_of(line.filters, FILTERS))
    confirm(line.force, "Remove all containers that ended?")
    reach_trees(session)
    with print_total(session):
        show_containers(remove_stopped(session, wanted))


COMMANDS = (
    Group("container", about="Containers.", section=CONTAINERS, is_hidden=True),
    Command(
        "container prune",
        PruneArguments,
        prune,
        about="Remove containers that ended.",
        section=CONTAINERS,
        examples=("tiffin container prune -f",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

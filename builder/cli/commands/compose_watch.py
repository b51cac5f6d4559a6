"""tiffin compose watch."""

from __future__ import annotations

from tiffin.builder.cli.compose.arguments import OnServices
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class WatchArguments(OnServices):
    """What may stand on the line."""

    no_up = Flag("--no-up", help="Do not build and start the services first.")
    quiet = Flag("--quiet", help="Show no progress of builds.")
    prune = Flag("--prune", off="--no-prune", default=True, help="Images without a name are left to system prune.")


def watch(session: Session, line: WatchArguments) -> None:
    """Follow the files of services until Ctrl-C. Raises TiffinError."""
    from tiffin.builder.api.compose.following.watching import Watcher
    from tiffin.builder.api.compose.up import Up, up
    from tiffin.builder.cli.compose.service_lines import ServiceLines
    from tiffin.builder.compose.model.order import chosen

    project = line.load(line.services)
    lines = ServiceLines(project, session, "quiet" if line.quiet else line.project.progress)
    sink = line.sink()
    services = chosen(project, line.services, with_dependencies=False)
    watcher = Watcher(project, list(services), session, sink, lines)
    if not line.no_up:
        up(project, Up(services=line.services, builds=True), session, sink, lines)
    watcher.run()


COMMANDS = (
    Command(
        "compose watch",
        WatchArguments,
        watch,
        about="Bring files that change into containers.",
        help="Build and start services, and then follow the files that develop.watch names: sync copies what changed "
        "into the containers, rebuild builds the image and makes the containers anew, restart does that. What fails is "
        "told, and the next change tries again.",
        section=CONTAINERS,
        examples=("tiffin compose watch", "tiffin compose watch --no-up web"),
    ),
)

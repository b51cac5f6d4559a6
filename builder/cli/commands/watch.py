"""tiffin watch."""

from __future__ import annotations

from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


def watch(session: Session, line: BuildArguments) -> None:
    """Build as `tiffin build --watch` does. Raises TiffinError."""
    from tiffin.builder.cli import rebuilding
    from tiffin.builder.cli.commands.build import build_line

    rebuilding.watch(session, line, build_line)


COMMANDS = (
    Command(
        "watch",
        BuildArguments,
        watch,
        about="Build an image again whenever a file changes.",
        help="Build the image as tiffin build does, and again whenever a file changes that the build reads: the "
        "context without what its ignore file leaves out, the Dockerfile, and the directories of --build-context. "
        "With --run the image is run, and run anew when it is another one. A build that fails is told, and what ran "
        "goes on. Ctrl-C ends it.",
        section=BUILDS,
        examples=(
            "tiffin watch -t app .",
            "tiffin watch --run '-p 8080:80 -e DEBUG=1' .",
            "tiffin watch --target test --run '-- pytest -x' .",
        ),
    ),
)

"""tiffin bake."""

from __future__ import annotations

from tiffin.builder.cli.options.bake_arguments import BakeArguments
from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


def bake(session: Session, line: BakeArguments) -> int | None:
    """Build the targets of a line, or tell of them. Raises TiffinError."""
    from tiffin.builder.cli.bake.running import run

    return run(session, line)


COMMANDS = (
    Command(
        "bake",
        BakeArguments,
        bake,
        about="Build the targets of a bake file.",
        help="Build targets that HCL, JSON or compose files define, as one graph: what is equal is done once.",
        section=BUILDS,
        examples=(
            "tiffin bake",
            "tiffin bake -f docker-bake.hcl --push app worker",
            "tiffin bake --set '*.platform=linux/arm64' --print",
            "tiffin bake --var VERSION=2 https://github.com/example/app.git",
        ),
        aliases=("buildx bake", "buildx f"),
    ),
)

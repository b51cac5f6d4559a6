"""tiffin logout."""

from __future__ import annotations

from tiffin.builder.cli.options.command import REGISTRIES, Command
from tiffin.builder.cli.options.option import Arguments, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class LogoutArguments(Arguments):
    """What may stand on the line."""

    registry = Word("[REGISTRY]", "docker.io")


def logout(_: Session, line: LogoutArguments) -> None:
    """Forget credentials and print of which registry."""
    from tiffin.builder.api.login import logout

    name, was_there = logout(line.registry)
    print_result(f"Removing login credentials for {name}" if was_there else f"Not logged in to {name}")


COMMANDS = (
    Command(
        "logout",
        LogoutArguments,
        logout,
        about="Log out from a registry.",
        help="Forget the credentials for REGISTRY.",
        section=REGISTRIES,
        examples=("tiffin logout registry.example",),
    ),
)

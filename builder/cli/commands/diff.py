"""tiffin diff."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

JSON = "json"
_WORDS = {"A": "added", "C": "changed", "D": "deleted"}  # podman's


class DiffArguments(Arguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    form = Text("--format", choices=(JSON,), help="Print lists as JSON, as podman does.")


def diff(session: Session, line: DiffArguments) -> None:
    """Print what a container changed."""
    from tiffin.builder.api.containers.files.changes import diff

    rows = diff(line.name, session)
    if line.form == JSON:
        import json

        found: dict[str, list[str]] = {}
        for letter, path in rows:
            found.setdefault(_WORDS[letter], []).append(path)
        print_result(json.dumps(found))
        return
    for letter, path in rows:
        print_result(f"{letter} {path}")


COMMANDS = (
    Command(
        "diff",
        DiffArguments,
        diff,
        about="Show what a container changed.",
        help="Show which files a container added (A), changed (C) and deleted (D), compared with its image.",
        section=CONTAINERS,
        examples=("tiffin diff web",),
        aliases=("container diff",),
        usage_code=1,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

"""tiffin blame: which lines of a Dockerfile made a file."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.session import Session
    from tiffin.builder.api.steps.blame import Touch

TABLE, JSON = "table", "json"
HEADINGS = ["LAYER", "CHANGE", "MODE", "OWNER", "SIZE", "BY"]


class BlameArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    path = Word("PATH")
    form = Text("--format", choices=(TABLE, JSON), default=TABLE, help="Form of the list.")
    platform = Text("--platform", metavar="OS/ARCH", help="The image of an index (default: this machine's).")


def blame(session: Session, line: BlameArguments) -> None:
    """Print which layers touched a path, the last first. Raises TiffinError."""
    from tiffin.builder.api.steps.blame import blame
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.oci.spec import Platform

    with make_renderer(line.progress) as sink:
        platform = Platform.parse(line.platform) if line.platform else None
        touched = blame(line.image, line.path, session, sink, line.registry_access(), platform)
    if line.form == JSON:
        _print_json(touched)
    else:
        _print_table(touched)


def _print_json(touched: Sequence[Touch]) -> None:
    import json

    from tiffin.builder.cli.output.console import print_result
    from tiffin.cache.foundation.frozen import asdict

    rows = []
    for item in touched:
        entry = item.entry
        rows.append(
            {
                "layer": item.number,
                "diffId": str(item.origin.diff_id),
                "change": item.change,
                "differs": list(item.differs),
                "base": item.origin.base,
                "lines": [asdict(line) for line in item.origin.lines],
                "createdBy": item.origin.text,
                **(
                    {
                        "kind": entry.kind,
                        "mode": f"{entry.mode:04o}",
                        "uid": entry.uid,
                        "gid": entry.gid,
                        "size": entry.size,
                        "digest": f"sha256:{entry.digest}" if entry.digest else "",
                        "target": entry.link,
                    }
                    if entry is not None
                    else {}
                ),
            }
        )
    print_result(json.dumps(rows, indent=2))


def _print_table(touched: Sequence[Touch]) -> None:
    from tiffin.builder.cli.output.lists import print_table
    from tiffin.builder.plain_text import size_text

    rows = [HEADINGS]
    for item in touched:
        entry, what = item.entry, f"{item.change} {', '.join(item.differs)}".strip()
        facts = ["", "", ""]
        if entry is not None:
            facts = [f"{entry.kind} {entry.mode:04o}", f"{entry.uid}:{entry.gid}", size_text(entry.size)]
        rows.append([str(item.number), what, *facts, item.origin.shown])
    print_table(rows)


COMMANDS = (
    Command(
        "blame",
        BlameArguments,
        blame,
        about="Show which lines of a Dockerfile made a file of an image.",
        help="Show which layers of IMAGE added, changed or removed PATH, the last first, each with the line of the "
        "Dockerfile that made it, where tiffin built the image, else with what its history says. Nothing is unpacked.",
        section=IMAGES,
        examples=("tiffin blame app /etc/passwd", "tiffin blame --format json app /srv/main.py"),
    ),
)

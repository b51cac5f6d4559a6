"""tiffin history."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import age_text, show_rows
from tiffin.builder.plain_text import size_text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.oci.config import History
    from tiffin.builder.oci.spec import Descriptor

SHORT_COMMAND = 45  # Docker's width
MISSING = "<missing>"  # docker's word where an entry has nothing of its own
HEADINGS = {
    "ID": "LAYER", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip


class HistoryArguments(ListArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    no_trunc = Flag("--no-trunc", help="Do not truncate commands and digests.")
    quiet = Flag("-q", "--quiet", help="Print layer digests only.")
    human = Flag("-H", "--human", off="--no-human", default=True, help="Print human-readable sizes and ages (default).")


def history(session: Session, line: HistoryArguments) -> None:
    """Print the steps that made an image."""
    found = session.store.find(line.image)
    layers = iter(found.manifest.layers)
    entries = [(entry, None if entry.empty_layer else next(layers, None)) for entry in found.config.history]
    entries.reverse()
    if line.quiet:
        for _, layer in entries:
            print_result(str(layer.digest) if layer else MISSING)
        return
    rows = [_row(entry, layer, no_trunc=line.no_trunc, human=line.human) for entry, layer in entries]
    columns = ["ID", "CreatedSince" if line.human else "CreatedAt", "CreatedBy", "Size", "Comment"]
    show_rows(rows, line.form, columns, HEADINGS)


def _row(entry: History, layer: Descriptor | None, *, no_trunc: bool, human: bool) -> dict[str, object]:
    by = entry.created_by
    if not no_trunc and len(by) > SHORT_COMMAND:
        by = by[: SHORT_COMMAND - 1] + "…"
    size = layer.size_bytes if layer else 0
    digest = (str(layer.digest) if no_trunc else layer.digest.short) if layer else MISSING
    return {
        "ID": digest,
        "CreatedSince": age_text(entry.created),
        "CreatedAt": entry.created,
        "CreatedBy": by,
        "Size": size_text(size) if human else str(size),
        "Comment": entry.comment,
    }


COMMANDS = (
    Command(
        "history",
        HistoryArguments,
        history,
        about="Show how an image was made.",
        help="Show how IMAGE was made, newest first. SIZE is that of the compressed layer.",
        section=IMAGES,
        examples=("tiffin history app", "tiffin history --no-trunc --format '{{.CreatedBy}}' app"),
        aliases=("image history",),
    ),
)

"""tiffin history."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.lists import age_text, format_option, show_rows
from tiffin.builder.oci.config import History
from tiffin.builder.oci.spec import Descriptor
from tiffin.builder.plain_text import size_text

SHORT_COMMAND = 45  # Docker's width
MISSING = "<missing>"  # docker's word where an entry has nothing of its own
HEADINGS = {
    "ID": "LAYER", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip


@click.command("history")
@click.argument("image")
@click.option("--no-trunc", is_flag=True, help="Show whole commands and digests.")
@click.option("-q", "--quiet", is_flag=True, help="Print layer digests only.")
@click.option("-H", "--human/--no-human", default=True, help="Sizes and ages for people (default).")
@format_option()
@click.pass_obj
def command(session: Session, /, image: str, no_trunc: bool, quiet: bool, human: bool, form: str) -> None:
    """Show how IMAGE was made, newest first. SIZE is that of the packed layer."""
    found = session.store.find(image)
    layers = iter(found.manifest.layers)
    entries = [(entry, None if entry.empty_layer else next(layers, None)) for entry in found.config.history]
    entries.reverse()
    if quiet:
        for _, layer in entries:
            click.echo(str(layer.digest) if layer else MISSING)
        return
    rows = [_row(entry, layer, no_trunc=no_trunc, human=human) for entry, layer in entries]
    show_rows(rows, form, ["ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"], HEADINGS)


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

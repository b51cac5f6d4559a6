"""tiffin history."""

from __future__ import annotations

import json

import click

from builder.cli.images import age_text, print_table
from builder.cli.plain_text import size_text
from builder.cli.session import Session

SHORT_COMMAND = 45  # Docker's width


@click.command("history")
@click.argument("image")
@click.option("--no-trunc", is_flag=True, help="Show whole commands.")
@click.option("-q", "--quiet", is_flag=True, help="Print layer digests only.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def command(session: Session, /, image: str, no_trunc: bool, quiet: bool, form: str) -> None:
    """Show how IMAGE was made, newest first. SIZE is that of the packed layer."""
    found = session.store.find(image)
    layers = iter(found.manifest.layers)
    rows = []
    for entry in found.config.history:
        layer = None if entry.empty_layer else next(layers, None)
        rows.append((entry, layer))
    rows.reverse()
    if quiet:
        for _, layer in rows:
            click.echo(str(layer.digest) if layer else "<missing>")
    elif form == "json":
        for entry, layer in rows:
            document = entry.to_json() | {"size": layer.size_bytes if layer else 0}
            click.echo(json.dumps(document))
    else:
        lines = [["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]]
        for entry, layer in rows:
            by = (
                entry.created_by
                if no_trunc or len(entry.created_by) <= SHORT_COMMAND
                else (entry.created_by[: SHORT_COMMAND - 1] + "…")
            )
            size = size_text(layer.size_bytes if layer else 0)
            lines.append([layer.digest.short if layer else "", age_text(entry.created), by, size, entry.comment])
        print_table(lines)

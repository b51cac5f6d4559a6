"""tiffin images."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from builder.cli.plain_text import size_text
from builder.cli.session import Session
from builder.image.store import StoredImage
from builder.oci.reference import Reference

HEADINGS = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")
_AGES = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


@click.command("images")
@click.argument("name", required=False)
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Print whole ids.")
@click.option("--digests", is_flag=True, help="Print manifest digests.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def command(session: Session, /, name: str | None, quiet: bool, no_trunc: bool, digests: bool, form: str) -> None:
    """List the images here, or those of the repository NAME."""
    rows = []
    for image in session.store.images():
        for reference in image.names or (None,):
            if name is None or (reference is not None and _matches(reference, name)):
                rows.append((image, reference))
    if quiet:
        for identity in dict.fromkeys(_id(image, no_trunc) for image, _ in rows):
            click.echo(identity)
    elif form == "json":
        for image, reference in rows:
            click.echo(json.dumps(_document(image, reference)))
    else:
        _table(rows, no_trunc, digests)


def _matches(reference: Reference, name: str) -> bool:
    wanted = Reference.parse(name)
    return reference.name == wanted.name and (":" not in name.rsplit("/", 1)[-1] or reference.tag == wanted.tag)


def _table(rows: list[tuple[StoredImage, Reference | None]], no_trunc: bool, digests: bool) -> None:
    headings = list(HEADINGS)
    if digests:
        headings.insert(2, "DIGEST")
    lines = [headings]
    for image, reference in rows:
        line = [*_name(reference), _id(image, no_trunc), age_text(image.config.created), size_text(image.size_bytes)]
        if digests:
            line.insert(2, str(image.descriptor.digest))
        lines.append(line)
    print_table(lines)


def print_table(lines: list[list[str]]) -> None:
    """Columns as wide as they need to be."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _name(reference: Reference | None) -> tuple[str, str]:
    if reference is None:
        return "<none>", "<none>"
    repository = reference.familiar.rsplit("@", 1)[0]
    if reference.tag:
        repository = repository.removesuffix(f":{reference.tag}")
    return repository, reference.tag or "<none>"


def _id(image: StoredImage, whole: bool) -> str:
    return str(image.id) if whole else image.id.short


def age_text(created: str) -> str:
    """ "3 days ago", from an RFC 3339 time."""
    try:
        moment = datetime.fromisoformat(created[:19]).replace(tzinfo=UTC)
    except ValueError:
        return "N/A"
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    for size, unit in _AGES:
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _document(image: StoredImage, reference: Reference | None) -> dict[str, object]:
    repository, tag = _name(reference)
    return {
        "Repository": repository,
        "Tag": tag,
        "ID": str(image.id),
        "Digest": str(image.descriptor.digest),
        "CreatedAt": image.config.created,
        "Size": image.size_bytes,
    }

"""tiffin inspect."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import click

from builder.cli.session import Session
from builder.errors import UsageError
from builder.image.store import StoredImage

_FIELD = re.compile(r"\{\{\s*(json\s+)?((?:\.[A-Za-z0-9_]+)+|\.)\s*\}\}")


@click.command("inspect")
@click.argument("images", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="TEMPLATE", help="Such as {{.Id}} or {{json .Config}}.")
@click.pass_obj
def command(session: Session, /, images: tuple[str, ...], form: str | None) -> None:
    """Show IMAGES as a JSON array, with docker's member names."""
    documents = [document_of(session.store.find(text), session) for text in images]
    if form is None:
        click.echo(json.dumps(documents, indent=4))
        return
    for document in documents:
        click.echo(_rendered(document, form))


def document_of(image: StoredImage, session: Session) -> dict[str, object]:
    """docker inspect's document of an image."""
    digest = image.descriptor.digest
    whole = next((item for item in session.store.images() if item.descriptor.digest == digest), image)
    config = image.config
    return {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in whole.names if name.tag],
        "RepoDigests": list(dict.fromkeys(f"{name.name}@{digest}" for name in whole.names)),
        "Created": config.created,
        "Author": config.author,
        "Config": config.config.to_json(),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": image.size_bytes,
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": image.descriptor.to_json(),
        "Manifest": {"Layers": [layer.to_json() for layer in image.manifest.layers]},
    }


def _rendered(document: Mapping[str, object], template: str) -> str:
    return _FIELD.sub(lambda match: _field(document, match[2], bool(match[1]), template), template)


def _field(document: Mapping[str, object], path: str, as_json: bool, template: str) -> str:
    value: object = document
    for name in path.split("."):
        if not name:
            continue
        if not isinstance(value, Mapping):
            raise UsageError(f'no member "{name}" for --format {template}', remedy="see tiffin inspect without it")
        value = value.get(name)
    if as_json or isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value)

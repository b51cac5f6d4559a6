"""tiffin rmi."""

from __future__ import annotations

import click

from builder.cli.session import Session
from builder.errors import ImageError, ImageNotFoundError
from builder.oci.reference import Reference


@click.command("rmi")
@click.argument("images", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Remove all names of an image given by id; missing is no error.")
@click.pass_obj
def command(session: Session, /, images: tuple[str, ...], force: bool) -> None:
    """Remove names, and images that have none left. `tiffin system prune` frees their space."""
    for text in images:
        try:
            _remove(session, text, force)
        except ImageNotFoundError:
            if not force:
                raise


def _remove(session: Session, text: str, force: bool) -> None:
    image = session.store.find(text)
    whole = next(item for item in session.store.images() if item.descriptor.digest == image.descriptor.digest)
    by_id = text.removeprefix("sha256:") == image.id.hex[: len(text.removeprefix("sha256:"))]
    if not by_id and len(whole.names) > 1:
        session.store.untag(Reference.parse(text))
        click.echo(f"Untagged: {Reference.parse(text).familiar}")
        return
    if by_id and len(whole.names) > 1 and not force:
        raise ImageError(f"image {text} has several names", remedy="remove them one by one, or use --force")
    for name in whole.names:
        click.echo(f"Untagged: {name.familiar}")
    session.store.remove(image)
    click.echo(f"Deleted: {image.id}")

"""tiffin rmi."""

from __future__ import annotations

import click

from tiffin.builder.api.images import StoredImage
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import each
from tiffin.builder.containers.container import Containers
from tiffin.builder.errors import ImageError, ImageNotFoundError
from tiffin.builder.oci.reference import Reference
from tiffin.cache.foundation.values import replace


@click.command("rmi")
@click.argument("images", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Remove all names of an image given by id, and images of containers.")
@click.option("--no-prune", is_flag=True, hidden=True, help="There are no untagged parents.")
@click.pass_obj
def command(session: Session, /, images: tuple[str, ...], force: bool, no_prune: bool) -> None:
    """Remove names, and images that have none left. `tiffin system prune` frees their space."""
    each(images, lambda text: _remove(session, text, force), ignored=ImageNotFoundError if force else ())


def _remove(session: Session, text: str, force: bool) -> None:
    image = session.store.find(text)
    whole = session.store.whole(image)
    by_id = session.store.get(Reference.parse(text)) is None
    if not by_id and Reference.parse(text).digest is not None and _forget_digest(session, Reference.parse(text), whole):
        return
    if not by_id and len(whole.names) > 1:
        reference = Reference.parse(text)
        session.store.untag(reference)
        click.echo(f"Untagged: {reference.familiar}")
        return
    if by_id and len(whole.names) > 1 and not force:
        raise ImageError(f"image {text} has several names", remedy="remove them one by one, or use --force")
    if not force:
        _check_unused(session, text, whole)
    for name in whole.names:
        click.echo(f"Untagged: {name.familiar}")
    session.store.remove(image)
    click.echo(f"Deleted: {image.id}")


def _forget_digest(session: Session, reference: Reference, whole: StoredImage) -> bool:
    """Forget where an image is that has a tag there as well; False where the digest is its name."""
    if all(name.digest or name.name != reference.name for name in whole.names):
        return False
    session.store.notes.forget_repo_digests(whole.id, reference.name)
    click.echo(f"Untagged: {replace(reference, tag='').familiar}")
    return True


def _check_unused(session: Session, text: str, image: StoredImage) -> None:
    """Raises ImageError for an image of a container; its layers stay in any case while the container is here."""
    for state in Containers(session.state).states():
        if state.image_id == str(image.id):
            raise ImageError(
                f"image {text} is used by container {state.name}",
                remedy=f"tiffin rm {state.name} first, or use --force",
            )

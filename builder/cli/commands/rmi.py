"""tiffin rmi."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Words
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import ImageError, ImageNotFoundError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.images import StoredImage
    from tiffin.builder.api.session import Session
    from tiffin.builder.oci.reference import Reference


class RmiArguments(Arguments):
    """What may stand on the line."""

    images = Words("IMAGE...", needed=True)
    force = Flag("-f", "--force", help="Remove all names of an image given by id, and images of containers.")
    no_prune = Flag("--no-prune", effect=WITHOUT_EFFECT, help="No effect: images have no untagged parents.")


def rmi(session: Session, line: RmiArguments) -> None:
    """Remove names and images."""
    each(
        line.images,
        lambda text: _remove(session, text, line.force),
        ignored=ImageNotFoundError if line.force else (),
    )


def _remove(session: Session, text: str, force: bool) -> None:
    from tiffin.builder.containers.lifecycle.events import record_of_image
    from tiffin.builder.oci.reference import Reference

    image = session.store.find(text)
    whole = session.store.whole(image)
    named = session.store.get(Reference.parse(text))
    by_id = named is None
    if not by_id and Reference.parse(text).digest is not None and _forget_digest(session, Reference.parse(text), whole):
        return
    if named is not None and len(whole.names) > 1:
        reference = named.names[0] if named.names else Reference.parse(text)
        session.store.untag(reference)
        print_result(f"Untagged: {reference.familiar}")
        record_of_image(session.state, "untag", str(image.id), reference.familiar)
        return
    if by_id and len(whole.names) > 1 and not force:
        raise ImageError(f"image {text} has several names", remedy="remove them one by one, or use --force")
    if not force:
        _check_unused(session, text, whole)
    for name in whole.names:
        print_result(f"Untagged: {name.familiar}")
        record_of_image(session.state, "untag", str(image.id), name.familiar)
    session.store.remove(image)
    record_of_image(session.state, "delete", str(image.id), str(image.id))
    print_result(f"Deleted: {image.id}")


def _forget_digest(session: Session, reference: Reference, whole: StoredImage) -> bool:
    """Forget where an image is that has a tag there as well; False where the digest is its name."""
    from tiffin.cache.foundation.frozen import replace

    if all(name.digest or name.name != reference.name for name in whole.names):
        return False
    session.store.notes.forget_repo_digests(whole.id, reference.name)
    print_result(f"Untagged: {replace(reference, tag='').familiar}")
    return True


def _check_unused(session: Session, text: str, image: StoredImage) -> None:
    """Raise ImageError for an image of a container; its layers stay in any case while the container is here."""
    from tiffin.builder.containers.container import Containers

    for state in Containers(session.state).states():
        if state.image_id == str(image.id):
            raise ImageError(
                f"image {text} is used by container {state.name}",
                remedy=f"tiffin rm {state.name} first, or use --force",
            )


COMMANDS = (
    Command(
        "rmi",
        RmiArguments,
        rmi,
        about="Remove images.",
        help="Remove names, and images without any name left; `tiffin system prune` frees their space.",
        section=IMAGES,
        examples=("tiffin rmi app:1", "tiffin rmi -f 3a1f0c2be9d4"),
        aliases=("image rm", "image remove"),
    ),
)

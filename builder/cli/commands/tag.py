"""tiffin tag."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.option import Arguments, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class TagArguments(Arguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    name = Word("NAME")


def tag(session: Session, line: TagArguments) -> None:
    """Give an image another name. Raises UsageError for one with a digest."""
    from tiffin.builder.errors import UsageError
    from tiffin.builder.oci.reference import Reference

    reference = Reference.parse(line.name)
    if reference.digest is not None:
        raise UsageError(f'"{line.name}" has a digest', remedy="a tag is a name without one")
    from tiffin.builder.containers.lifecycle.events import record_of_image

    several = session.store.index_of(line.image)
    if several:
        session.store.put_index(several[0], [reference])
    else:
        session.store.tag(session.store.find(line.image), reference)
    record_of_image(session.state, "tag", str(session.store.find(line.name).id), reference.familiar)


COMMANDS = (
    Command(
        "tag",
        TagArguments,
        tag,
        about="Give an image another name.",
        help="Give IMAGE the additional NAME.",
        section=IMAGES,
        examples=("tiffin tag app registry.example/app:1",),
        aliases=("image tag",),
    ),
)

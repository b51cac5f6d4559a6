"""tiffin import."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Many, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class ImportArguments(RegistryArguments):
    """What may stand on the line."""

    source = Word("FILE|URL|-")
    name = Word("[IMAGE[:TAG]]", "")
    changes = Many("-c", "--change", metavar="INSTRUCTION", help="Configure the image, as in a Dockerfile.")
    message = Text("-m", "--message", metavar="TEXT", help="Comment in its history.")
    platform = Text("--platform", metavar="OS/ARCH", help="What the image is for (default: this machine).")


def import_image(session: Session, line: ImportArguments) -> None:
    """Make an image of a tar; print its id."""
    from tiffin.builder.api.storage.import_image import STREAM, ImportOptions, import_image

    if line.source == STREAM and sys.stdin.isatty():
        raise UsageError("nothing to import", remedy="name a file, or redirect stdin")
    options = ImportOptions(
        source=line.source,
        name=line.name,
        message=line.message,
        changes=line.changes,
        platform=line.platform,
        registry=line.registry_access(),
    )
    try:
        print_result(str(import_image(options, session, sys.stdin.buffer)))
    except UsageError as exc:
        exc.ends_with(1)
        raise


COMMANDS = (
    Command(
        "import",
        ImportArguments,
        import_image,
        about="Make an image of a tar of a root.",
        help=(
            "Make an image of one layer from a tar, compressed or not: a file, what is behind a URL, or stdin. It is"
            " what tiffin export writes; tiffin load reads what tiffin save wrote."
        ),
        section=IMAGES,
        examples=("tiffin import root.tar.gz base", "tiffin import -c 'CMD [\"sh\"]' - web:flat < web.tar"),
        aliases=("image import",),
        usage_code=1,
    ),
)

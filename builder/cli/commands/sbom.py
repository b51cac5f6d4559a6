"""tiffin sbom: the software in an image, as a document or a table, and against that of another image."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Flag, Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.sbom.listing import SbomOptions
    from tiffin.builder.api.session import Session

TABLE = "table"
FORMATS = (TABLE, "spdx-json", "cyclonedx-json")


class SbomArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    form = Text("--format", choices=FORMATS, default=TABLE, help="Form of the list.")
    by_line = Flag("--by-line", help="Group the table by the line of the Dockerfile that brought a package.")
    other = Text("--diff", metavar="IMAGE", help="Show what differs from the software of another image.")
    output = Text("-o", "--output", metavar="FILE", help="File to write instead of stdout.")
    platform = Text("--platform", metavar="OS/ARCH", help="The image of an index to list (default: this machine's).")
    files = Flag("--files", help="List every file of the image, too, with its digests; not in the table.")


def sbom(session: Session, line: SbomArguments) -> None:
    """Print the software of an image."""
    from tiffin.builder.api.sbom import listing
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.software.packages import (
        changes_text,
        document_text,
        lines_text,
        table_text,
        write_text,
    )
    from tiffin.builder.errors import UsageError

    if line.form != TABLE and (line.by_line or line.other):
        option = "--by-line" if line.by_line else "--diff"
        raise UsageError(f"{option} is of the table", remedy=f"leave out --format {line.form}, or {option}")
    if line.by_line and line.other:
        raise UsageError("--by-line and --diff exclude each other", remedy="leave one of them out")
    options = _options(line)
    with make_renderer(line.progress) as sink:
        if line.other:
            bill, changes = listing.compare(line.image, line.other, options, session, sink)
        else:
            bill, changes = listing.list_software(line.image, options, session, sink), []
    if line.other:
        text = changes_text(bill, changes)
    elif line.form != TABLE:
        text = document_text(listing.document(bill, line.form))
    else:
        text = lines_text(bill) if line.by_line else table_text(bill)
    write_text(text, line.output)


def _options(line: SbomArguments) -> SbomOptions:
    from tiffin.builder.api.sbom.listing import SbomOptions
    from tiffin.builder.oci.spec import Platform

    return SbomOptions(
        registry=line.registry_access(),
        platform=Platform.parse(line.platform) if line.platform else None,
        lists_files=line.files,
    )


COMMANDS = (
    Command(
        "sbom",
        SbomArguments,
        sbom,
        about="List the software in an image.",
        help="List the software in an image: one that is here, one of a registry, an archive, or an OCI layout "
        "(a directory, or oci-layout://DIRECTORY:TAG). Nothing is unpacked or run.",
        section=IMAGES,
        examples=(
            "tiffin sbom app",
            "tiffin sbom --by-line app",
            "tiffin sbom --format spdx-json -o app.spdx.json app",
            "tiffin sbom app:2 --diff app:1",
        ),
    ),
)

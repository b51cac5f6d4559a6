"""tiffin report: a page about a build or an image."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

STDOUT = "-"
DEFAULT = "report.html"


class ReportArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    name = Word("[BUILD|IMAGE]", "")
    dest = Text("-o", "--output", metavar="FILE", default=DEFAULT, help="Where to write the page; - is stdout.")
    platform = Text("--platform", metavar="OS/ARCH", help="The image of an index (default: this machine's).")


def report(session: Session, line: ReportArguments) -> None:
    """Write the page, and print where it is. Raises TiffinError."""
    import sys

    from tiffin.builder.api.steps.report import make_report, write_report
    from tiffin.builder.cli.output.console import print_result
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.oci.spec import Platform

    with make_renderer(line.progress) as sink:
        platform = Platform.parse(line.platform) if line.platform else None
        page = make_report(line.name, session, sink, line.registry_access(), platform)
    write_report(page, line.dest, sys.stdout.buffer)
    if line.dest != STDOUT:
        print_result(line.dest)


COMMANDS = (
    Command(
        "report",
        ReportArguments,
        report,
        about="Write a page about a build or an image.",
        help="Write one HTML file that needs no network: when each step of a build ran and what it waited for, the "
        "critical path, layers down to files with what is wasted, sizes by line of the Dockerfile, packages, and the "
        "builds before. BUILD is a reference or id of buildx history, ^N, or nothing for the last build.",
        section=BUILDS,
        examples=("tiffin report", "tiffin report -o page.html ^1", "tiffin report app:1"),
    ),
)

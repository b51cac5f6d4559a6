"""tiffin scan: what is known to be wrong with the software in an image, by advisories in files."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Many, Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

SEVERITIES = ("negligible", "low", "medium", "high", "critical")
FORMATS = ("table", "json", "sarif")
EXIT_FOUND = 1


class ScanArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    databases = Many("--db", metavar="FILE", help="Advisories in OSV's format: a JSON, a folder or a zip; repeatable.")
    vex = Many("--vex", metavar="FILE", help="OpenVEX document of what is not a problem here; repeatable.")
    fail_on = Text("--fail-on", choices=SEVERITIES, help="End with exit code 1 for a finding that is so bad, or worse.")
    form = Text("--format", choices=FORMATS, default="table", help="Form of the result.")
    output = Text("-o", "--output", metavar="FILE", help="File to write instead of stdout.")
    platform = Text("--platform", metavar="OS/ARCH", help="The image of an index to scan (default: this machine's).")


def scan(session: Session, line: ScanArguments) -> int:
    """Print what is wrong; return the exit code."""
    from tiffin.builder.api.sbom import scanning
    from tiffin.builder.api.sbom.listing import SbomOptions
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.software.findings import findings_text, json_text, sarif_text
    from tiffin.builder.cli.output.software.packages import write_text
    from tiffin.builder.errors import UsageError
    from tiffin.builder.oci.spec import Platform

    if not line.databases:
        raise UsageError("a scan needs advisories", remedy="name files of them with --db: nothing is downloaded")
    platform = Platform.parse(line.platform) if line.platform else None
    options = SbomOptions(registry=line.registry_access(), platform=platform)
    with make_renderer(line.progress) as sink:
        found = scanning.scan(line.image, line.databases, line.vex, options, session, sink)
    match line.form:
        case "json":
            text = json_text(found)
        case "sarif":
            text = sarif_text(found)
        case _:
            text = findings_text(found)
    write_text(text, line.output)
    return EXIT_FOUND if line.fail_on and (found.is_blind or found.counting(line.fail_on)) else 0


COMMANDS = (
    Command(
        "scan",
        ScanArguments,
        scan,
        about="Show known vulnerabilities of the software in an image.",
        help="Show known vulnerabilities of the software in an image, by the line of the Dockerfile that brought it. "
        "Advisories come from files in OSV's format; nothing is downloaded.",
        section=IMAGES,
        examples=(
            "tiffin scan --db Debian.zip --db PyPI.zip app",
            "tiffin scan --db osv/ --vex app.openvex.json --fail-on high --format sarif -o app.sarif app",
        ),
    ),
)

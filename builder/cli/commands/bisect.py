"""tiffin bisect: the first step after which a command fails."""

from __future__ import annotations

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Text, Word, Words
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

SHELL = ("/bin/sh", "-c")
JSON = "json"


class BisectArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    ends_options = True
    image = Word("IMAGE")
    command = Words("[COMMAND [ARG…]]")
    shell = Text("--run", metavar="COMMAND", help="A command for the shell of the image.")
    form = Text("--format", choices=(JSON,), help="Print what was found as JSON.")


def bisect(session: Session, line: BisectArguments) -> None:
    """Print the step with which the command fails first. Raises TiffinError."""
    from tiffin.builder.api.steps.bisect import bisect
    from tiffin.builder.cli.output.console import print_result
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.errors import UsageError

    if bool(line.shell) == bool(line.command):
        raise UsageError(
            "one command is needed", remedy="give --run COMMAND before the image's name, or COMMAND after it"
        )
    command = (*SHELL, line.shell) if line.shell else line.command
    with make_renderer(line.progress) as sink:
        found = bisect(line.image, command, session, sink, line.registry_access())
    if line.form == JSON:
        import json

        from tiffin.cache.foundation.frozen import asdict

        print_result(
            json.dumps(
                {
                    "layer": found.layer,
                    "layers": found.layers,
                    "diffId": str(found.origin.diff_id),
                    "exitCode": found.exit_code,
                    "hasWorked": found.has_worked,
                    "lines": [asdict(place) for place in found.origin.lines],
                    "base": found.origin.base,
                    "createdBy": found.origin.text,
                },
                indent=2,
            )
        )
        return
    before = "succeeds before it" if found.has_worked else "never succeeded"
    print_result(f"{found.origin.shown}\nlayer {found.layer} of {found.layers}: exit code {found.exit_code}, {before}")


COMMANDS = (
    Command(
        "bisect",
        BisectArguments,
        bisect,
        about="Find the first step of an image after which a command fails.",
        help="Run a command with the lowest layers of IMAGE until it is known with which of them it fails first, and "
        "print the line of the Dockerfile that made that layer. Few runs are needed, each in a container that is "
        "removed. The configuration (USER, ENV, WORKDIR) is always that of IMAGE, without its entry point.",
        section=IMAGES,
        examples=("tiffin bisect --run 'python3 -c \"import ssl\"' app", "tiffin bisect app:1 nginx -t"),
    ),
)

"""tiffin explore: an image in the terminal, layer by layer."""

from __future__ import annotations

import gc
import os
import sys

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

COLLECTED_AFTER = 500_000  # new objects: trees have as many, and none of them is garbage
INSTEAD = "tiffin report writes a page, tiffin step files lists what a step changed"


class ExploreArguments(RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    platform = Text("--platform", metavar="OS/ARCH", help="The image of an index (default: this machine's).")


def explore(session: Session, line: ExploreArguments) -> None:
    """Show the image until the user leaves. Raises UsageError without a terminal or the extra, TiffinError."""
    from tiffin.builder.errors import UsageError

    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("explore needs a terminal: stdin, stdout and stderr have to be one", remedy=INSTEAD)
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("explore needs a terminal that can move its cursor, and TERM is dumb", remedy=INSTEAD)
    try:
        from tiffin.builder.cli.explore.app import ExploreApp
        from tiffin.builder.cli.explore.progress import Progress
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith(("textual", "rich")):
            raise
        raise UsageError("explore needs the package textual", remedy='pip install "tiffin[explore]"') from exc
    from tiffin.builder.api.explore.image import explored
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.oci.spec import Platform

    platform = Platform.parse(line.platform) if line.platform else None
    with make_renderer("auto") as sink:
        progress = Progress(sink)
        opened = explored(line.image, session, progress, line.registry_access(), platform)
        image = opened.__enter__()
    gc.set_threshold(COLLECTED_AFTER)
    try:
        progress.begin()
        app = ExploreApp(image, progress)
        failure = app.run()
        progress.leave()
        if app.signals.received:
            os.kill(os.getpid(), app.signals.received)  # now for the command
        if isinstance(failure, BaseException):
            raise failure
        if app.return_code:
            raise SystemExit(app.return_code)
    finally:
        opened.__exit__(None, None, None)


COMMANDS = (
    Command(
        "explore",
        ExploreArguments,
        explore,
        about="Look through an image in the terminal.",
        help="Show the layers of IMAGE with the lines of the Dockerfile that made them, what each added, changed and "
        "removed, what is wasted, and the content of files: an image that is here, one of a registry, an archive, or "
        "an OCI layout. It reads the tables of contents of the layers; nothing is unpacked. ? lists the keys.",
        section=IMAGES,
        examples=("tiffin explore app", "tiffin explore registry.example/app:1", "tiffin explore app.tar"),
    ),
)

"""tiffin diff: what a container changed, what differs between two images."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Flag, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

JSON = "json"
_WORDS = {"A": "added", "C": "changed", "D": "deleted"}  # podman's


class DiffArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    name = Word("CONTAINER|IMAGE")
    other = Word("[IMAGE]", "")
    form = Text("--format", choices=(JSON,), help="Print lists as JSON, as podman does.")
    times = Flag("--times", help="Of two images: tell of files of which only the time differs, too.")
    platform = Text("--platform", metavar="OS/ARCH", help="Of two images: those of an index.")


def diff(session: Session, line: DiffArguments) -> None:
    """Print what a container changed, or what differs between two images."""
    if line.other:
        _compare(session, line)
        return
    from tiffin.builder.api.containers.files.changes import diff

    rows = diff(line.name, session)
    if line.form == JSON:
        import json

        found: dict[str, list[str]] = {}
        for letter, path in rows:
            found.setdefault(_WORDS[letter], []).append(path)
        print_result(json.dumps(found))
        return
    for letter, path in rows:
        print_result(f"{letter} {path}")


def _compare(session: Session, line: DiffArguments) -> None:
    """Print what the second image has otherwise than the first."""
    import json

    from tiffin.builder.api.steps.image_diff import compare_images
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.oci.spec import Platform

    platform = Platform.parse(line.platform) if line.platform else None
    with make_renderer(line.progress) as sink:
        found = compare_images(
            line.name, line.other, session, sink, line.registry_access(), platform=platform, times=line.times
        )
    if line.form == JSON:
        lists: dict[str, object] = {
            word: [item.path for item in found.files if item.letter == letter] for letter, word in _WORDS.items()
        }
        config = {name: {"before": before, "after": after} for name, (before, after) in found.config.items()}
        print_result(json.dumps({**lists, "config": config}))
        return
    for item in found.files:
        print_result(f"{item.letter} {item.path}" + (f" ({', '.join(item.differs)})" if item.differs else ""))
    for name, values in found.config.items():
        before, after = ("nothing" if value is None else json.dumps(value) for value in values)
        print_result(f"{name}: {before} -> {after}")


COMMANDS = (
    Command(
        "diff",
        DiffArguments,
        diff,
        about="Show what a container changed, or what differs between two images.",
        help="Show which files a container added (A), changed (C) and deleted (D), compared with its image.\n\n"
        "With two images: what the second has otherwise than the first, files and configuration, wherever they are: "
        "here, in a registry, an archive, or a layout. Nothing is unpacked.",
        section=CONTAINERS,
        examples=("tiffin diff web", "tiffin diff app:1 app:2", "tiffin diff --format json app:1 registry/app:2"),
        aliases=("container diff",),
        usage_code=1,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

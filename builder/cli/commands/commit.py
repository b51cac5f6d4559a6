"""tiffin commit."""

from __future__ import annotations

from tiffin.builder.cli.commands.run import WarningSink
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class CommitOptionArguments(Arguments):
    """What is said of the image."""

    author = Text("-a", "--author", metavar="TEXT", help="Author of the image.")
    message = Text("-m", "--message", metavar="TEXT", help="Comment in its history.")
    changes = Many("-c", "--change", metavar="INSTRUCTION", help="Change its configuration, as in a Dockerfile.")
    pause = Flag("-p", "--pause", default=True, off="--no-pause", help="Pause the container meanwhile.")


class CommitArguments(CommitOptionArguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    image = Word("[IMAGE[:TAG]]", "")


def commit(session: Session, line: CommitArguments) -> None:
    """Make an image of a container; print its id."""
    from tiffin.builder.api.containers.files.commit import CommitOptions, commit

    options = CommitOptions(
        container=line.name,
        name=line.image,
        author=line.author,
        message=line.message,
        changes=line.changes,
        pauses=line.pause,
    )
    try:
        print_result(str(commit(options, session, WarningSink())))
    except UsageError as exc:
        exc.ends_with(1)
        raise


COMMANDS = (
    Command(
        "commit",
        CommitArguments,
        commit,
        about="Make an image of a container.",
        help=(
            "Make an image of a container: what it changed becomes a layer, without what is mounted in it. Instructions"
            " for --change are CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and"
            " WORKDIR."
        ),
        section=CONTAINERS,
        examples=("tiffin commit -m 'with tools' box box:tools", "tiffin commit -c 'CMD [\"serve\"]' box app"),
        aliases=("container commit",),
        usage_code=1,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

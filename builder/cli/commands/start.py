"""tiffin start, and attach."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from tiffin.builder.cli.commands.run import WarningSink, print_not_begun
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.containers.chosen import ChosenArguments
from tiffin.builder.cli.options.option import Arguments, Flag, Text, Word
from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

EXIT_DETACHED = 0
ENDED = ("created", "exited", "dead")  # ps's words


class AttachingArguments(Arguments):
    """How this process's streams are joined to a container's."""

    sig_proxy = Flag("--sig-proxy", default=True, off="--no-sig-proxy", help="Pass signals on (not with -t).")
    detach_keys = Text("--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="What is typed to leave it.")


class StartArguments(AttachingArguments, ChosenArguments):
    """What may stand on the line."""

    attach = Flag("-a", "--attach", help="Join its output, and pass signals on.")
    interactive = Flag("-i", "--interactive", help="Join its stdin.")
    everything = Flag("--all", help="All containers that do not run.")
    ignore = Flag("--ignore", help="Say nothing of containers that are not there.")


class AttachArguments(AttachingArguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    no_stdin = Flag("--no-stdin", help="Do not join its stdin.")


def start(session: Session, line: StartArguments) -> int:
    """Start containers; return the exit code of the one that is attached. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    names = line.chosen(session, ENDED)
    begin_limited(session, names)
    if not (line.attach or line.interactive):
        failed: list[int] = []

        def begin(name: str) -> None:
            started = lifecycle.start(name, session, WarningSink())
            if started.message:
                print_not_begun(started.message)
                failed.append(1)
            else:
                print_result(name)

        each(names, begin)
        return max(failed, default=0)
    if len(names) != 1:
        raise UsageError("only one container can be attached at a time", remedy="leave out -a and -i, or name one")
    started, code = lifecycle.start_attached(
        names[0],
        session,
        WarningSink(),
        types=line.interactive,
        forwards=line.sig_proxy,
        detach_keys=line.detach_keys,
    )
    if started.message:
        print_not_begun(started.message)
    return EXIT_DETACHED if code is None else code


def begin_limited(session: Session, names: Sequence[str]) -> None:
    """Begin this command anew in a scope of systemd where containers are limited and only systemd makes groups."""
    from tiffin.builder.api.containers.lifecycle import limits_of
    from tiffin.builder.containers.limits import begin_in_scope
    from tiffin.builder.errors import ImageNotFoundError

    with contextlib.suppress(ImageNotFoundError):  # told where it is started
        begin_in_scope(limits_of(names, session), os.environ)


def attach(session: Session, line: AttachArguments) -> int:
    """Join this process's streams to a container's; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.containers import lifecycle

    code = lifecycle.attach(
        line.name, session, types=not line.no_stdin, forwards=line.sig_proxy, detach_keys=line.detach_keys
    )
    return EXIT_DETACHED if code is None else code


COMMANDS = (
    Command(
        "start",
        StartArguments,
        start,
        about="Start containers.",
        help="Start containers that do not run, in the background or attached.",
        section=CONTAINERS,
        examples=("tiffin start db", "tiffin start -ai shell"),
        aliases=("container start",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "attach",
        AttachArguments,
        attach,
        about="Join the streams of a container.",
        help="Join this terminal, or these pipes, to the streams of a container in the background.",
        section=CONTAINERS,
        examples=("tiffin attach shell",),
        aliases=("container attach",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)

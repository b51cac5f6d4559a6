"""Run an image in the hands of a supervisor, with this process's streams joined to it: whoever leaves it does not end
it, and its log stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

from tiffin.builder.api.containers.lifecycle import run_detached
from tiffin.builder.api.inputs.run_image import Progress
from tiffin.builder.api.run import RunResult
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.containers.lifecycle.attachment import STREAMS, Attachment
from tiffin.builder.containers.run import DEFAULT_DETACH_KEYS, forwarded_signals
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink
from tiffin.builder.sandbox.child.fd_passing import pair

EXIT_DETACHED = 0


def run_attached(
    options: RunOptions,
    session: Session,
    sink: Sink,
    progress: Progress | None = None,
    *,
    streams: Collection[str] = STREAMS,
    forwards: bool = True,
    detach_keys: str = DEFAULT_DETACH_KEYS,
    is_held: bool = False,
    begun: Callable[[str], object] = lambda identity: None,
) -> RunResult:
    """Run a command in a new container and stay with it, or until somebody detaches. Raises TiffinError.

    `streams` are those of this process that are joined; `forwards`: signals are passed on. `is_held`: the container
    ends with this process, or with a terminal that is closed, unless somebody detached. `begun` is told the
    container's id. Where neither output is joined the exit code is 0, as of a container in the background: docker's.
    """
    given = options.container
    container = given() if callable(given) else given
    ours, theirs = pair()
    attachment = Attachment(
        ours,
        tty=container.tty,
        types=options.interactive and "stdin" in streams,
        forwards=forwards,
        detach_keys=detach_keys,
        shows=streams,
    )
    attachment.announce()
    with contextlib.closing(ours):
        with contextlib.closing(theirs):
            started = run_detached(options, session, sink, progress, (ours, theirs), is_held=is_held)
        if started.message:
            return RunResult(exit_code=started.exit_code, message=started.message)
        begun(started.id)
        with forwarded_signals() if is_held else contextlib.nullcontext() as forwarder:
            if forwarder is not None:
                forwarder.to(attachment)
            code = attachment.run()
    return RunResult(exit_code=EXIT_DETACHED if code is None or not shows_output(streams) else code)


def shows_output(streams: Collection[str]) -> bool:
    """Whether a command's stdout or stderr is among the streams that are joined."""
    return any(name != "stdin" for name in streams)


def parse_streams(texts: Collection[str]) -> tuple[str, ...]:
    """Read --attach: none for all. Raises UsageError."""
    names = tuple(text.lower() for text in texts)
    for name in names:
        if name not in STREAMS:
            raise UsageError(f'--attach "{name}" is not a stream', remedy="use stdin, stdout and stderr")
    return names or STREAMS

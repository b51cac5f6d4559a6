"""Build again whenever a file changes, and run what was built: tiffin watch, and build --watch."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.output.console import print_error, warn
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tiffin.builder.api.rebuild.running_image import RunningImage
    from tiffin.builder.api.session import Session

    Build = Callable[[Session, BuildArguments], str]  # which returns the image's id

SHOWN_PATHS = 3
COMMAND_MARK = "--"
NOT_IN_RUN = ("-d", "--detach", "--cidfile")


def watch(session: Session, line: BuildArguments, build_line: Build) -> None:
    """Build what a line says by `build_line`, and again after each change of what it reads, until the process is ended.

    A build that fails is told, and tried again after the next change. Raises TiffinError.
    """
    from tiffin.builder.api.compose.jobs import run_apart
    from tiffin.builder.api.rebuild.build_watch import BuildWatch
    from tiffin.builder.cli.options.build_values import begin_as_limited, build_options
    from tiffin.builder.events import NullSink
    from tiffin.builder.sources.watch import FileWatch

    _check(line)
    options = build_options(line)
    begin_as_limited(options)
    written = [Path(name) for name in (line.iidfile, line.metadata_file, line.profile, line.report) if name]
    with FileWatch(warn) as files, _running(session, line.run) as running:
        changes = BuildWatch(options, files, state=session.state.root, written=written)
        while True:
            changes.begin()
            try:
                image = run_apart(lambda own, _: _build_once(own, line, build_line), session, NullSink())
            except TiffinError as exc:  # of the child itself, which may have been killed
                image = ""
                print_error(f"error: {exc}")
            if image and running is not None:
                running.replace(image)
            print_error("watching for changes; Ctrl-C ends")
            print_error(_told(changes.wait() or ()))


def _check(line: BuildArguments) -> None:
    if line.check or line.call != "build":
        raise UsageError("--watch goes with builds", remedy="leave --check and --call out")
    if line.shell_on_error:
        raise UsageError("--watch and --shell-on-error exclude each other", remedy="use tiffin debug after a failure")


def _running(session: Session, given: str | None) -> contextlib.AbstractContextManager[RunningImage | None]:
    """Return what runs images with the options and the command of --run."""
    if given is None:
        return contextlib.nullcontext()
    from tiffin.builder.api.rebuild.running_image import RunningImage
    from tiffin.builder.cli.commands.debug import own_program

    try:
        words = shlex.split(given)
    except ValueError as exc:
        raise UsageError(f"--run '{given}': {exc}", remedy="close what is quoted") from exc
    at = words.index(COMMAND_MARK) if COMMAND_MARK in words else len(words)
    for word in words[:at]:
        if word.partition("=")[0] in NOT_IN_RUN:
            raise UsageError(f"--run takes no {word}: the container ends with tiffin", remedy="leave it out")
    return RunningImage(session, own_program(session), words[:at], words[at + 1 :])


def _build_once(session: Session, line: BuildArguments, build_line: Build) -> str:
    """Build in a child; return the image's id, "" where that failed, which is told."""
    from tiffin.builder.cli.output.errors import told

    try:
        return build_line(session, line)
    except TiffinError as exc:
        print_error(told(exc, os.environ))
        return ""


def _told(changed: Collection[str]) -> str:
    names = [name or "." for name in changed]
    more = f" and {len(names) - SHOWN_PATHS} more" if len(names) > SHOWN_PATHS else ""
    return f"{', '.join(names[:SHOWN_PATHS]) or 'something'}{more} changed"

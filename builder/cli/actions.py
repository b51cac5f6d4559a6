"""Do what the line of a build or a run says, whoever read it, and print what comes of it."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import refuse_terminal, say, tell, warn
from tiffin.builder.cli.output.renderer import Renderer, quiet_if
from tiffin.builder.events import Event, Warned
from tiffin.cache.foundation.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.cli.options.build_arguments import BuildArguments
    from tiffin.builder.cli.options.run_arguments import RunArguments


def build(session: Session, line: BuildArguments) -> None:
    """Build what a line says. Raises TiffinError, SystemExit where a check found something."""
    from tiffin.builder.cli.options.attestations import check_attestations
    from tiffin.builder.cli.options.build_values import build_options
    from tiffin.builder.cli.options.call import parse_call

    check_attestations(line)
    options = build_options(line)
    call, as_json = parse_call("check" if line.check else line.call)
    for path in filter(None, (line.iidfile, line.metadata_file)):
        _remove_result(Path(path))
    with _renderer(line.quiet, line.progress, line.profile) as sink:
        for message in line.remarks():
            sink.emit(Warned(message=message))
        if call == "build":
            _build(session, options, line, sink)
        else:
            from tiffin.builder.cli.output.subrequests import show

            show(call, options, session, sink, as_json=as_json)


def _remove_result(path: Path) -> None:
    """Remove an earlier result, which must not look like this one's. Raises UsageError for a directory."""
    if path.is_dir():
        from tiffin.builder.errors import UsageError

        raise UsageError(f"{path} is a directory", remedy="name a file for --iidfile and --metadata-file")
    path.unlink(missing_ok=True)


def _build(session: Session, options: BuildOptions, line: BuildArguments, sink: Renderer) -> None:
    from tiffin.builder.api.build import build
    from tiffin.builder.delivery.output_spec import STDOUT

    to_stdout = [spec for spec in options.outputs if spec.dest == STDOUT]
    for spec in to_stdout:
        refuse_terminal(spec.dest, "redirect stdout, or give dest=FILE")
    result = build(options, session, sink)
    if line.iidfile:
        Path(line.iidfile).write_text(str(result.image_id))
    if line.metadata_file:
        Path(line.metadata_file).write_text(json.dumps(result.metadata, indent=2) + "\n")
    if not to_stdout:
        say(str(result.image_id))


def _renderer(quiet: bool, progress: str, profile: str = "") -> Renderer:
    from tiffin.builder.cli.output.render import make_renderer

    renderer = make_renderer(quiet_if(quiet, progress))
    if profile:
        from tiffin.builder.cli.output.profile import Profiler

        return Profiler(renderer, Path(profile))
    return renderer


# -- run ---------------------------------------------------------------------------------------------------------------


class WarningSink:
    """Prints warnings as soon as they come, and nothing else."""

    def emit(self, event: Event) -> None:
        """Print a warning."""
        if isinstance(event, Warned):
            warn(event.message)


def run(session: Session, line: RunArguments) -> int:
    """Run a command in a new container, as a line says; return the exit code. Raises TiffinError."""
    from tiffin.builder.api.run import EXIT_OWN_FAILURE, run
    from tiffin.builder.errors import TiffinError, UsageError

    try:
        if line.tty and line.interactive and not os.isatty(0):
            raise UsageError("stdin is not a terminal, which -i -t need", remedy="leave out -t")
        from tiffin.builder.cli.options.run_values import container_options, run_options

        for remark in line.remarks():
            warn(remark)
        container = cache(lambda: container_options(line))  # read once: a file of variables may be a pipe
        if line.memory or line.swap or line.cpus or line.pids:
            from tiffin.builder.containers.limits import begin_in_scope

            begin_in_scope(container().limits, os.environ)
        result = run(run_options(line, container), session, WarningSink(), lambda: _renderer(line.quiet, line.progress))
    except TiffinError as exc:
        exc.exit_code = EXIT_OWN_FAILURE
        raise
    if result.message:
        tell(f"error: {result.message}; check the command and the image's PATH")
    return result.exit_code

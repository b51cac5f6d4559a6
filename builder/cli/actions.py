"""Do what the line of a build or a run says, whoever read it, and print what comes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import refuse_terminal, say, tell, warn
from tiffin.builder.cli.output.renderer import Renderer, quiet_if
from tiffin.builder.events import Event, Warned
from tiffin.cache.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.build_options import BuildOptions

LIMITS = ("memory", "swap", "cpus", "pids")  # options of control groups


def build(session: Session, given: Mapping[str, object]) -> None:
    """Build. `given`: the options by name. Raises TiffinError, SystemExit where a check found something."""
    from tiffin.builder.cli.options import docker_words
    from tiffin.builder.cli.options.build_values import build_options
    from tiffin.builder.cli.options.call import parse_call

    remarks = docker_words.warnings_of(given)
    options = build_options(given)
    call, as_json = parse_call("check" if given["check"] else str(given["call"] or ""))
    for path in filter(None, (given["iidfile"], given["metadata_file"])):
        Path(str(path)).unlink(missing_ok=True)  # a stale result must not look like this one's
    with _renderer(given) as sink:
        for message in remarks:
            sink.emit(Warned(message=message))
        if call == "build":
            _build(session, options, given, sink)
        else:
            from tiffin.builder.cli.output.subrequests import show

            show(call, options, session, sink, as_json=as_json)


def _build(session: Session, options: BuildOptions, given: Mapping[str, object], sink: Renderer) -> None:
    from tiffin.builder.api.build import build
    from tiffin.builder.delivery.output_spec import STDOUT

    to_stdout = [spec for spec in options.outputs if spec.dest == STDOUT]
    for spec in to_stdout:
        refuse_terminal(spec.dest, "redirect stdout, or give dest=FILE")
    result = build(options, session, sink)
    if given["iidfile"]:
        Path(str(given["iidfile"])).write_text(str(result.image_id))
    if given["metadata_file"]:
        Path(str(given["metadata_file"])).write_text(json.dumps(result.metadata, indent=2) + "\n")
    if not to_stdout:
        say(str(result.image_id))


def _renderer(given: Mapping[str, object]) -> Renderer:
    from tiffin.builder.cli.output.render import make_renderer

    renderer = make_renderer(quiet_if(bool(given["quiet"]), str(given["progress"])))
    if given.get("profile"):
        from tiffin.builder.cli.output.profile import Profiler

        return Profiler(renderer, Path(str(given["profile"])))
    return renderer


# -- run ---------------------------------------------------------------------------------------------------------------


class WarningSink:
    """Prints warnings as soon as they come, and nothing else."""

    def emit(self, event: Event) -> None:
        """Print a warning."""
        if isinstance(event, Warned):
            warn(event.message)


def run(session: Session, given: Mapping[str, object]) -> int:
    """Run a command in a new container; return the exit code. `given`: the options by name. Raises TiffinError."""
    from tiffin.builder.api.run import EXIT_OWN_FAILURE, run
    from tiffin.builder.errors import TiffinError, UsageError

    try:
        if given["tty"] and given["interactive"] and not os.isatty(0):
            raise UsageError("stdin is not a terminal, which -i -t need", remedy="leave out -t")
        from tiffin.builder.cli.options.run_values import container_options, remarks, run_options

        for remark in remarks(given):
            warn(remark)
        container = cache(lambda: container_options(given))  # read once: a file of variables may be a pipe
        if any(given[name] for name in LIMITS):
            from tiffin.builder.containers.limits import begin_in_scope

            begin_in_scope(container().limits, os.environ)
        result = run(run_options(given, container), session, WarningSink(), lambda: _renderer(given))
    except TiffinError as exc:
        exc.exit_code = EXIT_OWN_FAILURE
        raise
    if result.message:
        tell(f"error: {result.message}; check the command and the image's PATH")
    return result.exit_code

"""tiffin build."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.errors import RunError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.output.renderer import Renderer


def build(session: Session, line: BuildArguments) -> None:
    """Build what a line says. Raises TiffinError, SystemExit where a check found something."""
    if line.watch:
        from tiffin.builder.cli.rebuilding import watch

        watch(session, line, build_line)
    elif line.run is not None:
        from tiffin.builder.errors import UsageError

        raise UsageError("--run goes with --watch", remedy="add --watch, or use tiffin run after the build")
    else:
        build_line(session, line)


def build_line(session: Session, line: BuildArguments) -> str:
    """Build once, and return the image's id, "" where nothing was to be built. Raises as `build`."""
    from tiffin.builder.cli.options.build_values import begin_as_limited, build_options
    from tiffin.builder.cli.options.call import parse_call
    from tiffin.builder.events import WarningMessage

    options = build_options(line)
    begin_as_limited(options)
    call, as_json = parse_call("check" if line.check else line.call)
    for path in filter(None, (line.iidfile, line.metadata_file, line.report)):
        _remove_result(Path(path))
    try:
        with _renderer(session, options, line) as sink:
            for message in line.notices():
                sink.emit(WarningMessage(message=message))
            if call == "build":
                return _build(session, options, line, sink)
            from tiffin.builder.cli.output.subrequests import show

            show(call, options, session, sink, as_json=as_json)
            return ""
    except RunError as exc:
        if line.shell_on_error:
            from tiffin.builder.cli.commands.debug import open_shell

            if open_shell(session, exc, line.secrets):
                raise SystemExit(exc.exit_code) from exc  # it is told
        raise


def _remove_result(path: Path) -> None:
    """Remove an earlier result, which must not look like this one's. Raises UsageError for a directory."""
    if path.is_dir():
        from tiffin.builder.errors import UsageError

        raise UsageError(f"{path} is a directory", remedy="name a file for --iidfile, --metadata-file and --report")
    path.unlink(missing_ok=True)


def _build(session: Session, options: BuildOptions, line: BuildArguments, sink: Renderer) -> str:
    """Build, write the files that the line asks for, and return the image's id."""
    from tiffin.builder.cli.output.console import print_result, refuse_terminal
    from tiffin.builder.delivery.output_spec import STDOUT

    to_stdout = [spec for spec in options.outputs if spec.dest == STDOUT]
    for spec in to_stdout:
        refuse_terminal(spec.dest, "redirect stdout, or give dest=FILE")
    if line.report:
        from tiffin.builder.api.steps.report import build_with_report

        result = build_with_report(options, session, sink, line.report)
    else:
        from tiffin.builder.api.build import build

        result = build(options, session, sink)
    if line.iidfile:
        Path(line.iidfile).write_text(str(result.image_id))
    if line.metadata_file:
        import json

        Path(line.metadata_file).write_text(json.dumps(result.metadata, indent=2) + "\n")
    if not to_stdout:
        print_result(str(result.image_id))
    return str(result.image_id)


def _renderer(session: Session, options: BuildOptions, line: BuildArguments) -> Renderer:
    from tiffin.builder.cli.output.render import make_renderer, traced
    from tiffin.builder.cli.output.renderer import quiet_if

    def read_times() -> Callable[[str], float | None]:
        from tiffin.builder.api.buildx.history_steps import last_times

        return last_times(session, options)

    renderer = make_renderer(quiet_if(line.quiet, line.progress), last_times=read_times)
    if line.profile:
        from tiffin.builder.cli.output.timings.profile import Profiler

        renderer = Profiler(renderer, Path(line.profile))
    return traced(renderer, "build")


COMMANDS = (
    Command(
        "build",
        BuildArguments,
        build,
        about="Build an image from a Dockerfile.",
        help="Build an image from the Dockerfile and the files in CONTEXT.",
        section=BUILDS,
        examples=(
            "tiffin build -t app .",
            "tiffin build --push -t registry.example/app:1 .",
            "tiffin build --target test --build-arg VERSION=2 .",
            "tiffin build -o type=oci,dest=app.tar .",
        ),
        aliases=("bud", "image build", "builder build", "buildx build"),
    ),
)

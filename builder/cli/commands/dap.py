"""tiffin dap build | bake | attach: an editor steps through a Dockerfile."""

from __future__ import annotations

import io
import os
from pathlib import Path

from tiffin.builder.cli.options.bake_arguments import BakeArguments
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.option import Arguments, Many, Word
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.api.dap.adapter import Launch
    from tiffin.builder.api.session import Session
    from tiffin.builder.events import Sink


class DapBuildArguments(BuildArguments):
    """What may stand on the line: that of `build`."""

    context = Word("[CONTEXT]", ".")


class AttachArguments(Arguments):
    """What may stand on the line."""

    file = Word("FILE")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|env=NAME]", help="A secret of the step.")


def dap_build(session: Session, line: DapBuildArguments) -> int:
    """Serve an editor that debugs a build; return the exit code. Raises UsageError."""
    if line.context == "-" or line.file == "-":
        raise UsageError("stdin is the editor's", remedy="name a directory, and a Dockerfile with -f")

    def options_of(launch: Launch) -> BuildOptions:
        from tiffin.builder.cli.options.build_values import build_options

        options = build_options(line)
        return replace(
            options,
            context=launch.context or options.context,
            file=launch.dockerfile or options.file,
            target=launch.target or options.target,
        )

    return _serve(session, options_of, line.secrets)


def dap_bake(session: Session, line: BakeArguments) -> int:
    """Serve an editor that debugs a target of a bake file; return the exit code. Raises UsageError."""

    def options_of(launch: Launch) -> BuildOptions:
        from tiffin.builder.cli.bake.running import options_of_target

        return options_of_target(session, line, launch.target)

    return _serve(session, options_of, ())


def _serve(session: Session, options_of: Callable[[Launch], BuildOptions], secrets: Sequence[str]) -> int:
    from tiffin.builder.api.dap.adapter import Adapter, ignore_signals, stream_pair
    from tiffin.builder.cli.commands.debug import own_program
    from tiffin.builder.cli.output.plain.step_lines import NONE
    from tiffin.builder.cli.output.render import PlainRenderer

    given = [word for text in secrets for word in ("--secret", text)]
    ignore_signals()
    incoming, outgoing = stream_pair()
    terminal = [*own_program(session), "dap", "attach", *given]

    def sink_of(write: Callable[[str], object]) -> Sink:
        return PlainRenderer(io.BufferedWriter(_Console(write)), NONE)

    adapter = Adapter(incoming, outgoing, session, options_of, sink_of, terminal)
    try:
        return adapter.serve()
    except (BrokenPipeError, ConnectionResetError):  # the editor is gone
        return 0
    finally:
        os.close(incoming)
        os.close(outgoing)


class _Console(io.RawIOBase):
    """The console of an editor, as a stream."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        text = bytes(data)  # type: ignore[call-overload]
        self._write(text.decode("utf-8", "replace"))
        return len(text)


def attach(session: Session, line: AttachArguments) -> int:
    """Open a shell where a debugged build stands; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.dap.work import State, evaluate
    from tiffin.builder.api.steps.debug import DebugOptions
    from tiffin.builder.cli.commands.run import WarningSink
    from tiffin.builder.cli.options.build_values import secrets
    from tiffin.builder.value_bytes import decode

    state = decode(Path(line.file).read_bytes(), line.file)
    if not isinstance(state, State):
        raise UsageError(f"{line.file} is no step", remedy="it is for editors: type exec in the debug console")
    asked = DebugOptions(tty=os.isatty(0) and os.isatty(1), secrets=secrets(line.secrets))
    return evaluate(state, asked, session, WarningSink())


COMMANDS = (
    Group("dap", about="Debug builds in an editor.", section=BUILDS),
    Command(
        "dap build",
        DapBuildArguments,
        dap_build,
        about="Let an editor step through a build.",
        help="Speak the Debug Adapter Protocol on stdin and stdout, for an editor that steps through the Dockerfile: "
        "forward and back, with breakpoints, variables, files, and commands in each step. Options are those of build.",
        section=BUILDS,
        examples=("tiffin dap build --build-arg VERSION=2 .",),
    ),
    Command(
        "dap bake",
        BakeArguments,
        dap_bake,
        about="Let an editor step through a target of a bake file.",
        help="As dap build, for one target of a bake file.",
        section=BUILDS,
        examples=("tiffin dap bake -f docker-bake.hcl app",),
    ),
    Command(
        "dap attach",
        AttachArguments,
        attach,
        about="Open a shell where a debugged build stands.",
        help="What an editor runs in a terminal when exec is typed in its debug console.",
        section=BUILDS,
        is_hidden=True,
    ),
)

"""The program `tiffin`: run a command, tell its errors, give its exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType

from tiffin.builder import importing
from tiffin.cache.foundation.signals import signal

TYPE_CHECKING = False  # as in typing_shim, which the version is told without

if TYPE_CHECKING:
    from typing import NoReturn

EXIT_FAILED = 1
EXIT_INTERNAL = 70  # sysexits.h: an internal software error
EXIT_SIGNAL = 128  # shells add the signal's number
EXIT_INTERRUPTED = EXIT_SIGNAL + signal.SIGINT
GARBAGE_THRESHOLD = 200_000  # objects; a search through 50,000 takes a tenth of a build of 60 steps, and finds little
# options before the command, whose values follow
WITH_VALUES = (
    "--root", "--config", "-H", "--host", "-c", "--context", "-l", "--log-level", "--tlscacert", "--tlscert",
    "--tlskey",
)  # fmt: skip
ENDING = (signal.SIGTERM, signal.SIGHUP)  # they end a command as Ctrl-C does: through every `with` and `finally`


class Ended(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> NoReturn:
    """Run tiffin and end the process with its exit code."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    _speak_utf8()
    importing.install()
    _load_paths()
    _open_standard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where a parent ignores it the kernel reaps what we wait for
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, _end)
    is_ended = False  # by a signal
    try:
        _run(sys.argv[1:])
        code = 0
    except BaseException as exc:
        _end_undisturbed()
        if is_debug(sys.argv[1:]) and not isinstance(exc, SystemExit):
            import traceback

            traceback.print_exc()
        code, is_ended = _report(exc), isinstance(exc, (KeyboardInterrupt, Ended))
    code = _flushed(code)
    if "tiffin.cache.store.statedir" in sys.modules:
        _ignore_signals()  # the result is told, and what is left to do is soon done
        from tiffin.cache.store.statedir import finish

        finish()
    if not _are_databases_closed() and not is_ended:  # then threads that wait for a network are not waited for
        sys.exit(code)
    os._exit(code)  # taking the interpreter apart would take as long as a small command, and a fifth of a rebuild


def _are_databases_closed() -> bool:
    """Close them in order; those of threads are closed where these end, or with the interpreter."""
    if "tiffin.cache.store.local" not in sys.modules:
        return True
    import threading

    from tiffin.cache.store.local import close_tables

    return close_tables() and threading.active_count() == 1


def _load_paths() -> None:
    """Load pathlib without urllib.parse, which only Path.as_uri needs: a rebuild with nothing changed takes 6 % fewer
    instructions.
    """
    if sys.version_info >= (3, 13) or "urllib.parse" in sys.modules:
        return  # 3.13 loads it when it is needed
    stand_in = ModuleType("urllib.parse")
    stand_in.__dict__["quote_from_bytes"] = _quote_from_bytes
    sys.modules[stand_in.__name__] = stand_in
    import pathlib  # noqa: F401  # for its side effect

    del sys.modules[stand_in.__name__]


def _quote_from_bytes(data: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(data)


def _run(arguments: Sequence[str]) -> None:
    if len(arguments) <= 1:
        from tiffin.builder.cli.fast_help import answer

        text = answer(arguments)
        if text is not None:
            sys.stdout.write(f"{text}\n")
            return
    from tiffin.builder.cli.fast_parser import answered

    if answered(arguments):
        return
    from tiffin.builder.cli.app import app

    app(prog_name="tiffin", standalone_mode=False)


def is_debug(arguments: Sequence[str]) -> bool:
    """Whether --debug is among the options before the command; what follows may be the command's own."""
    pending = list(arguments)
    while pending and pending[0].startswith("-"):
        option = pending.pop(0)
        if option in ("--debug", "-D"):
            return True
        if option in WITH_VALUES:
            del pending[:1]
    return False


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)


def _end_undisturbed() -> None:
    """Take no more signals, and remove what one left that came in the middle of a `finally`."""
    _ignore_signals()
    if "tiffin.cache.store.statedir" in sys.modules:
        from tiffin.cache.store.statedir import remove_scratches

        remove_scratches()


def _ignore_signals() -> None:
    for number in (*ENDING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _speak_utf8() -> None:
    """Begin again where the locale would have names of files and texts in another encoding (PEP 540)."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _open_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed, so that no file of ours becomes somebody's stdout."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _report(exc: BaseException) -> int:
    """Print an error on stderr, in one line where it fits one; the exit code."""
    from tiffin.builder.errors import TiffinError

    if "click" in sys.modules:
        code = _report_usage(exc)
        if code is not None:
            return code
    match exc:
        case SystemExit():
            return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else EXIT_FAILED
        case KeyboardInterrupt():
            _print("error: interrupted")
            return EXIT_INTERRUPTED
        case Ended():
            from signal import Signals

            _print(f"error: ended by {Signals(exc.number).name}")
            return EXIT_SIGNAL + exc.number
        case BrokenPipeError():
            return EXIT_FAILED
        case TiffinError():
            from tiffin.builder.cli.output.errors import told

            _print(told(exc, os.environ))
            return exc.exit_code
        case OSError():
            from tiffin.cache.foundation.files import disk_error

            _print(f"error: {disk_error(exc.filename or 'a file', exc)}")
        case MemoryError():
            _print("error: not enough memory; end other programs, or give this machine more")
        case _:
            _print(f"error: internal error ({type(exc).__name__}: {exc}); run again with tiffin --debug and report it")
            return EXIT_INTERNAL
    return EXIT_FAILED


def _report_usage(exc: BaseException) -> int | None:
    """Return the same for what click raises; None for anything else."""
    import click

    match exc:
        case click.Abort():
            _print("error: interrupted")
            return EXIT_INTERRUPTED
        case click.exceptions.Exit():
            return exc.exit_code
        case click.UsageError():
            where = exc.ctx.command_path if exc.ctx else "tiffin"
            _print(f"error: {exc.format_message().rstrip('.')}; see {where} --help")
            return exc.exit_code
        case click.ClickException():
            _print(f"error: {exc.format_message()}")
            return exc.exit_code
        case _:
            return None


def _print(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
    except OSError:
        return


def _flushed(code: int) -> int:
    """Return the exit code after all output is out: success cannot be claimed for output that was lost."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as exc:
            if not code and not isinstance(exc, BrokenPipeError) and stream is sys.stdout:
                _print(f"error: cannot write to stdout: {exc.strerror}; free some space, or redirect it elsewhere")
            code = code or EXIT_FAILED
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes again
    return code


if __name__ == "__main__":
    main()

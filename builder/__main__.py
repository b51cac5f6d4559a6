"""The program `tiffin`: run a command, tell its errors, give its exit code."""

from __future__ import annotations

import os
import sys

EXIT_INTERRUPTED = 130
EXIT_INTERNAL = 70  # sysexits.h: an internal software error


def main() -> None:
    """Entry point; never returns."""
    from builder.cli.app import app

    try:
        app(standalone_mode=False)
        code = 0
    except BaseException as exc:
        if "--debug" in sys.argv and not isinstance(exc, SystemExit):
            import traceback

            traceback.print_exc()
        code = _tell(exc)
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 1
    sys.stderr.flush()
    os._exit(code) if code == EXIT_INTERRUPTED else sys.exit(code)


def _tell(exc: BaseException) -> int:
    """Print an error on stderr, in one line where it fits one; the exit code."""
    import click

    from builder.errors import TiffinError

    match exc:
        case SystemExit():
            return exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        case KeyboardInterrupt() | click.Abort():
            _print("error: interrupted")
            return EXIT_INTERRUPTED
        case click.exceptions.Exit():
            return exc.exit_code
        case click.ClickException():
            exc.show(sys.stderr)
            return exc.exit_code
        case BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        case TiffinError():
            from builder.cli.errors import describe

            _print(describe(exc))
            return exc.exit_code
        case OSError():
            from cache.files import disk_error

            _print(f"error: {disk_error(exc.filename or 'a file', exc)}")
            return 1
        case _:
            _print(f"error: internal error ({type(exc).__name__}: {exc}); run with --debug and report it")
            return EXIT_INTERNAL


def _print(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
    except OSError:
        return


if __name__ == "__main__":
    main()

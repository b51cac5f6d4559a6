"""A line for the user."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from tiffin.builder.errors import TiffinError, UsageError

EXIT_REFUSED = 1  # docker's, where its daemon refuses


def print_error(text: str) -> None:
    """Print a line on stderr: an error, a warning, what is not the result."""
    sys.stderr.write(f"{text}\n")


def warn(text: str) -> None:
    """Tell what stops nothing."""
    print_error(f"warning: {text}")


def print_result(text: str) -> None:
    """Print a line of the result on stdout."""
    sys.stdout.write(f"{text}\n")


def each(
    names: Sequence[str], do: Callable[[str], None], *, ignored: type[TiffinError] | tuple[type[TiffinError], ...] = ()
) -> None:
    """Do it for every name, also after one failed; print the errors one by one and raise the last one."""
    failure: TiffinError | None = None
    for name in names:
        try:
            do(name)
        except ignored:
            continue
        except TiffinError as exc:
            if failure is not None:
                print_error(f"error: {failure}")
            failure = exc
    if failure is not None:
        raise failure


def each_at_once(names: Sequence[str], do: Callable[[str], None]) -> None:
    """Do it for all names at the same time, as docker does; print those that are done, in their order.

    Errors as with `each`.
    """
    failures: dict[str, BaseException] = {}

    def attempt(name: str) -> None:
        try:
            do(name)
        except BaseException as exc:
            failures[name] = exc

    if len(names) > 1:
        from threading import Thread

        threads = [Thread(target=attempt, args=(name,)) for name in dict.fromkeys(names)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def tell(name: str) -> None:
        if len(names) == 1:
            do(name)
        elif name in failures:
            raise failures[name]
        print_result(name)

    each(names, tell)


@contextlib.contextmanager
def as_refused() -> Iterator[None]:
    """Have wrong values end the command as docker's does where it is the daemon that refuses them."""
    try:
        yield
    except UsageError as exc:
        exc.ends_with(EXIT_REFUSED)
        raise


def refuse_terminal(output: str, remedy: str = "use -o FILE") -> None:
    """Raise UsageError if an archive's `output` is "-", stdout, and that is a terminal, where it would do harm."""
    if output == "-" and sys.stdout.isatty():
        raise UsageError("refusing to write an archive to a terminal", remedy=remedy)


def confirm(force: bool, question: str) -> None:
    """Ask, unless forced.

    Ends the command where the answer is no, as docker ends; raises UsageError where there is no answer.
    """
    if force:
        return
    import click

    try:
        if not click.confirm(question, err=True):
            raise SystemExit(0)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        print_error("")  # ends the line of the question
        raise UsageError("aborted: no answer on stdin", remedy="use --force") from None

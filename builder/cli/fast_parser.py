"""Command lines that are read without click, which takes longer to import than Python to start.

It reads the rows that click's objects are made of. Where a line holds more (help, mistakes, what has to be refused), click reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from tiffin.cache.foundation.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.cli.options.option import Arguments, Option


def answered(arguments: Sequence[str]) -> bool:
    """Run the command if its line is simple; raises what it raises, SystemExit with the exit code of `run`."""
    root = os.environ.get("TIFFIN_ROOT") or None
    if len(arguments) > 2 and arguments[0] == "--root":
        root, arguments = arguments[1], arguments[2:]
    if not arguments:
        return False
    match arguments[0]:
        case "build":
            return _build(root, arguments[1:])
        case "run":
            return _run(root, arguments[1:])
        case _:
            return False


def _build(root: str | None, words: Sequence[str]) -> bool:
    from tiffin.builder.cli.options.build_arguments import BuildArguments

    given = parse(BuildArguments, words, os.environ)
    if given is None:
        return False
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.actions import build
    from tiffin.builder.cli.output.console import warn

    build(Session(root, warn), BuildArguments(given))
    return True


def _run(root: str | None, words: Sequence[str]) -> bool:
    from tiffin.builder.cli.options.run_arguments import RunArguments

    given = parse(RunArguments, words, os.environ)
    if given is None:
        return False
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.actions import run
    from tiffin.builder.cli.output.console import warn

    sys.exit(run(Session(root, warn), RunArguments(given)))


def parse(command: type[Arguments], words: Sequence[str], environ: Mapping[str, str]) -> dict[str, object] | None:
    """Return the values that a line gives, by field; None for a line that click has to read."""
    from tiffin.builder.cli.options.option import MANY

    options = {name: row for row in command.rows for name in row.names}
    offs = {row.off: row for row in command.rows if row.off}
    values: dict[str, object] = {}
    many: dict[str, list[str]] = {}
    pending = list(reversed(words))
    plain: list[str] = []
    while pending:
        word = pending.pop()
        if not word.startswith("-") or word == "-":
            plain.append(word)
            if command.ends_options:
                break
        elif word in offs:
            values[offs[word].field] = False
        elif not _option(word, options, values, many, pending):
            return None
    if len(plain) != 1:
        return None
    for row in command.rows:
        if not row.names:
            values[row.field] = plain[0] if row.kind != MANY else tuple(reversed(pending))
        elif row.variable and row.field not in values and environ.get(row.variable):
            return None  # click says what is wrong with a value from there
    return values | {name: tuple(texts) for name, texts in many.items()}


def _option(
    word: str,
    options: Mapping[str, Option],
    values: dict[str, object],
    many: dict[str, list[str]],
    pending: list[str],
) -> bool:
    """Take one option, with its value from `pending` if need be; False for one that is click's."""
    from tiffin.builder.cli.options.option import FLAG, MANY, NUMBER

    if word[1] != "-" and len(word) > 2:  # -it
        letters = [options.get(f"-{letter}") for letter in word[1:]]
        for row in letters:
            if row is None or row.kind != FLAG or row.refused:
                return False
            values[row.field] = True
        return True
    name, equals, text = word.partition("=")
    row = options.get(name)
    if row is None or row.refused or row.kind == NUMBER:
        return False
    if row.kind == FLAG:
        values[row.field] = True
        return not equals
    if row.bare and not equals:
        text = row.bare
    elif not equals:
        if not pending:
            return False
        text = pending.pop()
    if row.choices and text not in row.choices:
        return False
    if row.kind == MANY:
        many.setdefault(row.field, []).append(text)
    else:
        values[row.field] = text
    return True

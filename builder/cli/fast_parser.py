"""Command lines that are read without click, which takes longer to import than Python to start.

It reads the rows that click's objects are made of. Where a line holds more (help, mistakes, what has to be refused),
click reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.cli.options.option import Arguments, Option, Value


def answered(arguments: Sequence[str]) -> bool:
    """Run the command if its line is simple; raises what it raises, SystemExit with an exit code that it returns."""
    root = os.environ.get("TIFFIN_ROOT") or None
    if len(arguments) > 2 and arguments[0] == "--root":
        root, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0].startswith("-"):
        return False  # docker's own options are rare
    from tiffin.builder.cli.tree import command_of

    found = command_of(arguments)
    if found is None:
        return False
    command, words = found
    given = parse(command.arguments, words, os.environ)
    if given is None:
        return False
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.output.console import warn

    code = command.run(Session(root, warn), given)
    if code is not None:
        raise SystemExit(code)
    return True


def parse(command: type[Arguments], words: Sequence[str], environ: Mapping[str, str]) -> dict[str, Value] | None:
    """Return the values that a line gives, by field; None for a line that click has to read."""
    options = {name: row for row in command.rows for name in row.names}
    offs = {row.off: row for row in command.rows if row.off}
    values: dict[str, Value] = {}
    many: dict[str, list[str]] = {}
    pending = list(reversed(words))
    plain: list[str] = []
    while pending:
        word = pending.pop()
        if not word.startswith("-") or word == "-":
            plain.append(word)
            if command.ends_options:
                plain += reversed(pending)
                break
        elif word in offs:
            values[offs[word].field] = False
        elif not _option(word, options, values, many, pending):
            return None
    for row in command.rows:
        if row.variable and row.field not in values and environ.get(row.variable):
            return None  # click says what is wrong with a value from there
    if not _arguments(command, plain, values):
        return None
    return values | {name: tuple(texts) for name, texts in many.items()}


def _arguments(command: type[Arguments], plain: Sequence[str], values: dict[str, Value]) -> bool:
    """Give each argument its words; False where there are too few or too many."""
    from tiffin.builder.cli.options.option import Words

    rest = list(plain)
    for row in command.rows:
        if row.names:
            continue
        if row.is_needed and not rest:
            return False
        if isinstance(row, Words):
            values[row.field], rest = tuple(rest), []
        elif rest:
            text = rest.pop(0)
            if row.choices and text not in row.choices:
                return False
            values[row.field] = text
    return not rest


def _option(
    word: str,
    options: Mapping[str, Option],
    values: dict[str, Value],
    many: dict[str, list[str]],
    pending: list[str],
) -> bool:
    """Take one option, with its value from `pending` if need be; False for one that is click's."""
    from tiffin.builder.cli.options.option import Flag, Many, Number

    if word[1] != "-" and len(word) > 2:  # -it
        letters = [options.get(f"-{letter}") for letter in word[1:]]
        for letter in letters:
            if not isinstance(letter, Flag) or letter.is_refused:
                return False
            values[letter.field] = True
        return True
    name, equals, text = word.partition("=")
    row = options.get(name)
    if row is None or row.is_refused or isinstance(row, Number):
        return False
    if isinstance(row, Flag):
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
    if isinstance(row, Many):
        many.setdefault(row.field, []).append(text)
    else:
        values[row.field] = text
    return True

"""Command lines that are read without click, which takes longer to import than Python to start.

What a line may hold is in `options.fast_table`, made from click's own commands. Where it holds more (help, mistakes, options of
special types), click reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from tiffin.cache.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.cli.options.fast_line import Line


def answered(arguments: Sequence[str]) -> bool:
    """Run the command if its line is simple; raises what it raises, SystemExit with the exit code of `run`."""
    root = os.environ.get("TIFFIN_ROOT") or None
    if len(arguments) > 2 and arguments[0] == "--root":
        root, arguments = arguments[1], arguments[2:]
    if not arguments:
        return False
    options = parse(arguments[0], arguments[1:], os.environ)
    if options is None:
        return False
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.actions import build, run
    from tiffin.builder.cli.output.console import warn

    session = Session(root, warn)
    if arguments[0] == "build":
        build(session, options)
    else:
        sys.exit(run(session, options))
    return True


def parse(command: str, arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, object] | None:
    """The options by name as click would give them to the command; None for a line that click has to read."""
    from tiffin.builder.cli.options.fast_table import LINES

    line = LINES.get(command)
    if line is None or any(environ.get(name) for name in line.variables):
        return None
    values: dict[str, object] = dict(line.defaults)
    many: dict[str, list[str]] = {}
    pending = list(reversed(arguments))
    words: list[str] = []
    while pending:
        word = pending.pop()
        if not word.startswith("-") or word == "-":
            words.append(word)
            if line.further is not None:
                break
        elif not _option(word, line, values, many, pending):
            return None
    if len(words) != 1:
        return None
    values[line.argument] = words[0]
    if line.further is not None:
        values[line.further] = tuple(reversed(pending))
    return values | {name: tuple(texts) for name, texts in many.items()}


def _option(word: str, line: Line, values: dict[str, object], many: dict[str, list[str]], pending: list[str]) -> bool:
    """Take one option, with its value from `pending` if need be; False for one that is click's."""
    if word in line.flags:
        name, value = line.flags[word]
        values[name] = value
        return True
    if word[1] != "-" and len(word) > 2:  # -it
        letters = [f"-{letter}" for letter in word[1:]]
        if not all(letter in line.flags for letter in letters):
            return False
        values.update(line.flags[letter] for letter in letters)
        return True
    option, equals, text = word.partition("=")
    name = line.texts.get(option, "")
    if not name or not (equals or pending):
        return False
    if not equals:
        text = pending.pop()
    if name in line.choices and text not in line.choices[name]:
        return False
    if isinstance(line.defaults[name], tuple):
        many.setdefault(name, []).append(text)
    else:
        values[name] = text
    return True

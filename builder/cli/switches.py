"""Docker's way to write switches, `--pull=true` and `--pull=false`, which click's flags do not have."""

from __future__ import annotations

from collections.abc import Sequence

import click

VALUES = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}  # Go's strconv.ParseBool


def plain_switches(command: click.Command, args: Sequence[str]) -> list[str]:
    """`args` with `--switch=true` as `--switch` and without `--switch=false`, up to where options end."""
    options = {
        name: param
        for param in command.params
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }
    result: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        option = options.get(name)
        if word == "--" or (not word.startswith("-") and not command.allow_interspersed_args):
            return [*result, word, *rest]
        if option is not None and option.is_flag and equals and value.lower() in VALUES:
            result.extend([name] if VALUES[value.lower()] else [])
            continue
        result.append(word)
        if _takes_next(options, word) and rest:
            result.append(rest.pop(0))
    return result


def _takes_next(options: dict[str, click.Option], word: str) -> bool:
    """Whether the word after `word` is its value."""
    if word.startswith("--") or not word.startswith("-"):
        option = options.get(word)
        return option is not None and not option.is_flag and not option.count
    for index, letter in enumerate(word[1:], start=1):  # -qt NAME
        option = options.get(f"-{letter}")
        if option is None or not (option.is_flag or option.count):
            return option is not None and index == len(word) - 1
    return False

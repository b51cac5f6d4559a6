"""What a shell may offer for the last word of a line, from the rows of the commands; nothing is asked of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.cli import tree
from tiffin.builder.cli.options.command import Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Option, Words
from tiffin.builder.containers.container import Containers

FILES, DIRECTORIES = ":files", ":dirs"  # instead of words: the shell knows better
Candidate = tuple[str, str]  # the word and what it means


def candidates(words: Sequence[str]) -> list[Candidate]:
    """Return what may stand for the last of `words`, which follow the program's name."""
    *before, current = words or [""]
    path: tree.Path = ()
    command: Command | None = None
    root, count, pending = "", 0, list(before)
    while pending:
        word = pending.pop(0)
        arguments = command.arguments if command else _group_arguments(path)
        option = _option(arguments, word)
        if word.startswith("-") and word != "-":
            if option is None or not _takes_next(option) or "=" in word:
                continue
            if not pending:
                return _starting(_values(option), current)
            value = pending.pop(0)
            root = value if word == "--root" else root
        elif command is None:
            path = (*path, word)
            row = tree.find(path)
            if row is None:
                return []
            command = row if isinstance(row, Command) else None
        else:
            count += 1
            if command.arguments.ends_options:
                return [(FILES, "")]  # words of the container's command
    arguments = command.arguments if command else _group_arguments(path)
    name, equals, value = current.partition("=")
    option = _option(arguments, name)
    if equals and option is not None:
        found = _starting(_values(option), value)
        return [(word if word in (FILES, DIRECTORIES) else f"{name}={word}", text) for word, text in found]
    if current.startswith("-"):
        return _starting(_options(arguments, command), current)
    if command is None:
        return _starting(((name, row.about) for name, row in tree.members(path).items()), current)
    return _starting(_arguments(arguments, count, root or None), current)


def _group_arguments(path: tree.Path) -> type[Arguments]:
    """Return the options that may stand before the next word."""
    row = tree.find(path) if path else None
    return row.arguments if isinstance(row, Group) else Arguments if path else tree.ProgramArguments


def _option(arguments: type[Arguments], word: str) -> Option | None:
    name = word.partition("=")[0]
    return next((row for row in arguments.rows if row.names and name in (*row.names, row.off)), None)


def _takes_next(option: Option) -> bool:
    return not isinstance(option, Flag) and not option.bare


def _starting(found: Iterable[Candidate], current: str) -> list[Candidate]:
    return [(word, text) for word, text in found if word in (FILES, DIRECTORIES) or word.startswith(current)]


def _options(arguments: type[Arguments], command: Command | None) -> Iterator[Candidate]:
    for row in arguments.rows:
        for name in (*row.names, row.off):
            if name.startswith("--"):
                yield name, row.help
    if command is None or "--help" in command.help_options():
        yield "--help", "Show this message and exit."


def _values(option: Option) -> Iterator[Candidate]:
    if option.choices:
        yield from ((word, "") for word in option.choices)
    elif option.metavar in ("FILE", "DIR"):
        yield (DIRECTORIES if option.metavar == "DIR" else FILES), ""
    elif option.metavar == "TIER":
        from tiffin.builder.api.machine import TIERS

        yield from ((word, "") for word in TIERS)
    elif option.metavar.startswith("host|"):
        for word in option.metavar.split("|"):
            yield word.partition("[")[0], ""


def _arguments(arguments: type[Arguments], count: int, root: str | None) -> Iterator[Candidate]:
    places = [row for row in arguments.rows if not row.names]
    if not places or (count >= len(places) and not isinstance(places[-1], Words)):
        return
    place = places[min(count, len(places) - 1)]
    if place.choices:
        yield from ((word, "") for word in place.choices)
        return
    kinds = place.metavar.strip("[].").split("|")
    if "CONTAINER" in kinds:
        yield from _containers(root)
    if "IMAGE" in kinds or "NAME" in kinds:
        yield from _images(root)
    elif "CONTAINER" not in kinds:
        yield DIRECTORIES if kinds[0] in ("CONTEXT", "DIR") else FILES, ""


def _images(root: str | None) -> Iterator[Candidate]:
    session = _session(root)
    for image in session.store.images() if session is not None else ():
        for name in image.names:
            yield name.familiar, image.id.short


def _containers(root: str | None) -> Iterator[Candidate]:
    session = _session(root)
    for state in Containers(session.state).states() if session is not None else ():
        yield state.name, state.image


def _session(root: str | None) -> Session | None:
    """Return a session where there is a state directory: none is made for a completion."""
    session = Session(root)
    return session if session.has_state() else None

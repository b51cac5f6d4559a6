"""What a shell may offer for the last word of a line, from the commands' own options; nothing is asked of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.click_command import OptionalValue
from tiffin.builder.containers.container import Containers

FILES, DIRECTORIES = ":files", ":dirs"  # instead of words: the shell knows better
_CONTAINERS = ("CONTAINER",)
_IMAGES = ("IMAGE", "NAME")
Candidate = tuple[str, str]  # the word and what it means


def candidates(app: click.Group, words: Sequence[str]) -> list[Candidate]:
    """Return what may stand for the last of `words`, which follow the program's name."""
    *before, current = words or [""]
    command: click.Command = app
    context = click.Context(app, info_name="tiffin")
    root, count, pending = None, 0, list(before)
    while pending:
        word = pending.pop(0)
        option = _option(command, word)
        if word.startswith("-") and word != "-":
            if option is None or not _takes_next(option) or "=" in word:
                continue
            if not pending:
                return _starting(_values(option, root), current)
            value = pending.pop(0)
            root = value if word == "--root" else root
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return []
            command, context = found, click.Context(found, info_name=word, parent=context)
        else:
            count += 1
            if not command.context_settings.get("allow_interspersed_args", True):
                return [(FILES, "")]  # words of the container's command
    name, equals, value = current.partition("=")
    option = _option(command, name)
    if equals and option is not None:
        found_values = _starting(_values(option, root), value)
        return [(word if word in (FILES, DIRECTORIES) else f"{name}={word}", text) for word, text in found_values]
    if current.startswith("-"):
        return _starting(_options(command, context), current)
    if isinstance(command, click.Group):
        return _starting(_commands(command, context), current)
    return _starting(_arguments(command, count, root), current)


def _option(command: click.Command, word: str) -> click.Option | None:
    name = word.partition("=")[0]
    for param in command.params:
        if isinstance(param, click.Option) and name in (*param.opts, *param.secondary_opts):
            return param
    return None


def _takes_next(option: click.Option) -> bool:
    return not option.is_flag and not option.count and not isinstance(option, OptionalValue)


def _starting(found: Iterable[Candidate], current: str) -> list[Candidate]:
    return [(word, text) for word, text in found if word in (FILES, DIRECTORIES) or word.startswith(current)]


def _commands(group: click.Group, context: click.Context) -> Iterator[Candidate]:
    texts: dict[str, str] = getattr(group, "short_helps", dict)()
    for name in group.list_commands(context):
        command = None if name in texts else group.get_command(context, name)
        yield name, texts.get(name) or (command.get_short_help_str(limit=100) if command is not None else "")


def _options(command: click.Command, context: click.Context) -> Iterator[Candidate]:
    for param in command.get_params(context):
        if isinstance(param, click.Option) and not param.hidden:
            for name in (*param.opts, *param.secondary_opts):
                if name.startswith("--"):
                    yield name, param.help or ""


def _values(option: click.Option, root: str | None) -> Iterator[Candidate]:
    if isinstance(option.type, click.Choice):
        for word in option.type.choices:
            yield str(word), ""
    elif isinstance(option.type, click.Path) or option.metavar in ("FILE", "DIR"):
        yield (DIRECTORIES if option.metavar == "DIR" else FILES), ""
    elif option.name == "isolation":
        from tiffin.builder.api.machine import TIERS

        yield from ((word, "") for word in TIERS)
    elif option.metavar and option.metavar.startswith("host|"):
        for word in option.metavar.split("|"):
            yield word.partition("[")[0], ""


def _arguments(command: click.Command, count: int, root: str | None) -> Iterator[Candidate]:
    places = [param for param in command.params if isinstance(param, click.Argument)]
    if not places or (count >= len(places) and places[-1].nargs == 1):
        return
    place = places[min(count, len(places) - 1)]
    kind = (place.metavar or place.name or "").upper().strip("[].").removesuffix("S")
    if kind in _CONTAINERS or (kind == "NAME" and command.name == "inspect"):
        yield from _containers(root)
    if kind in _IMAGES:
        yield from _images(root)
    elif kind not in _CONTAINERS:
        yield DIRECTORIES if kind == "CONTEXT" else FILES, ""


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
    """A session where there is a state directory: none is made for a completion."""
    session = Session(root)
    return session if session.has_state() else None

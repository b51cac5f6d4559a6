"""Groups of commands, and the spellings of docker's flags that click does not know: --flag=false, -f=VALUE."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence

import click

from tiffin.builder.cli.options.click_command import OptionalValue
from tiffin.builder.options import switch

Commands = Mapping[str, tuple[str, str, str]]  # name: (module, name in it, short help)
END_OF_OPTIONS = "--"
_BACKGROUND = "containers run in the foreground, until their command ends"
_HOST_NETWORK = "there are no networks to manage; see --network of tiffin run"
NOT_THERE = {  # commands of docker: why they are not there
    **dict.fromkeys(
        (
            "attach", "commit", "cp", "create", "diff", "events", "exec", "kill", "logs", "pause", "port", "rename", "restart",
            "start", "stats", "stop", "top", "unpause", "update", "wait",
        ),
        _BACKGROUND,
    ),
    "bake": "call tiffin build for each target",
    "compose": _BACKGROUND,
    "context": "there is no daemon to choose",
    "import": "FROM scratch and ADD file.tar / in a Dockerfile do it",
    "imagetools": "several platforms are pushed by tiffin build --platform",
    "manifest": "several platforms are pushed by tiffin build --platform",
    "network": _HOST_NETWORK,
    "search": "ask the registry's own pages",
    "volume": "volumes are made by -v NAME:PATH of tiffin run",
}  # fmt: skip


class UnknownCommandError(click.UsageError):
    exit_code = 1  # Docker's


class Group(click.Group):
    """Without arguments it shows its help; `help COMMAND` is that of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help" and self.get_command(ctx, "help") is None:
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
            args = [*args[1:], "--help"]
        known = self.list_commands(ctx)
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UnknownCommandError(unknown_command(args[0], known), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            rest = plain_flags(command, rest, click.Context(command, info_name=name, parent=ctx))
        return name, command, rest


class LazyGroup(Group):
    """Imports a command when it is called."""

    def __init__(self, *args: object, lazy: Commands, hidden_names: Sequence[str] = (), **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # click's own
        self._lazy = lazy
        self._hidden_names = hidden_names  # aliases, which help does not list

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self._lazy if name not in self._hidden_names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, name, _ = self._lazy[cmd_name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def short_helps(self) -> dict[str, str]:
        """Return the short help of each command, none of which is imported for it."""
        return {name: text for name, (_, _, text) in self._lazy.items()}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._lazy[name][2]) for name in self.list_commands(ctx)])


def unknown_command(name: str, known: Sequence[str]) -> str:
    """What to say of a command that is not there: that it is docker's and why not, or what it is like."""
    if name in NOT_THERE:
        return f'"{name}" is not there yet: {NOT_THERE[name]}'
    from tiffin.builder.dockerfile.suggest import did_you_mean

    hint = did_you_mean(name, [*known, *NOT_THERE])
    return f'unknown command "{name}"' + (f"; {hint}" if hint else "")


def plain_flags(command: click.Command, arguments: Sequence[str], ctx: click.Context | None = None) -> list[str]:
    """`arguments` as click reads them: --flag=true and -f=true become --flag and -f, --flag=false undoes earlier ones, and
    -x=VALUE (pflag's; also at the end of a cluster) becomes -x VALUE. Raises UsageError for another value of a flag.
    """
    options = {
        name: option
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    goes_on = command.context_settings.get("allow_interspersed_args", command.allow_interspersed_args)
    result: list[tuple[str, click.Option | None]] = []
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        if word == END_OF_OPTIONS or not word.startswith("-") or word == "-":
            result.append((word, None))
            if word == END_OF_OPTIONS or not goes_on:
                break
            continue
        name, equals, _ = word.partition("=")
        for piece, option, value in _pieces(word, options):
            if isinstance(option, OptionalValue):
                result = [item for item in result if item[1] is not option]
                if value is None or value in option.words:
                    result.append((f"{piece}={option.bare if value is None else value}", option))
                elif _is_on(value, name, command, ctx):
                    result.append((f"{piece}={option.bare}", option))
                continue
            if option is not None and option.is_flag and value is not None:
                result = [item for item in result if item[1] is not option]
                if _is_on(value, name if equals else piece, command, ctx):
                    result.append((piece, option))
                elif option.secondary_opts:
                    result.append((option.secondary_opts[0], option))
                continue
            result.append((piece, option))
            if value is not None:
                result.append((value, None))
            elif option is not None and not option.is_flag and "=" not in piece and pending:
                result.append((pending.pop(0), None))
    return [text for text, _ in result] + pending


def _pieces(word: str, options: Mapping[str, click.Option]) -> Iterator[tuple[str, click.Option | None, str | None]]:
    """One word as (words for click, the option, its value where that has to be told apart)."""
    name, equals, value = word.partition("=")
    if word.startswith("--"):
        option = options.get(name)
        if isinstance(option, OptionalValue):
            yield name, option, value if equals else None
        elif equals and option is not None and option.is_flag:
            yield name, option, value
        else:
            yield word, option, None
        return
    for position in range(1, len(word)):
        letter = f"-{word[position]}"
        option = options.get(letter)
        rest = word[position + 1 :]
        if option is None:
            yield "-" + word[position:], None, None  # click says what is wrong with it
            return
        if rest.startswith("="):
            yield letter, option, rest[1:]
            return
        if not option.is_flag:
            yield letter, option, rest or None
            return
        yield letter, option, None


def _is_on(value: str, name: str, command: click.Command, ctx: click.Context | None) -> bool:
    try:
        return switch({"t": "true", "f": "false"}.get(value.lower(), value or "?"))
    except ValueError as exc:
        error = getattr(command, "usage_error", click.UsageError)
        raise error(f'{name}: "{value}" is neither true nor false', ctx) from exc

"""click's objects, made of the rows of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import FLAG, MANY, NUMBER, Arguments, Option

_NOTHING = {"", "no"}  # values of refused options that ask for what is so anyhow: --restart no
TIERS = "{tiers}"  # in the help of an option: the names of all
FURTHER = "Docker's options that change nothing here, or are refused"


class OptionalValue(click.Option):
    """An option that may come without its value; `groups.plain_flags` writes it out, as click would take the next word."""

    bare = ""
    words: Sequence[str] = ()  # its values


class RowsCommand(click.Command):
    """A command whose rows are `arguments`; `examples` stand below its help, options of docker's in a section of their own."""

    arguments: type[Arguments] = Arguments
    examples: Sequence[str] = ()
    usage_error = click.UsageError

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Give every failure of usage the exit code of `usage_error`."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            if type(exc) is self.usage_error or self.usage_error is click.UsageError:
                raise
            raise self.usage_error(exc.format_message(), exc.ctx) from exc

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then those without effect."""
        own: list[tuple[str, str]] = []
        further: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                (further if is_further(param) else own).append(record)
        for title, records in (("Options", own), (FURTHER, further)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def is_further(param: click.Parameter) -> bool:
    """Whether it is one of docker's that changes nothing here, or is refused."""
    return (getattr(param, "help", None) or "").startswith(("No effect", "Refused"))


def rows_command(
    name: str,
    arguments: type[Arguments],
    do: Callable[..., object],
    *,
    examples: Sequence[str] = (),
    help: str,
    usage_error: type[click.UsageError] = click.UsageError,
) -> RowsCommand:
    """Return click's command, which calls `do` with the session and the line."""

    @click.pass_obj
    def callback(session: Session, /, **given: object) -> None:
        do(session, arguments(given))

    taken = {option for row in arguments.rows for option in row.names}
    helps = [option for option in ("-h", "--help") if option not in taken]
    command = RowsCommand(
        name,
        params=[_parameter(row, usage_error) for row in arguments.rows],
        callback=callback,
        help=help,
        context_settings={"help_option_names": helps, "allow_interspersed_args": not arguments.ends_options},
    )
    command.arguments = arguments
    command.examples = examples
    command.usage_error = usage_error
    return command


def _parameter(row: Option, usage_error: type[click.UsageError]) -> click.Parameter:
    if not row.names:
        if row.kind == MANY:
            return click.Argument([row.field], nargs=-1, metavar=row.metavar, type=click.UNPROCESSED)
        return click.Argument([row.field], metavar=row.metavar)
    details: dict[str, Any] = {"help": _help(row), "default": row.default}
    if row.refused:
        details |= {"callback": _refuse(row, usage_error), "expose_value": False}
    if row.kind == FLAG:
        names = [f"{row.names[0]}/{row.off}"] if row.off else list(row.names)
        return click.Option([*names, row.field], is_flag=True, **details)
    details["metavar"] = row.metavar or None
    if row.choices:
        details["type"] = click.Choice(row.choices)
    elif row.kind == NUMBER:
        details["type"] = int
    if row.kind == MANY:
        return click.Option([*row.names, row.field], multiple=True, **details)
    if row.variable:
        details["envvar"] = row.variable
    if row.bare:
        option = OptionalValue([*row.names, row.field], **{**details, "default": None, "callback": _or_empty})
        option.bare = row.bare
        option.words = row.choices
        return option
    return click.Option([*row.names, row.field], **details)


def _help(row: Option) -> str:
    if TIERS not in row.help:
        return row.help
    from tiffin.builder.api import machine

    return row.help.replace(TIERS, ", ".join(machine.TIERS))


def _or_empty(_: click.Context, __: click.Parameter, value: str | None) -> str:
    return value or ""


def _refuse(
    row: Option, usage_error: type[click.UsageError]
) -> Callable[[click.Context, click.Parameter, object], None]:
    def refuse(ctx: click.Context, _: click.Parameter, value: object) -> None:
        if value is True or (isinstance(value, tuple) and set(value) - _NOTHING):
            raise usage_error(f"{row.names[-1]} is not supported: {row.refused}", ctx)

    return refuse


_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_options(arguments: type[Arguments]) -> Callable[[_Function], _Function]:
    """Add the options of `arguments` to a command that click's decorators make; it gets them by name."""

    def decorate(function: _Function) -> _Function:
        for row in reversed(arguments.rows):
            params: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
            params.append(_parameter(row, click.UsageError))
        return function

    return decorate


def registry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of registries; the command gets them as one value, `registry`."""
    names = [row.field for row in RegistryArguments.rows]

    @wraps(command)
    def called(*args: object, **given: object) -> object:
        line = RegistryArguments({name: given.pop(name) for name in names})
        return command(*args, registry=line.registry_access(), **given)

    return with_options(RegistryArguments)(called)

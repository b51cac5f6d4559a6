"""click's objects, made of the rows of a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.command import EXIT_OF_CONTAINERS, EXIT_USAGE, Command
from tiffin.builder.cli.options.option import DONE, FURTHER, Flag, Many, Number, Option, Value, Words
from tiffin.builder.cli.options.spellings import plain_flags


class ContainerUsageError(click.UsageError):
    """A wrong line of a command of containers."""

    exit_code = EXIT_OF_CONTAINERS


class RowOption(click.Option):
    """An option that help shows as its row says."""

    row: Option

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return how it is written and what it does."""
        return self.row.spelling(), self.row.help


class RowsCommand(click.Command):
    """A command made of `row`: examples stand below its help, options of docker's without effect in a section of their
    own.
    """

    def __init__(self, row: Command) -> None:
        super().__init__(
            row.words[-1],
            params=[parameter(option) for option in row.arguments.rows],
            callback=_callback(row),
            help=row.help,
            hidden=row.is_hidden,
            context_settings={
                "help_option_names": row.help_options(),
                "allow_interspersed_args": not row.arguments.ends_options,
            },
        )
        self.row = row

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read a line; give every failure of usage the exit code of the command."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            is_unknown = isinstance(exc, click.NoSuchOption) and self.row.usage_code == EXIT_USAGE
            if (self.row.unknown_option_code if is_unknown else self.row.usage_code) == EXIT_USAGE:
                raise
            raise ContainerUsageError(exc.format_message(), exc.ctx) from exc

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of a line, docker's spellings too."""
        try:
            words = plain_flags(self.row.arguments, args)
        except ValueError as exc:
            raise click.UsageError(str(exc), ctx) from exc
        return super().parse_args(ctx, words)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then those without effect."""
        options = [option for option in self.row.arguments.rows if option.names]
        own = [(option.spelling(), option.help) for option in options if option.effect == DONE]
        further = [(option.spelling(), option.help) for option in options if option.effect != DONE]
        own.append((", ".join(self.row.help_options()), "Show this message and exit."))
        for title, records in (("Options", own), (FURTHER, further)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.row.examples:
            with formatter.section("Examples"):
                for line in self.row.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _callback(row: Command) -> Callable[..., None]:
    @click.pass_context
    def callback(ctx: click.Context, /, **given: Value) -> None:
        session: Session = ctx.obj
        outer = ctx.parent.params if ctx.parent is not None and ctx.parent.parent is not None else {}
        code = row.run(session, {**given, "outer": outer} if outer else given)
        if code is not None:
            raise SystemExit(code)

    return callback


def parameter(row: Option) -> click.Parameter:
    """Return click's object for an option or an argument."""
    if not row.names:
        if isinstance(row, Words):
            return click.Argument(
                [row.field], nargs=-1, metavar=row.metavar, type=click.UNPROCESSED, required=row.is_needed
            )
        default: dict[str, Any] = {} if row.is_needed else {"default": row.default}
        return click.Argument([row.field], metavar=row.metavar, required=row.is_needed, type=_type(row), **default)
    details: dict[str, Any] = {"help": row.help, "default": row.default, "type": _type(row)}
    if row.is_refused:
        details |= {"callback": _refuse(row), "expose_value": False}
    if isinstance(row, Flag):
        details |= {"is_flag": True, "type": None}
    elif isinstance(row, Many):
        details["multiple"] = True
    elif isinstance(row, Number) or row.choices:  # click would refuse a default that says that none is given
        details |= {"default": None, "callback": lambda _, __, value: row.default if value is None else value}
    *names, last = row.names
    names.append(f"{last}/{row.off}" if row.off else last)
    option = RowOption([*names, row.field], envvar=row.variable or None, **details)
    option.row = row
    return option


def _type(row: Option) -> click.ParamType[Any] | None:
    if isinstance(row, Number):
        return click.IntRange(min=row.minimum)
    return click.Choice(row.choices) if row.choices else None


def _refuse(row: Option) -> Callable[[click.Context, click.Parameter, Value], None]:
    allowed = set(row.allowed) if isinstance(row, Many) else set()

    def refuse(ctx: click.Context, _: click.Parameter, value: Value) -> None:
        if value is True or (isinstance(value, tuple) and set(value) - allowed):
            raise click.UsageError(f"{row.names[-1]} is not supported: {row.why}", ctx)

    return refuse

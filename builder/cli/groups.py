"""Groups of commands as click has them, and what is said of commands that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tiffin.builder.cli import tree
from tiffin.builder.cli.options.click_command import RowsCommand, parameter
from tiffin.builder.cli.options.command import Command, Group

_BACKGROUND = "containers run in the foreground, until their command ends"
_HOST_NETWORK = "networks are not managed; see --network of tiffin run"
NOT_THERE = {  # commands of docker: why they are not there
    **dict.fromkeys(
        (
            "port",
        ),
        _BACKGROUND,
    ),
    **dict.fromkeys(("mount", "unmount", "umount"), "tiffin cp reads and writes the files of any container"),
    "history open": "tiffin report REF writes a page about a build",
    "history trace": "tiffin report REF shows the times, and OTEL_EXPORTER_OTLP_ENDPOINT sends spans of a build",
    "imagetools": "several platforms are pushed by tiffin build --platform",
    "manifest": "several platforms are pushed by tiffin build --platform",
    "network": _HOST_NETWORK,
    "pod create": "put containers on one network, or use --network container:NAME",
    "search": "ask the registry's own pages",
    "volume": "volumes are made by -v NAME:PATH of tiffin run",
}  # fmt: skip


class UnknownCommandError(click.UsageError):
    exit_code = 1  # Docker's


class RowsGroup(click.Group):
    """A group by its words. Without arguments it shows its help; `help COMMAND` is that of a command."""

    def __init__(self, words: tree.Path, name: str, **details: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **details)
        self.words = words

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words before a command."""
        if not args:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises UnknownCommandError."""
        args = list(tree.spelled_out(args)) if not self.words else args
        if args[0] == "help":
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
            args = [*args[1:], "--help"]
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UnknownCommandError(unknown_command(args[0], self.list_commands(ctx), self.words), ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names that help lists."""
        return list(tree.members(self.words))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command or the group of that name."""
        words = (*self.words, cmd_name)
        row = tree.find(words)
        if isinstance(row, Command):
            return RowsCommand(row)
        if row is None:
            return None
        params = [parameter(option) for option in row.arguments.rows] if isinstance(row, Group) else []
        return RowsGroup(words, cmd_name, help=row.help, hidden=row.is_hidden, params=params)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the group holds, the program's commands in sections."""
        listed = {name: row.about for name, row in tree.members(self.words).items()}
        for title, commands in [("Commands", listed)] if self.words else tree.sections():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def unknown_command(name: str, known: Sequence[str], group: Sequence[str] = ()) -> str:
    """Say of a command that is not there: that it is docker's and why not, or what it is like."""
    for words in (" ".join((*group, name)), " ".join((*group[-1:], name)), name):
        if words in NOT_THERE:
            return f'"{words}" is not there yet: {NOT_THERE[words]}'
    from tiffin.builder.dockerfile.suggest import did_you_mean

    hint = did_you_mean(name, [*known, *NOT_THERE])
    return f'unknown command "{name}"' + (f"; {hint}" if hint else "")

"""Groups of commands as click has them, and what is said of commands that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tiffin.builder.cli import tree
from tiffin.builder.cli.options.click_command import RowsCommand, parameter
from tiffin.builder.cli.options.command import Command, Group

_FILES = "tiffin cp reads and writes the files of any container, tiffin export those of all"
_ONE_MACHINE = "containers run on this machine alone"
_NO_DAEMON = "there is no daemon"
_CHECKPOINTS = "processes are not saved; tiffin commit keeps the files of a container"
_SECRETS = "secrets are files: --secret of tiffin build, secrets of a compose file"
_SIGNATURES = "tiffin sign, verify and policy are for signatures"
NOT_THERE = {  # commands of docker and podman, or groups of them: why they are not there
    **dict.fromkeys(("mount", "unmount", "umount"), _FILES),
    **dict.fromkeys(("node", "service", "stack", "swarm"), _ONE_MACHINE),
    **dict.fromkeys(("machine", "system connection"), _ONE_MACHINE),
    **dict.fromkeys(("context create", "context export", "context import", "context rm"), _ONE_MACHINE),
    **dict.fromkeys(("context update", "image scp"), _ONE_MACHINE),
    **dict.fromkeys(("plugin", "system migrate", "system renumber", "system service"), _NO_DAEMON),
    **dict.fromkeys(("checkpoint", "restore"), _CHECKPOINTS),
    **dict.fromkeys(("config", "secret"), _SECRETS),
    **dict.fromkeys(("image sign", "image trust", "trust"), _SIGNATURES),
    "auto-update": "tiffin pull, and then tiffin compose up, begin what is newer",
    "container cleanup": "nothing is left when a container ends; tiffin rm removes it",
    "container clone": "tiffin commit makes an image of a container, and tiffin run another one",
    "container runlabel": "tiffin inspect shows the labels of an image",
    "generate": "a compose file says what runs",
    "healthcheck": "the supervisor of a container runs its checks; tiffin inspect shows them",
    "history open": "tiffin report REF writes a page about a build",
    "history trace": "tiffin report REF shows the times, and OTEL_EXPORTER_OTLP_ENDPOINT sends spans of a build",
    "image diff": "tiffin diff IMAGE IMAGE shows what differs between two images",
    "image tree": "tiffin history shows the layers of an image, tiffin explore what is in them",
    "init": "tiffin create makes a container, and tiffin start starts it",
    "kube": "a compose file says what runs",
    "manifest add": "tiffin manifest create LIST IMAGE... takes all of them",
    "manifest exists": "tiffin manifest inspect tells by its exit code",
    "manifest remove": "tiffin manifest create LIST IMAGE... makes it anew",
    "network reload": "networks need no firewall; tiffin network disconnect and connect attach a container anew",
    "pod": "put containers on one network, or use --network container:NAME",
    "search": "ask the registry's own pages",
    "unshare": "tiffin cp and export know the owners of a container's files",
    "untag": "tiffin rmi NAME removes a name of an image that has others",
    "volume export": "tiffin run --rm -v NAME:/of IMAGE tar -C /of -c . writes the files of a volume",
    "volume import": "tiffin run --rm -i -v NAME:/of IMAGE tar -C /of -x reads files into a volume",
    "volume reload": "there is one driver of volumes, local",
    "volume update": "only volumes of a cluster can be changed",
}


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
    for words in (" ".join((*group, name)), " ".join((*group[-1:], name)), name, " ".join(group)):
        if words in NOT_THERE:
            return f'"{" ".join((*group, name))}" is not there: {NOT_THERE[words]}'
    from tiffin.builder.dockerfile.suggest import did_you_mean

    hint = did_you_mean(name, list(known))
    return f'unknown command "{name}"' + (f"; {hint}" if hint else "")

"""The program as click sees it. A command is imported to run."""

from __future__ import annotations

import click

from tiffin.builder.cli.fast_help import ABOUT, COMMANDS
from tiffin.builder.cli.groups import LazyGroup
from tiffin.builder.version import told_version, version_text

MANAGEMENT = {  # docker's other names of the same commands
    "image": ("tiffin.builder.cli.commands.management", "image", ""),
    "container": ("tiffin.builder.cli.commands.management", "container", ""),
    "builder": ("tiffin.builder.cli.commands.management", "builder", ""),
    "buildx": ("tiffin.builder.cli.commands.management", "buildx", ""),
}
HIDDEN = {"__complete": ("tiffin.builder.cli.commands.completion", "complete_command", "")}  # for shells
LAZY = {name: (module, "command", text) for name, (module, text) in COMMANDS.items()} | MANAGEMENT | HIDDEN


@click.group(
    help=ABOUT,
    cls=LazyGroup,
    lazy=LAZY,
    hidden_names=(*MANAGEMENT, *HIDDEN),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--root", metavar="DIR", envvar="TIFFIN_ROOT", help="State directory.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(told_version(), "-v", "--version", message=version_text())
@click.pass_context
def app(ctx: click.Context, root: str | None, debug: bool) -> None:
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.output.console import warn

    make = ctx.obj or Session  # another kind of session: for tests
    ctx.obj = make(root, warn)

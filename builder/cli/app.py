"""The commands by name. `tiffin --help` imports click and nothing else that is not ours; a command is imported to run."""

from __future__ import annotations

import importlib

import click

from builder.version import VERSION

COMMANDS = {  # name: (module, short help)
    "build": ("builder.cli.build", "Build an image from a Dockerfile."),
    "run": ("builder.cli.run", "Run a command in a new container."),
    "ps": ("builder.cli.ps", "List containers."),
    "rm": ("builder.cli.rm", "Remove containers."),
    "pull": ("builder.cli.pull", "Download an image from a registry."),
    "push": ("builder.cli.push", "Upload an image to a registry."),
    "images": ("builder.cli.images", "List images."),
    "tag": ("builder.cli.tag", "Give an image another name."),
    "rmi": ("builder.cli.rmi", "Remove images."),
    "inspect": ("builder.cli.inspect", "Show what images are, as JSON."),
    "history": ("builder.cli.history", "Show how an image was made."),
    "save": ("builder.cli.save", "Save images to an archive."),
    "load": ("builder.cli.load", "Load images from an archive."),
    "login": ("builder.cli.login", "Log in to a registry."),
    "logout": ("builder.cli.logout", "Log out from a registry."),
    "info": ("builder.cli.info", "Show what tiffin found on this machine."),
    "version": ("builder.cli.version", "Show the version."),
    "cache": ("builder.cli.cache", "What the build cache holds, and sharing it."),
    "system": ("builder.cli.system", "Disk usage, prune, reset."),
}


class LazyGroup(click.Group):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from builder.dockerfile.suggest import did_you_mean

            hint = did_you_mean(args[0], list(COMMANDS))
            raise click.UsageError(f'unknown command "{args[0]}"' + (f"; {hint}" if hint else ""), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and any("=" in word for word in rest):
            from builder.cli.switches import plain_switches

            rest = plain_switches(command, rest)
        return name, command, rest


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--root", metavar="DIR", envvar="TIFFIN_ROOT", help="State directory.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(VERSION, "-v", "--version", prog_name="tiffin", message="%(prog)s version %(version)s")
@click.pass_context
def app(ctx: click.Context, root: str | None, debug: bool) -> None:
    """Build, move and run container images: no daemon, no root."""
    from builder.cli.session import Session

    ctx.obj = Session(root)

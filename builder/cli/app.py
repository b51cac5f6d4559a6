"""The commands by name. `tiffin --help` imports click and nothing else that is not ours; a command is imported to run."""

from __future__ import annotations

import click

from builder.cli.groups import LazyGroup
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
MANAGEMENT = {  # docker's other names of the same commands
    "image": ("builder.cli.management", "image", ""),
    "container": ("builder.cli.management", "container", ""),
    "builder": ("builder.cli.management", "builder", ""),
    "buildx": ("builder.cli.management", "buildx", ""),
}
LAZY = {name: (module, "command", text) for name, (module, text) in COMMANDS.items()} | MANAGEMENT


@click.group(
    cls=LazyGroup, lazy=LAZY, hidden_names=tuple(MANAGEMENT), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--root", metavar="DIR", envvar="TIFFIN_ROOT", help="State directory.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(VERSION, "-v", "--version", prog_name="tiffin", message="%(prog)s version %(version)s")
@click.pass_context
def app(ctx: click.Context, root: str | None, debug: bool) -> None:
    """Build, move and run container images: no daemon, no root."""
    from builder.cli.session import Session

    ctx.obj = Session(root)

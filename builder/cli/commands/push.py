"""tiffin push."""

from __future__ import annotations

import click

from tiffin.builder.api import images
from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.click_command import registry_options, with_options
from tiffin.builder.cli.options.common import ProgressArguments
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.settings.access import RegistryAccess


@click.command("push")
@click.argument("image")
@click.argument("destination", required=False)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@with_options(ProgressArguments)
@registry_options
@click.pass_obj
def command(
    session: Session, /, image: str, destination: str | None, quiet: bool, progress: str, registry: RegistryAccess
) -> None:
    """Upload IMAGE under its name, or under DESTINATION."""
    with make_renderer(quiet_if(quiet, progress)) as sink:
        pushed = images.push(image, destination or "", session, sink, registry)
    click.echo(f"{pushed.reference.name}@{pushed.digest}")

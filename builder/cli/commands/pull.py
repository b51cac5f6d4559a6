"""tiffin pull."""

from __future__ import annotations

import click

from tiffin.builder.api import images
from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.click_command import registry_options, with_options
from tiffin.builder.cli.options.common import ProgressArguments
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.access import RegistryAccess


@click.command("pull")
@click.argument("image")
@click.option("--platform", metavar="OS/ARCH", help="Platform to pull (default: this machine's).")
@click.option("-q", "--quiet", is_flag=True, help="Print the name only.")
@with_options(ProgressArguments)
@registry_options
@click.pass_obj
def command(
    session: Session, /, image: str, platform: str | None, quiet: bool, progress: str, registry: RegistryAccess
) -> None:
    """Download IMAGE with all its layers."""
    wanted = Platform.parse(platform) if platform else None
    with make_renderer(quiet_if(quiet, progress)) as sink:
        pulled = images.pull(image, session, sink, registry, wanted)
    if not quiet:
        click.echo(f"Digest: {pulled.digest}", err=True)
    click.echo(str(pulled.reference))

"""tiffin pull."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.common import progress_option, registry_options
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.events import Warned
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform


@click.command("pull")
@click.argument("image")
@click.option("--platform", metavar="OS/ARCH", help="Platform to pull (default: this machine's).")
@click.option("-q", "--quiet", is_flag=True, help="Print the name only.")
@progress_option
@registry_options
@click.pass_obj
def command(
    session: Session,
    /,
    image: str,
    platform: str | None,
    quiet: bool,
    progress: str,
    cert: str | None,
    insecure: tuple[str, ...],
) -> None:
    """Download IMAGE with all its layers."""
    wanted = Platform.parse(platform) if platform else Platform.local()
    with make_renderer(quiet_if(quiet, progress)) as sink:
        remote = session.remote(sink, insecure, cert)
        reference = Reference.parse(remote.alias(image))
        pulled = remote.pull(reference, wanted)
        actual = pulled.config.platform
        if platform and (actual.os, actual.architecture) != (wanted.os, wanted.architecture):
            sink.emit(Warned(message=f"{reference} is for {actual}, not for {wanted}"))
    if not quiet:
        click.echo(f"Digest: {remote.told_digest(reference, wanted, pulled)}", err=True)
    click.echo(str(reference))

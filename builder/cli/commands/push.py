"""tiffin push."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.common import progress_option, registry_options
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.oci.reference import Reference


@click.command("push")
@click.argument("image")
@click.argument("destination", required=False)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@progress_option
@registry_options
@click.pass_obj
def command(
    session: Session,
    /,
    image: str,
    destination: str | None,
    quiet: bool,
    progress: str,
    cert: str | None,
    insecure: tuple[str, ...],
) -> None:
    """Upload IMAGE under its name, or under DESTINATION."""
    found = session.store.find(image)
    reference = Reference.parse(destination or image)
    several = session.store.index_of(image)
    with make_renderer(quiet_if(quiet, progress)) as sink:
        remote = session.remote(sink, insecure, cert)
        digest = remote.push_index(several[1], several[0], reference) if several else remote.push(found, reference)
    click.echo(f"{reference.name}@{digest}")

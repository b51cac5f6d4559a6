"""tiffin version."""

from __future__ import annotations

import click

from builder.cli.front import VERSION_TEXT
from builder.version import VERSION


@click.command("version")
@click.option("-f", "--format", "form", metavar="json|TEMPLATE", help="Go template, such as {{.Client.Version}}.")
def command(form: str | None) -> None:
    """Show the version."""
    if form is None:
        click.echo(VERSION_TEXT)
        return
    from builder.cli.template import Template
    from builder.oci.spec import Platform

    system, _, architecture = str(Platform.local()).partition("/")
    half = {"Version": VERSION, "Os": system, "Arch": architecture}
    document = {"Client": half, "Server": half}  # there is no daemon: one program is both
    click.echo(Template("{{json .}}" if form == "json" else form).render(document))

"""tiffin version."""

from __future__ import annotations

import click

from tiffin.builder.cli.fast_help import VERSION_TEXT
from tiffin.builder.version import told_version

API_VERSION = "1.41"  # docker's, of the version whose commands these are; what programs ask for at least


@click.command("version")
@click.option("-f", "--format", "form", metavar="json|TEMPLATE", help="Go template, such as {{.Client.Version}}.")
def command(form: str | None) -> None:
    """Show the version."""
    if form is None:
        click.echo(VERSION_TEXT)
        return
    import platform

    from tiffin.builder.cli.output.template import Template
    from tiffin.builder.oci.spec import Platform

    system, _, architecture = str(Platform.local()).partition("/")
    version = told_version()
    both = {"Version": version, "ApiVersion": API_VERSION, "GitCommit": "", "Os": system, "Arch": architecture}
    engine = {
        "Name": "Engine",
        "Version": version,
        "Details": {"ApiVersion": API_VERSION, "MinAPIVersion": API_VERSION},
    }
    document = {  # there is no daemon: one program is both
        "Client": {**both, "DefaultAPIVersion": API_VERSION, "Context": "default"},
        "Server": {
            "Platform": {"Name": "tiffin"},
            "Components": [engine],
            **both,
            "MinAPIVersion": API_VERSION,
            "KernelVersion": platform.release(),
            "Experimental": False,
        },
    }
    click.echo(Template("{{json .}}" if form == "json" else form).render(document))

"""tiffin info."""

from __future__ import annotations

import json
import os
import platform

import click

from builder.cli.session import Session
from builder.oci.spec import Platform
from builder.version import VERSION


@click.command("info")
@click.option("-f", "--format", "form", default="text", metavar="text|json|TEMPLATE", help="Go template.")
@click.pass_obj
def command(session: Session, /, form: str) -> None:
    """Show where things are, and which isolation this machine allows and why not more."""
    from builder.sandbox import tiers

    reports = tiers.probe()
    chosen = next((report.name for report in reports if report.usable), "none")
    if form != "text":
        document: dict[str, object] = {
            "version": VERSION,
            "root": str(session.state.root),
            "platform": str(Platform.local()),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "uid": os.getuid(),
            "isolation": chosen,
            "ServerVersion": VERSION,  # docker's names for what scripts ask it
            "OSType": Platform.local().os,
            "Architecture": platform.machine(),
            "NCPU": os.cpu_count(),
            "DockerRootDir": str(session.state.root),
            "tiers": [{"name": r.name, "usable": r.usable, "reason": r.reason, "remedy": r.remedy} for r in reports],
        }
        if form == "json":
            click.echo(json.dumps(document, indent=2))
            return
        from builder.cli.template import Template

        click.echo(Template(form).render(document))
        return
    click.echo(f"version:    {VERSION}")
    click.echo(f"root:       {session.state.root}")
    click.echo(f"platform:   {Platform.local()}")
    click.echo(f"kernel:     {platform.release()}")
    click.echo(f"python:     {platform.python_version()}")
    click.echo(f"uid:        {os.getuid()}")
    click.echo(f"isolation:  {chosen}")
    for report in reports:
        state = "works" if report.usable else f"no: {report.reason}" + (f"; {report.remedy}" if report.remedy else "")
        click.echo(f"  {report.name:<8}  {state}")

"""tiffin info."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING

import click

from tiffin.builder.api.session import Session
from tiffin.builder.oci.spec import Platform
from tiffin.builder.version import VERSION

if TYPE_CHECKING:
    from tiffin.builder.api.machine import TierReport


@click.command("info")
@click.option("-f", "--format", "form", default="text", metavar="text|json|TEMPLATE", help="Go template.")
@click.pass_obj
def command(session: Session, /, form: str) -> None:
    """Show where things are, and which isolation this machine allows and why not more."""
    from tiffin.builder.api.machine import look

    machine = look(session)
    about = {
        "version": VERSION,
        "root": str(session.state.root),
        "platform": str(Platform.local()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uid": os.getuid(),
        "isolation": machine.chosen,
    }
    if form != "text":
        tier_list = [
            {
                "name": report.name,
                "usable": report.usable,
                "reason": report.reason,
                "remedy": report.remedy,
                "limits": report.limits(),
            }
            for report in machine.reports
        ]
        lift_list = [{"what": lift.what, "text": lift.text} for lift in machine.lifts]
        from tiffin.builder.cli.commands.docker_info import docker_info

        document = {**about, **docker_info(session, machine), "tiers": tier_list, "lifts": lift_list}
        if form == "json":
            click.echo(json.dumps(document, indent=2))
            return
        from tiffin.builder.cli.output.template import Template

        click.echo(Template(form).render(document))
        return
    for name, value in about.items():
        click.echo(f"{name + ':':<11} {value}")
    for report in machine.reports:
        click.echo(f"  {report.name:<8}  {_state(report)}")
        for limit in report.limits():
            click.echo(f"  {'':<8}  but {limit}")
    for lift in machine.lifts:
        click.echo(f"\n{lift.what}:")
        for line in lift.text.splitlines():
            click.echo(f"    {line}")


def _state(report: TierReport) -> str:
    if not report.usable:
        return f"no: {report.reason}" + (f"; {report.remedy}" if report.remedy else "")
    return f"works{': ' + report.reason if report.reason else ''}"

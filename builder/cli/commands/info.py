"""tiffin info."""

from __future__ import annotations

import os

from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.options.option import Arguments, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.version import VERSION, called_name
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiffin.builder.api.machine import Machine, TierReport
    from tiffin.builder.api.session import Session

SERVER = {
    "Server Version": "ServerVersion",
    "Storage Driver": "Driver",
    "Cgroup Driver": "CgroupDriver",
    "Cgroup Version": "CgroupVersion",
    "Operating System": "OperatingSystem",
    "Architecture": "Architecture",
    "CPUs": "NCPU",
    "Docker Root Dir": "DockerRootDir",
}


class InfoArguments(Arguments):
    """What may stand on the line."""

    form = Text("-f", "--format", metavar="text|json|TEMPLATE", default="text", help="Go template.")


def info(session: Session, line: InfoArguments) -> None:
    """Print what is known of this machine."""
    import platform

    from tiffin.builder.api.machine import look
    from tiffin.builder.cli.output.docker_info import docker_info
    from tiffin.builder.oci.spec import Platform

    machine = look(session)
    about: dict[str, object] = {
        "version": VERSION,
        "root": str(session.state.root),
        "platform": str(Platform.local()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uid": os.getuid(),
        "isolation": machine.chosen,
    }
    if line.form != "text":
        _print_document(machine, {**about, **docker_info(session, machine)}, line.form)
        return
    if called_name() == "docker":
        _print_server(docker_info(session, machine))
    for name, value in about.items():
        print_result(f"{name + ':':<11} {value}")
    for report in machine.reports:
        print_result(f"  {report.name:<8}  {_state(report)}")
        for limit in report.limits():
            print_result(f"  {'':<8}  but {limit}")
    for item in machine.advice:
        print_result(f"\n{item.what}:")
        for text in item.text.splitlines():
            print_result(f"    {text}")


def _print_server(known: Mapping[str, object]) -> None:
    """Print the lines of docker's text that jobs look for."""
    print_result("Server:")
    for title, name in SERVER.items():
        print_result(f" {title}: {known[name]}")


def _print_document(machine: Machine, about: Mapping[str, object], form: str) -> None:
    import json

    from tiffin.builder.cli.output.template import Template

    tiers = [
        {
            "name": report.name,
            "usable": report.usable,
            "reason": report.reason,
            "remedy": report.remedy,
            "limits": report.limits(),
        }
        for report in machine.reports
    ]
    advice = [{"what": item.what, "text": item.text} for item in machine.advice]
    document = {**about, "tiers": tiers, "lifts": advice}
    print_result(json.dumps(document, indent=2) if form == "json" else Template(form).render(document))


def _state(report: TierReport) -> str:
    if not report.usable:
        return f"no: {report.reason}" + (f"; {report.remedy}" if report.remedy else "")
    return f"works{': ' + report.reason if report.reason else ''}"


COMMANDS = (
    Command(
        "info",
        InfoArguments,
        info,
        about="Show the isolation tiers and paths of this machine.",
        help="Show paths, and which isolation tiers work here, and why others do not.",
        examples=("tiffin info", "tiffin info -f '{{.isolation}}'"),
        aliases=("system info",),
    ),
)

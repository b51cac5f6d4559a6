"""tiffin compose ps, ls, port, images, top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.builder.cli.commands.compose_life import chosen
from tiffin.builder.cli.commands.ps import HEADINGS, container_row
from tiffin.builder.cli.compose.arguments import OnProject, OnServices, whole_number
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag, Many, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import JSON, filters_of, print_table, show_rows
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.compose.members import Member
    from tiffin.builder.api.session import Session

COLUMNS = ("Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports")
STATUSES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")


class PsArguments(OnServices):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also list containers that ended.")
    quiet = Flag("-q", "--quiet", help="Print ids only.")
    list_services = Flag("--services", help="Print the names of services only.")
    filters = Many("--filter", metavar="NAME=VALUE", help="Filter: status=; repeatable.")
    status = Many("--status", metavar="STATUS", help="Only containers in that state; repeatable.")
    form = Text("--format", metavar="table|json|TEMPLATE", default="table", help="Go template.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids and commands.")
    orphans = Flag("--orphans", off="--no-orphans", default=True, help="Services that the files no longer have, too.")


def ps(session: Session, line: PsArguments) -> None:
    """Print a list of the containers of a project."""
    _, project, found = chosen(session, line, one_off=None if line.everything else False, strangers=True)
    statuses = [*line.status, *filters_of(line.filters, ("status",)).get("status", ())]
    if project is not None and not line.orphans:
        found = [one for one in found if one.service in project.services]
    found = [one for one in found if (one.is_alive or line.everything or statuses)]
    check_statuses(statuses)
    found = [one for one in found if not statuses or one.status in statuses]
    if line.quiet:
        for one in found:
            print_result(one.state.id)
    elif line.list_services:
        for name in dict.fromkeys(one.service for one in found):
            print_result(name)
    else:
        headings = {**HEADINGS, "Name": "NAME", "Service": "SERVICE", "Project": "PROJECT"}
        show_rows([_row(one, line.no_trunc) for one in found], line.form, COLUMNS, headings)


def _row(member: Member, no_trunc: bool) -> dict[str, object]:
    from tiffin.builder.api.compose import naming

    state = member.state
    return {
        **container_row(state, member.is_alive, no_trunc),
        "Name": member.name,
        "Service": member.service,
        "Project": state.labels.get(naming.PROJECT, ""),
        "ExitCode": state.exit_code or 0,
        "Health": state.health if member.is_alive else "",
        "Publishers": [
            {
                "URL": port.address or "0.0.0.0",
                "TargetPort": port.container,
                "PublishedPort": port.host,
                "Protocol": port.protocol,
            }
            for port in (state.ports if member.is_alive else ())
        ],
    }


class LsArguments(OnProject):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also list projects whose containers have ended.")
    quiet = Flag("-q", "--quiet", help="Print names only.")
    filters = Many("--filter", metavar="name=TEXT", help="Filter; repeatable.")
    form = Text("--format", choices=("table", "json"), default="table", help="How to write it.")


def ls(session: Session, line: LsArguments) -> None:
    """Print the projects that have containers."""
    import json

    from tiffin.builder.api.compose import naming
    from tiffin.builder.api.compose.members import projects

    wanted = filters_of(line.filters, ("name",)).get("name", [""])
    rows = []
    for name, found in projects(session).items():
        if not any(text in name for text in wanted) or not (line.everything or any(one.is_alive for one in found)):
            continue
        counts: dict[str, int] = {}
        for one in sorted(found, key=lambda one: one.status):
            counts[one.status] = counts.get(one.status, 0) + 1
        status = ", ".join(f"{word}({count})" for word, count in counts.items())
        files = next((text for one in found if (text := one.state.labels.get(naming.FILES))), "")
        rows.append({"Name": name, "Status": status, "ConfigFiles": files})
    if line.quiet:
        for row in rows:
            print_result(row["Name"])
    elif line.form == JSON:
        print_result(json.dumps(rows, separators=(",", ":")))
    else:
        print_table([["NAME", "STATUS", "CONFIG FILES"], *([*row.values()] for row in rows)])


class PortArguments(OnProject):
    """What may stand on the line."""

    service = Word("SERVICE")
    private = Word("PRIVATE_PORT")
    protocol = Text("--protocol", choices=("tcp", "udp"), default="tcp", help="Protocol.")
    index = Text("--index", metavar="N", default="0", help="Which container of the service.")


def port(session: Session, line: PortArguments) -> None:
    """Print where a port of a service is published. Raises ContainerError."""
    from tiffin.builder.api.compose.members import members, one_of
    from tiffin.builder.errors import ContainerError

    name, _ = line.known()
    member = one_of(members(session, name), line.service, whole_number("--index", line.index))
    number = whole_number("PRIVATE_PORT", line.private)
    for one in member.state.ports:
        if (one.container, one.protocol) == (number, line.protocol):
            print_result(f"{one.address or '0.0.0.0'}:{one.host}")
            return
    raise ContainerError(
        f"no port {number}/{line.protocol} for container {member.name}", remedy="publish it with ports:"
    )


class ImagesArguments(OnServices):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Print ids only.")
    form = Text("--format", choices=("table", "json"), default="table", help="How to write it.")


def images(session: Session, line: ImagesArguments) -> None:
    """Print the images of the containers of a project."""
    import json

    from tiffin.builder.oci.reference import Reference

    _, _, found = chosen(session, line, strangers=True)
    rows: list[dict[str, Any]] = []
    for one in found:
        reference = Reference.parse(one.state.image)
        identity = one.state.image_id.removeprefix("sha256:")
        row = {"ContainerName": one.name, "Repository": reference.familiar.rpartition(":")[0] or reference.familiar}
        rows.append({**row, "Tag": reference.tag or "latest", "ID": identity})
    if line.quiet:
        for identity in dict.fromkeys(row["ID"] for row in rows):
            print_result(identity)
    elif line.form == JSON:
        print_result(json.dumps(rows, separators=(",", ":")))
    else:
        lines = [[row["ContainerName"], row["Repository"], row["Tag"], row["ID"][:12]] for row in rows]
        print_table([["CONTAINER", "REPOSITORY", "TAG", "IMAGE ID"], *lines])


def top(session: Session, line: OnServices) -> None:
    """Print the processes of the containers of a project."""
    from tiffin.builder.api.containers.watch.top import top

    _, _, found = chosen(session, line, strangers=True)
    lines: list[list[str]] = []
    for one in found:
        if not one.is_alive:
            continue
        heading, *rows = top(one.state.id, session, ())
        lines = lines or [["SERVICE", "#", *heading]]
        lines += [[one.service, str(one.number), *row] for row in rows]
    if lines:
        print_table(lines)


def check_statuses(texts: Sequence[str]) -> None:
    """Raise UsageError for a word that is not a state of a container."""
    from tiffin.builder.errors import UsageError

    for text in texts:
        if text not in STATUSES:
            raise UsageError(f'--status "{text}" is unknown', remedy=f"use one of {', '.join(STATUSES)}")


COMMANDS = (
    Command("compose ps", PsArguments, ps, about="List containers.", section=CONTAINERS,
            examples=("tiffin compose ps -a", "tiffin compose ps --format json web")),
    Command("compose ls", LsArguments, ls, about="List projects.", section=CONTAINERS,
            examples=("tiffin compose ls -a",)),
    Command("compose port", PortArguments, port, about="Show where a port is published.", section=CONTAINERS,
            examples=("tiffin compose port web 80",)),
    Command("compose images", ImagesArguments, images, about="List the images of containers.", section=CONTAINERS,
            examples=("tiffin compose images",)),
    Command("compose top", OnServices, top, about="Show the processes of containers.", section=CONTAINERS,
            examples=("tiffin compose top web",)),
)  # fmt: skip

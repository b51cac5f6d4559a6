"""tiffin compose cp, commit, export, attach: what docker does with a container, by the name of its service."""

from __future__ import annotations

from tiffin.builder.cli.commands.commit import CommitArguments, CommitOptionArguments
from tiffin.builder.cli.commands.commit import commit as commit_container
from tiffin.builder.cli.commands.cp import CpArguments, CpOptionArguments
from tiffin.builder.cli.commands.cp import cp as copy_of_container
from tiffin.builder.cli.commands.export import ExportArguments
from tiffin.builder.cli.commands.export import export as export_container
from tiffin.builder.cli.commands.start import AttachArguments, AttachingArguments
from tiffin.builder.cli.commands.start import attach as attach_container
from tiffin.builder.cli.compose.arguments import OnProject, whole_number
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.common import OutputArguments
from tiffin.builder.cli.options.option import Flag, Text, Word
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.session import Session

STREAM = "-"


class IndexArguments(OnProject):
    """Of commands on one container of a service."""

    index = Text("--index", metavar="N", default="0", help="Which container of the service.")

    def container(self, session: Session, service: str, *, is_running: bool = False) -> str:
        """Return the id of the container. Raises ContainerError, UsageError."""
        from tiffin.builder.api.compose.members import members, one_of

        name, _ = self.known()
        number = whole_number("--index", self.index)
        return one_of(members(session, name, one_off=None), service, number, is_running=is_running).state.id


class ComposeCpArguments(CpOptionArguments, IndexArguments):
    """What may stand on the line."""

    everything = Flag("--all", help="Into containers of compose run, too.")


class ComposeCommitArguments(CommitOptionArguments, IndexArguments):
    """What may stand on the line."""

    service = Word("SERVICE")
    image = Word("[IMAGE[:TAG]]", "")


class ComposeExportArguments(OutputArguments, IndexArguments):
    """What may stand on the line."""

    service = Word("SERVICE")


class ComposeAttachArguments(AttachingArguments, IndexArguments):
    """What may stand on the line."""

    service = Word("SERVICE")
    no_stdin = Flag("--no-stdin", help="Do not join its stdin.")


def cp(session: Session, line: ComposeCpArguments) -> None:
    """Copy files between the containers of a service and this machine. Raises TiffinError."""
    source, source_path = _parted(line.source)
    target, target_path = _parted(line.destination)
    if bool(source) == bool(target):
        raise UsageError("one of SOURCE and DESTINATION is in a service", remedy="write it as SERVICE:PATH")
    given = {"source": line.source, "destination": line.destination, "archive": line.archive, "follow": line.follow}
    if source:
        from_service = {**given, "source": f"{line.container(session, source)}:{source_path}"}
        copy_of_container(session, CpArguments(from_service))
        return
    for identity in _receivers(session, line, target):
        copy_of_container(session, CpArguments({**given, "destination": f"{identity}:{target_path}"}))


def _parted(text: str) -> tuple[str, str]:
    """Return the service, if any, and the path; a path that begins with / or . has no service before it."""
    service, colon, path = text.partition(":")
    return (service, path) if colon and service and service[0] not in "/." else ("", text)


def _receivers(session: Session, line: ComposeCpArguments, service: str) -> list[str]:
    """Return the ids of the containers to copy into: all of the service, or that of --index. Raises ContainerError."""
    from tiffin.builder.api.compose.members import members

    if line.index != "0":
        return [line.container(session, service)]
    name, _ = line.known()
    found = members(session, name, one_off=None if line.everything else False)
    identities = [one.state.id for one in found if one.service == service]
    if not identities:
        raise ContainerError(
            f'service "{service}" has no container', remedy=f"make it with tiffin compose up {service}"
        )
    if line.source == STREAM and len(identities) > 1:
        raise UsageError("a stream can be copied into one container only", remedy="choose one with --index")
    return identities


def commit(session: Session, line: ComposeCommitArguments) -> None:
    """Make an image of a container of a service; print its id. Raises TiffinError."""
    given: dict[str, Any] = {"name": line.container(session, line.service), "image": line.image, "author": line.author}
    given |= {"message": line.message, "changes": line.changes, "pause": line.pause}
    commit_container(session, CommitArguments(given))


def export(session: Session, line: ComposeExportArguments) -> None:
    """Write the file system of a container of a service as a tar. Raises TiffinError."""
    given = {"name": line.container(session, line.service), "output": line.output}
    export_container(session, ExportArguments(given))


def attach(session: Session, line: ComposeAttachArguments) -> int:
    """Join this process's streams to a container's; return its exit code. Raises TiffinError."""
    given: dict[str, Any] = {"name": line.container(session, line.service, is_running=True)}
    given |= {"no_stdin": line.no_stdin}
    given |= {"sig_proxy": line.sig_proxy, "detach_keys": line.detach_keys}
    return attach_container(session, AttachArguments(given))


COMMANDS = (
    Command("compose cp", ComposeCpArguments, cp, about="Copy files into and out of containers of services.",
            help="Copy a file or directory from SOURCE to DESTINATION. One of them is SERVICE:PATH; the other, - is a "
            "tar on stdin or stdout. What is copied into a service goes into each of its containers.",
            section=CONTAINERS, examples=("tiffin compose cp web:/etc/nginx/nginx.conf .",)),
    Command("compose commit", ComposeCommitArguments, commit, about="Make an image of a container of a service.",
            section=CONTAINERS, examples=("tiffin compose commit -m 'with tools' web web:tools",)),
    Command("compose export", ComposeExportArguments, export, about="Write the file system of a container as a tar.",
            section=CONTAINERS, examples=("tiffin compose export -o web.tar web",)),
    Command("compose attach", ComposeAttachArguments, attach, about="Join the terminal to a container of a service.",
            section=CONTAINERS, examples=("tiffin compose attach web",)),
)  # fmt: skip

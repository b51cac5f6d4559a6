"""The file system of a container as an archive."""

from __future__ import annotations

from typing import BinaryIO

from tiffin.builder.api.containers.files.changes import files_of
from tiffin.builder.api.session import Session
from tiffin.builder.containers.export import export_tar
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.image.archive_write import output_file


def export(name: str, output: str, stdout: BinaryIO, session: Session) -> None:
    """Write the file system of a container, running or not, as a tar, "-" for `stdout`.

    Raises ImageError, SandboxError, ContainerError.
    """
    with files_of(name, session) as files:
        below = files.trees if files.isolation.overlay else ()
        with output_file(output, stdout) as sink:
            export_tar([*below, files.container.upper], sink, changing=files.runs)
        record_of_container(session.state, files.container.state, "export")

"""Look into containers that are there."""

from __future__ import annotations

from typing import BinaryIO

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.export import export_tar
from tiffin.builder.errors import ImageError
from tiffin.builder.image.archive_write import output_file
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import Snapshots


def export(name: str, output: str, stdout: BinaryIO, session: Session) -> None:
    """Write the file system of a container, which may have ended, as a tar, "-" for `stdout`.

    Raises ImageError, SandboxError.
    """
    containers = Containers(session.state)
    with session.state.lock("prune", shared=True):
        state = containers.find(name)
        isolation = session.become_root(None, keep=state.keep)
        trees = []
        if isolation.overlay:
            diff_ids = [Digest.parse(text) for text in state.layers]
            layers = Snapshots(session.state, isolation.idmap_tag).stack(diff_ids)
            if layers is None:
                raise ImageError(
                    f"the layers of container {state.name} are not unpacked here",
                    remedy="pull or build its image again",
                )
            trees = list(layers)
        with output_file(output, stdout) as sink:
            export_tar([*trees, containers.upper(state.id)], sink)

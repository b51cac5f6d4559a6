"""tiffin export."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.session import Session, refuse_terminal
from tiffin.builder.errors import ImageError


@click.command("export")
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", "output", default="-", metavar="FILE", help="File to write (default: stdout).")
@click.pass_obj
def command(session: Session, /, name: str, output: str) -> None:
    """Write the file system of CONTAINER, which may have ended, as a tar; volumes that have a name are not in it."""
    from tiffin.builder.containers.container import Containers
    from tiffin.builder.containers.export import export_tar
    from tiffin.builder.image.archive_write import output_file
    from tiffin.cache.digest import Digest
    from tiffin.cache.snapshots import Snapshots

    refuse_terminal(output)
    containers = Containers(session.state)
    with session.state.lock("prune", shared=True):
        state = containers.find(name)
        isolation = session.become_root(None, keep=state.keep)
        trees = []
        if isolation.overlay:
            diff_ids = [Digest.parse(text) for text in state.layers]
            layers = Snapshots(session.state, isolation.flavor).stack(diff_ids)
            if layers is None:
                raise ImageError(
                    f"the layers of container {state.name} are not unpacked here",
                    remedy="pull or build its image again",
                )
            trees = list(layers)
        with output_file(output, sys.stdout.buffer) as sink:
            export_tar([*trees, containers.upper(state.id)], sink)

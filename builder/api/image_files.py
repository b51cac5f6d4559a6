"""Look at the files of an image through the tables of contents of its layers: nothing is unpacked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError
from tiffin.builder.events import NullSink, Sink
from tiffin.builder.layer.index import Entry as Entry
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import base_chain
from tiffin.builder.sources.layer_files import Members
from tiffin.builder.sources.trees import LayerTree

ROOT = "."


class ImageFiles:
    """The merged file system of an image. Paths are as in the image, links in them are followed inside of it."""

    def __init__(self, tree: LayerTree, name: str) -> None:
        self._tree = tree
        self._name = name

    def stat(self, path: str) -> Entry:
        """Return what the image says of a file: kind, mode, uid, gid, size in bytes, mtime_ns.

        Raises ImageError for none.
        """
        entry = self._tree.lookup(self._tree.resolve(path.strip("/")) or ROOT)
        if entry is None:
            raise ImageError(f"{self._name} has no {path}", remedy="list its directory to see what there is")
        return entry

    def list(self, path: str = "/") -> Sequence[Entry]:
        """Return what is in a directory; the path of an entry has no slash in front. Raises ImageError for none."""
        place = self._tree.resolve(path.strip("/")) or ROOT
        if place != ROOT and self.stat(path).kind != "dir":  # layers need not tell of the root itself
            raise ImageError(f"{path} of {self._name} is not a directory", remedy="read it with open")
        return self._tree.children(place)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file. Raises ImageError for anything else."""
        entry = self.stat(path)
        if entry.kind != "file":
            raise ImageError(f"{path} of {self._name} is not a regular file", remedy="name one")
        return self._tree.opener(entry)()


@contextlib.contextmanager
def open_image(
    name: str, session: Session, sink: Sink | None = None, registry: RegistryAccess | None = None
) -> Iterator[ImageFiles]:
    """Open an image that is here; a layer that is not is fetched from its registry.

    Raises ImageError, RegistryError, StoreError.
    """
    image = session.store.find(name)
    layers = session.layers(lambda: session.remote(sink or NullSink(), registry or RegistryAccess()))
    chain = base_chain(image)
    with session.state.scratch("files") as scratch, Members(layers, scratch) as members:
        tables = [layers.ensure_index(ref.diff_id, ref.blob) for ref in chain]
        tree = LayerTree(tables, lambda number, entry: members.open(chain[number], entry))
        yield ImageFiles(tree, name)

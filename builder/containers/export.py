"""The file system of a container as a tar: its layers and what was changed in it, owners and all, without what was
mounted.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.index import LayerIndex, Located, MergedTree
from tiffin.builder.layer.merged import merged_changes
from tiffin.builder.layer.pack import pack


def export_tar(trees: Sequence[Path], sink: ByteWriter, *, changing: bool = False) -> None:
    """Write the overlay of directories, bottom first; needs the namespace of their files. Raises BuildError.

    `changing`: a container writes to the last one meanwhile, so a file is as long as it was when it was listed.
    """
    found = [{change.entry.path: change for change in diff_upper(tree)} for tree in trees]
    tree = MergedTree([LayerIndex([change.entry for change in changes.values()]) for changes in found])

    def opener_of(located: Located) -> Callable[[], BinaryIO] | None:
        opener = found[located.layer][located.entry.path].open
        if opener is None or not changing or located.layer + 1 != len(trees):
            return opener
        return partial(_open_sized, opener, located.entry.size)

    pack(merged_changes(tree, opener_of), sink)


def _open_sized(opener: Callable[[], BinaryIO], size: int) -> BinaryIO:
    return cast(BinaryIO, _Sized(opener(), size))


class _Sized(io.RawIOBase):
    """So many bytes of a file, whatever becomes of it: zeros for those that are gone."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        super().__init__()
        self._content = content
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = (self._content.read(wanted) or bytes(wanted)) if wanted else b""
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._content.close()
        super().close()

"""The file system of a container as a tar: its layers and what was changed in it, owners and all, without what was
mounted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.index import LayerIndex, MergedTree
from tiffin.builder.layer.merged import merged_changes
from tiffin.builder.layer.pack import pack


def export_tar(trees: Sequence[Path], sink: ByteWriter) -> None:
    """Write the overlay of directories, bottom first; needs the namespace of their files. Raises BuildError."""
    found = [{change.entry.path: change for change in diff_upper(tree)} for tree in trees]
    tree = MergedTree([LayerIndex([change.entry for change in changes.values()]) for changes in found])
    pack(merged_changes(tree, lambda located: found[located.layer][located.entry.path].open), sink)

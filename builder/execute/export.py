"""A built file system as a directory or a tar: the merged layers without their history."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import MergedTree, new_entry
from tiffin.builder.layer.merged import merged_changes
from tiffin.builder.layer.pack import pack
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.store.statedir import StateDir

DIRECTORY_MODE = 0o755  # of the directory of a platform


@contextlib.contextmanager
def changes_of(chain: Chain, layers: LayerStore, state: StateDir) -> Iterator[list[Change]]:
    """Yield every path of the stack of layers as a change over nothing."""
    tree = MergedTree([layers.ensure_index(layer.diff_id, layer.blob) for layer in chain])
    with state.scratch("export") as scratch, Members(layers, scratch) as members:
        yield merged_changes(tree, lambda found: lambda: members.open(chain[found.layer], found.entry))


def export_tar(parts: Sequence[tuple[str, Chain]], layers: LayerStore, state: StateDir, sink: ByteWriter) -> None:
    """Write file systems as one tar, owners and all; each below its directory, "" for none."""
    with contextlib.ExitStack() as stack:
        everything: list[Change] = []
        for directory, chain in parts:
            changes = stack.enter_context(changes_of(chain, layers, state))
            everything += _below(directory, changes) if directory else changes
        pack(everything, sink)


def _below(directory: str, changes: Sequence[Change]) -> Iterator[Change]:
    yield Change(new_entry(directory, "dir", DIRECTORY_MODE))
    for change in changes:
        entry = change.entry
        link = f"{directory}/{entry.link}" if entry.kind == "hardlink" else entry.link
        yield Change(entry._replace(path=f"{directory}/{entry.path}", link=link), change.open)


def export_directory(chain: Chain, layers: LayerStore, state: StateDir, dest: Path) -> None:
    """Write the file system into `dest`, as files of whoever runs this; what is there stays, equal names are
    replaced.
    """
    with disk_errors(dest):
        dest.mkdir(parents=True, exist_ok=True)
        directories = []
        with changes_of(chain, layers, state) as changes:
            for change in changes:
                entry, path = change.entry, dest / change.entry.path
                if entry.kind == "dir":
                    if path.is_symlink() or not path.is_dir():
                        remove_tree(path)
                        path.mkdir()
                    path.chmod(entry.mode | 0o700)
                    directories.append((path, entry))
                    continue
                remove_tree(path)
                _write(path, dest, change)
        for path, entry in reversed(directories):
            path.chmod(entry.mode & 0o777)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def _write(path: Path, dest: Path, change: Change) -> None:
    entry = change.entry
    if entry.kind == "symlink":
        path.symlink_to(entry.link)
    elif entry.kind == "hardlink":
        path.hardlink_to(dest / entry.link)
        return
    elif entry.kind == "fifo":
        os.mkfifo(path)
    elif entry.kind == "file":
        with path.open("xb") as sink:
            if change.open is not None:
                with change.open() as source:
                    while data := source.read(COPY_CHUNK_BYTES):
                        sink.write(data)
        path.chmod(entry.mode & 0o777)
    else:
        return  # device nodes belong to no ordinary user
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

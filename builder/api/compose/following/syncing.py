"""Bring files that changed into a running container: no program of the image takes part."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.api.compose.following.rules import Change
from tiffin.builder.api.containers.files.root import ContainerRoot, opened_root
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import Watch
from tiffin.builder.containers.files.contents import Item, Items, renamed
from tiffin.builder.containers.files.tar import read_items, write_items
from tiffin.builder.events import Sink
from tiffin.builder.layer.index import new_entry

ONLY = "file"  # what is packed where the path of a rule is one
KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}  # what is brought


def syncing(container: str, rule: Watch, change: Change) -> Callable[[Session, Sink], None]:
    """Return what removes from a container what is gone, and writes what is new, as its user's; to be run apart, as it
    enters the namespace of the container's files.
    """

    def sync(session: Session, _: Sink) -> None:
        with session.state.scratch("sync") as scratch, (scratch / "files").open("w+b") as packed:
            # read here: within the namespace files may be somebody else's
            write_items(_items(Path(rule.path), change.written), ".", cast(BinaryIO, packed))
            packed.seek(0)
            with opened_root(container, session) as root:
                target = _target(rule, root)
                root.remove([_joined(target, path) for path in change.gone])
                if change.written:
                    _write(read_items(cast(BinaryIO, packed)), target, root, is_file=change.written == ("",))

    return sync


def _target(rule: Watch, root: ContainerRoot) -> str:
    """Return where the path of a rule is in a container: a file may be given the directory that it is to be in."""
    target = os.path.normpath(f"/{rule.target}").replace("//", "/")
    if Path(rule.path).is_dir():
        return target
    if rule.target.endswith("/") or root.destination(target).is_directory:
        return _joined(target, Path(rule.path).name)
    return target


def _write(items: Items, target: str, root: ContainerRoot, *, is_file: bool) -> None:
    """Write files below the target, or the one that is to be there; directories that are missing are made."""
    directory, _, name = target.rpartition("/") if is_file else (target, "", "")
    base = _deepest(root, directory or "/")
    prefix = os.path.relpath(directory or "/", base)
    if is_file:
        items = (Item(item.entry._replace(path=name), item.open) for item in items)
    root.write(renamed(items, "" if prefix == "." else prefix), base, as_user=True)


def _deepest(root: ContainerRoot, path: str) -> str:
    """Return the deepest directory on the way to a path that is there."""
    while path != "/" and not root.destination(path).exists:
        path = path.rpartition("/")[0] or "/"
    return path


def _joined(directory: str, path: str) -> str:
    return f"{directory.rstrip('/')}/{path}" if path else directory


def _items(folder: Path, paths: Sequence[str]) -> Items:
    """Yield files and links below a directory, or the file that it is; what is gone by now, or is anything else, is
    left out.
    """
    for path in paths:
        place = folder / path if path else folder
        with contextlib.suppress(FileNotFoundError):
            found = place.lstat()
            kind = KINDS.get(stat.S_IFMT(found.st_mode))
            if kind is None:
                continue
            entry = new_entry(path or ONLY, kind, stat.S_IMODE(found.st_mode), mtime_ns=found.st_mtime_ns)
            if kind == "symlink":
                yield Item(entry._replace(link=str(place.readlink())))
            else:
                yield Item(entry._replace(size=found.st_size), partial(_opened, place))


def _opened(place: Path) -> BinaryIO:
    return place.open("rb")

"""A file system as tables together with what an instruction changes in it: what is put, linked and removed is seen at
once.

Habits of the kernel that matter for what COPY, ADD and WORKDIR make are imitated here: a directory with the
set-group-ID bit hands on its group and the bit to new directories, one with a default access list hands that on, a
replaced file is another inode, names of one inode change together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from tiffin.builder.errors import ImageError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.xattrs import DEFAULT_LIST, Attributes, agreeing, handed_on
from tiffin.builder.layer.index import Entry, linked_entry, moved, new_entry, sort_key
from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.cache.foundation.frozen import dataclass

SET_GROUP_ID = 0o2000
IMPLIED_MODE = 0o755  # of what no layer tells: tiffin.builder.layer.layer_builder
Opener = Callable[[], BinaryIO]


class LowerTree(Protocol):
    """The file system an instruction begins with."""

    def lookup(self, path: str) -> Entry | None: ...

    def opener(self, entry: Entry) -> Opener: ...


@dataclass(slots=True)
class _Inode:
    """What one or more names stand for; the path of `entry` means nothing."""

    entry: Entry
    open: Opener | None


class ChangedTree:
    """`below`, changed. Paths are relative to the root, their parents no symlinks (`resolve` makes such)."""

    def __init__(self, below: LowerTree, *, now_ns: int) -> None:
        self._below = below
        self._now_ns = now_ns
        self._names: dict[str, _Inode] = {}
        self._children: dict[str, set[str]] = {}  # of paths in _names, by their directory
        self._inside: dict[str, Callable[[], Iterator[Change]]] = {}  # what new directories hold beside their children
        self._gone: set[str] = set()  # removed with all that `below` has there
        self._implied: set[str] = set()  # directories of which the layer is not to tell
        self._parent: tuple[str, Attributes] = "", ()  # the directory that was asked last for what it hands on

    def lookup(self, path: str) -> Entry | None:
        """Return what is at `path` now, a symlink there not followed."""
        self._unfold(path)
        inode = self._names.get(path)
        if inode is not None:
            return inode.entry
        return None if self._is_gone(path) else self._below.lookup(path)

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """Follow symlinks inside the root; what does not exist stays as it is."""
        return resolve_links(path, self.link_text, follow_last=follow_last)

    def link_text(self, path: str) -> str | None:
        """Return the text of a symlink, None for anything else."""
        entry = self.lookup(path)
        return entry.link if entry is not None and entry.kind == "symlink" else None

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory; the root is one."""
        entry = None if path == ROOT else self.lookup(path)
        return path == ROOT or (entry is not None and entry.kind == "dir")

    def put(self, path: str, entry: Entry, opener: Opener | None = None) -> None:
        """Put `entry` at `path`.

        A directory takes the place of one's attributes, anything else replaces what is there.
        """
        self.put_over(self.lookup(path), path, entry, opener)

    def put_over(self, current: Entry | None, path: str, entry: Entry, opener: Opener | None) -> None:
        """Put like `put`, where `current` is known to be at `path`."""
        if current is not None and not (current.kind == entry.kind == "dir"):
            self.remove(path)
            current = None
        parent = self._handing_on(path) if current is None else ()
        if parent:  # it is made there, and then gets its mode
            lists = agreeing(handed_on(parent, entry.kind, entry.mode)[1], entry.mode)
            entry = entry._replace(xattrs=tuple(sorted({**dict(lists), **dict(entry.xattrs)}.items())))
        self._implied.discard(path)
        self._name(path, _Inode(moved(entry, path), opener))

    def graft(self, path: str, inside: Callable[[], Iterator[Change]]) -> bool:
        """Put all that `inside` gives into the new directory at `path`, which holds nothing: only when somebody asks
        for something of it, else as it is. Return whether it was done: not where what is put there would look
        otherwise, or hide something. There are no hard links or attributes in it.
        """
        entry = self._names[path].entry
        if self._gone or entry.kind != "dir" or entry.xattrs or self._children.get(path):
            return False
        self._inside[path] = inside
        return True

    def _unfold(self, path: str) -> None:
        """Put what was grafted above `path` one by one."""
        if not self._inside:
            return
        for above in _above(path):
            if (inside := self._inside.pop(above, None)) is not None:
                for change in inside():
                    self._name(change.entry.path, _Inode(change.entry, change.open))

    def link(self, path: str, target: str) -> None:
        """Make `path` another name of what is at `target`: raises ImageError unless that is something but a
        directory.
        """
        if path != target and self.lookup(path) is not None:
            self.remove(path)
        entry = self.lookup(target)
        if path == target or entry is None or entry.kind == "dir":
            raise ImageError(
                f'the hardlink "/{path}" leads to "/{target}", which is not a file',
                remedy="copy the target of the link first",
            )
        if target not in self._names:
            self._name(target, _Inode(entry, self._below.opener(entry) if entry.kind == "file" else None))
        self._name(path, self._names[target])

    def update(self, path: str, entry: Entry) -> None:
        """Give the inode at `path`, under all its names, the attributes of `entry`; its kind and content stay."""
        self._implied.discard(path)
        inode = self._names.get(path)
        if inode is None:
            known = self.lookup(path)
            assert known is not None, path
            inode = _Inode(known, self._below.opener(known) if known.kind == "file" else None)
            self._name(path, inode)
        self._parent = "", ()
        inode.entry = inode.entry._replace(
            mode=entry.mode, uid=entry.uid, gid=entry.gid, mtime_ns=entry.mtime_ns, xattrs=entry.xattrs
        )

    def remove(self, path: str) -> None:
        """Remove what is at `path`, a directory with all it holds."""
        self._parent = "", ()
        self._unfold(path)
        pending = [path]
        while pending:
            name = pending.pop()
            self._inside.pop(name, None)
            pending += self._children.pop(name, ())
            if self._names.pop(name, None) is not None and name == path:
                self._children[name.rpartition("/")[0]].discard(name)
        if not self._is_gone(path) and self._below.lookup(path) is not None:
            self._gone.add(path)

    def make_directory(self, path: str, mode: int, owner: tuple[int, int] | None) -> None:
        """Make what mkdir(2) makes of `mode`, without a umask; `owner` None leaves it as it is made."""
        gid, bit = 0, 0
        above = self.lookup(path.rpartition("/")[0] or ROOT)
        if above is not None and above.mode & SET_GROUP_ID:
            gid, bit = above.gid, SET_GROUP_ID
        uid, gid = owner or (0, gid)
        mode = handed_on(self._handing_on(path), "dir", mode & 0o777)[0]
        entry = new_entry(path, "dir", mode | bit, mtime_ns=self._now_ns)
        self.put(path, entry._replace(uid=uid, gid=gid))

    def _handing_on(self, path: str) -> Attributes:
        """Return the attributes of the directory `path` is in, if new things take some of them over."""
        name = path.rpartition("/")[0] or ROOT
        if name != self._parent[0]:
            entry = self.lookup(name)
            attributes = entry.xattrs if entry is not None else ()
            self._parent = name, attributes if any(key == DEFAULT_LIST for key, _ in attributes) else ()
        return self._parent[1]

    def imply_directory(self, path: str) -> None:
        """Make a directory that only is there where nothing is below: how it looks is said elsewhere, or root's and
        0755.
        """
        self.put(path, new_entry(path, "dir", IMPLIED_MODE))
        self._implied.add(path)

    def is_implied(self, path: str) -> bool:
        """Whether the directory at `path` is only implied, by what was put into it."""
        return path in self._implied and bool(self._children.get(path))

    def changes(self) -> list[Change]:
        """Return everything that changed, sorted as a layer is, with the directories on the way; the first name of an
        inode has its content, the others are hardlinks to it. What was grafted is inside of its directories.
        """
        result = []
        first: dict[int, str] = {}
        hidden = {path for path in self._gone if path not in self._names and not self._gone.intersection(_above(path))}
        for path in sorted({*self._names, *self._ways(), *hidden}, key=sort_key):
            inode = self._names.get(path)
            if inode is None:
                known = None if path in hidden else self._below.lookup(path)
                entry = new_entry(path, "whiteout", 0) if known is None else known._replace(opaque=False)
                result.append(Change(entry=entry, open=None))
            elif inode.entry.kind == "dir":
                opaque = path in self._gone and self._is_directory_below(path)
                made = inode.entry._replace(path=path, opaque=opaque)
                inside = self._inside.get(path)
                result.append(Change(entry=made, open=None, implied=self.is_implied(path), inside=inside))
            elif id(inode) in first:
                result.append(Change(entry=linked_entry(inode.entry, path, first[id(inode)]), open=None))
            else:
                first[id(inode)] = path
                entry = inode.entry if inode.entry.path == path else inode.entry._replace(path=path)
                result.append(Change(entry=entry, open=inode.open))
        return result

    def _name(self, path: str, inode: _Inode) -> None:
        self._parent = self._parent if inode.entry.kind != "dir" else ("", ())
        self._names[path] = inode
        self._children.setdefault(path.rpartition("/")[0], set()).add(path)

    def _is_gone(self, path: str) -> bool:
        if not self._gone:
            return False
        return any(above in self._gone for above in (path, *_above(path)))

    def _is_directory_below(self, path: str) -> bool:
        entry = self._below.lookup(path)
        return entry is not None and entry.kind == "dir"

    def _ways(self) -> Iterator[str]:
        """Yield the directories above what changed that did not change."""
        seen: set[str] = set()
        for directory in self._children:
            for path in (directory, *_above(directory)):
                if path in seen or not path:
                    break
                seen.add(path)
                if path not in self._names:
                    yield path


def _above(path: str) -> Iterator[str]:
    """Yield the directories `path` lies in, without the root."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)

"""What a COPY or ADD changes: from source entries and the tree they go into to the entries of a layer.

Pure but for the trees it asks. The order of rules is BuildKit's copy engine; see docs for the few differences.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import BinaryIO, Protocol

from builder.errors import BuildError, Span
from builder.layer.changes import Change
from builder.layer.index import Entry, new_entry
from builder.solver.modes import change_mode
from builder.solver.selecting import Selected, walk
from builder.solver.trees import ROOT, SourceTree
from cache.values import dataclass

NEW_DIRECTORY_MODE = 0o755  # whatever the umask; BuildKit's too
INLINE_FILE_MODE = 0o644


class DestinationTree(Protocol):
    """The file system a copy goes into."""

    def lookup(self, path: str) -> Entry | None: ...

    def resolve(self, path: str, *, follow_last: bool = True) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How copied things look: `owner` None keeps the source's; `time_ns` None keeps the source's time."""

    owner: tuple[int, int] | None
    chmod: str
    now_ns: int
    time_ns: int | None


@dataclass(slots=True)
class _Planned:
    entry: Entry
    open: Callable[[], BinaryIO] | None
    group: Hashable


class Copier:
    """Collects the changes one instruction makes below `destination`."""

    def __init__(self, destination: DestinationTree, style: Style, span: Span) -> None:
        self._destination = destination
        self._style = style
        self._span = span
        self._out: dict[str, _Planned] = {}

    def changes(self) -> list[Change]:
        """Everything collected, sorted as a layer is; names of one file become hardlinks to the first."""
        result = []
        first: dict[Hashable, str] = {}
        for path in sorted(self._out, key=lambda path: path.split("/")):
            planned = self._out[path]
            if planned.group is not None and planned.group in first:
                link = planned.entry._replace(kind="hardlink", link=first[planned.group], size=0)
                result.append(Change(entry=link, open=None))
                continue
            if planned.group is not None:
                first[planned.group] = path
            result.append(Change(entry=planned.entry, open=planned.open))
        return result

    def copy(self, tree: SourceTree, selected: Sequence[Selected], dest: str, *, alone: bool = True) -> None:
        """Copy `selected` to `dest` (absolute; a trailing slash means a directory). `alone`: these are all sources."""
        into_directory = dest.endswith("/")
        several = len(selected) > 1 or not alone
        files = [item for item in selected if item.entry.kind != "dir" and item.parents is None]
        if several and files and not into_directory and not self._is_directory(self._resolve(dest)):
            raise BuildError(
                f'several sources need a directory to go to, and "{dest}" is none',
                span=self._span,
                remedy=f'end the destination with a slash: "{dest}/"',
            )
        for item in selected:
            if item.parents is not None:
                self._copy_with_parents(tree, item, self._resolve(dest))
            elif item.entry.kind == "dir":
                self._copy_directory(tree, item, self._resolve(dest))
            else:
                self._copy_file(tree, item, dest, into_directory)

    def add_file(self, name: str, dest: str, data_size: int, digest: str, opener: Callable[[], BinaryIO]) -> None:
        """Put a file that has no source entry (a heredoc) at `dest`."""
        entry = self.new_entry(name, "file", INLINE_FILE_MODE)._replace(size=data_size, digest=digest)
        target = self._file_target(name, dest, dest.endswith("/"))
        self._put(target, self._styled(entry), opener, None)

    def make_directory(self, path: str, *, chmod: str | None = None) -> None:
        """Bring the directory `path` (resolved, relative) and its parents into the layer: as they are, or new ones.

        `chmod` instead of the style's, for new ones.
        """
        if path != ROOT:
            self._parents(f"{path}/.", chmod)

    def merge(
        self,
        dest: str,
        entries: Sequence[tuple[Entry, Callable[[], BinaryIO] | None]],
        *,
        owner: tuple[int, int] | None,
    ) -> None:
        """Unpack an archive's entries (paths relative to `dest`) as ADD does; modes are the archive's, owners `owner`."""
        root = self._resolve(dest)
        self.make_directory(root, chmod="")
        prefix = "" if root == ROOT else f"{root}/"
        for entry, opener in entries:
            path = self._destination.resolve(prefix + entry.path, follow_last=False)
            link = prefix + entry.link if entry.kind == "hardlink" else entry.link
            placed = entry._replace(path=path, link=link)
            if owner is not None:
                placed = placed._replace(uid=owner[0], gid=owner[1])
            if self._style.time_ns is not None:
                placed = placed._replace(mtime_ns=self._style.time_ns)
            self._parents(path, "")
            self._out.pop(path, None)
            self._out[path] = _Planned(entry=placed, open=opener, group=None)

    def new_entry(self, path: str, kind: str, mode: int) -> Entry:
        """A fresh entry of root's, as of now."""
        return new_entry(path, kind, mode, mtime_ns=self._style.now_ns)

    # -- placing -------------------------------------------------------------------------------------------------

    def _resolve(self, dest: str) -> str:
        return self._destination.resolve(dest.strip("/") or ROOT)

    def _current(self, path: str) -> Entry | None:
        planned = self._out.get(path)
        return planned.entry if planned else self._destination.lookup(path)

    def _is_directory(self, path: str) -> bool:
        entry = self._current(path)
        return path == ROOT or (entry is not None and entry.kind == "dir")

    def _copy_file(self, tree: SourceTree, item: Selected, dest: str, into_directory: bool) -> None:
        target = self._file_target(item.name, dest, into_directory)
        opener = tree.opener(item.entry) if item.entry.kind == "file" else None
        self._put(target, self._styled(item.entry), opener, None)

    def _file_target(self, name: str, dest: str, into_directory: bool) -> str:
        target = self._resolve(dest)
        if into_directory or self._is_directory(target):
            self.make_directory(target)
            return name if target == ROOT else f"{target}/{name}"
        self._parents(target)
        return target

    def _copy_directory(self, tree: SourceTree, item: Selected, target: str) -> None:
        """Copy what the source holds; an existing target keeps its mode and owner, a new one is plain."""
        current = self._current(target) if target != ROOT else None
        if current is not None and current.kind != "dir":
            raise BuildError(
                f'cannot copy a directory to "/{target}", which is no directory',
                span=self._span,
                remedy="name another destination",
            )
        self.make_directory(target)
        self._put_tree(tree, item, "" if target == ROOT else f"{target}/")

    def _copy_with_parents(self, tree: SourceTree, item: Selected, target: str) -> None:
        """Copy the source to the same path below `target`, its directories looking as they do at the source."""
        self.make_directory(target)
        prefix = "" if target == ROOT else f"{target}/"
        for relative, entry in item.parents or ():
            self._put(prefix + relative, self._styled(entry), None, None)
        if not item.name:
            self._put_tree(tree, item, prefix)
            return
        self._put_entry(tree, item, prefix + item.name, item.entry)
        if item.entry.kind == "dir":
            self._put_tree(tree, item, f"{prefix}{item.name}/")

    def _put_tree(self, tree: SourceTree, item: Selected, prefix: str) -> None:
        """Everything below the source, but not itself."""
        for relative, entry in walk(tree, item):
            if relative:
                self._put_entry(tree, item, prefix + relative, entry)

    def _put_entry(self, tree: SourceTree, item: Selected, path: str, entry: Entry) -> None:
        """Put `entry` at `path`; names of one file stay one within what one source brings."""
        opener = tree.opener(entry) if entry.kind == "file" else None
        links = tree.link_group(entry) if entry.kind == "file" else None
        self._put(path, self._styled(entry), opener, None if links is None else (id(item), links))

    def _put(self, path: str, entry: Entry, opener: Callable[[], BinaryIO] | None, group: Hashable) -> None:
        current = self._current(path)
        if current is not None and (current.kind == "dir") != (entry.kind == "dir"):
            if entry.kind == "dir":
                message = f'cannot copy a directory to "/{path}", which is no directory'
            else:
                message = f'cannot replace the directory "/{path}" with a file'
            raise BuildError(message, span=self._span, remedy="name another destination, or remove it in a RUN before")
        self._out[path] = _Planned(entry=entry._replace(path=path, offset=-1, opaque=False), open=opener, group=group)

    def _parents(self, path: str, chmod: str | None = None) -> None:
        """Bring the parents of `path` into the layer: as they are, or new ones."""
        parts = path.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            parent = "/".join(parts[:count])
            if parent in self._out:
                continue
            existing = self._destination.lookup(parent)
            if existing is not None and existing.kind != "dir":
                raise BuildError(
                    f'cannot make "/{path}": "/{parent}" is no directory',
                    span=self._span,
                    remedy="name another destination",
                )
            entry = existing if existing is not None else self._new_directory(parent, chmod)
            self._out[parent] = _Planned(entry=entry._replace(path=parent, opaque=False), open=None, group=None)

    def _new_directory(self, path: str, chmod: str | None) -> Entry:
        uid, gid = self._style.owner or (0, 0)
        mode = NEW_DIRECTORY_MODE
        chmod = self._style.chmod if chmod is None else chmod
        if chmod[:1].isdigit():  # symbolic modes leave new parents alone
            mode = change_mode(chmod, mode, is_directory=True)
        return self.new_entry(path, "dir", mode)._replace(uid=uid, gid=gid)

    def _styled(self, entry: Entry) -> Entry:
        style = self._style
        uid, gid = style.owner or (entry.uid, entry.gid)
        mode = entry.mode
        if style.chmod and entry.kind != "symlink":
            mode = change_mode(style.chmod, mode, is_directory=entry.kind == "dir")
        mtime_ns = entry.mtime_ns if style.time_ns is None else style.time_ns
        return entry._replace(uid=uid, gid=gid, mode=mode, mtime_ns=mtime_ns)

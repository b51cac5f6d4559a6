"""What a COPY or ADD changes: from source entries and the tree they go into to the entries of a layer.

Pure but for the trees it asks. The order of rules is BuildKit's copy engine; see docs for the few differences.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import partial

from tiffin.builder.errors import BuildError, Span
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.xattrs import ACCESS_LIST, agreeing
from tiffin.builder.layer.index import Entry, moved, new_entry
from tiffin.builder.sources.changed_tree import ChangedTree, LowerTree, Opener
from tiffin.builder.sources.chmod import change_mode
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import Selected, walk
from tiffin.builder.sources.trees import ROOT, SourceTree
from tiffin.cache.foundation.frozen import dataclass

NEW_DIRECTORY_MODE = 0o755  # whatever the umask; BuildKit's too
INLINE_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How copied things look: `owner` None keeps the source's; `time_ns` None keeps the source's time.

    `alone` (--link): what is below is not known, and new directories on the way only count where it has none.
    """

    owner: tuple[int, int] | None
    chmod: str
    now_ns: int
    time_ns: int | None
    alone: bool = False


class Copier:
    """Collects the changes one instruction makes to `destination`. `tree` is how it looks by now."""

    def __init__(self, destination: LowerTree, style: Style, span: Span) -> None:
        self.tree = ChangedTree(destination, now_ns=style.now_ns)
        self._style = style
        self._span = span

    def changes(self) -> list[Change]:
        """Return everything collected, sorted as a layer is; names of one file become hardlinks to the first."""
        return self.tree.changes()

    def copy(self, tree: SourceTree, selected: Sequence[Selected], dest: str, *, alone: bool = True) -> None:
        """Copy `selected` to `dest` (absolute; a trailing slash means a directory). `alone`: these are all sources."""
        into_directory = dest.endswith("/")
        several = len(selected) > 1 or not alone
        files = [item for item in selected if item.entry.kind != "dir" and item.parents is None]
        if several and files and not into_directory and not self.tree.is_directory(self._resolve(dest)):
            raise BuildError(
                f'several sources need a directory as destination, and "{dest}" is not one',
                span=self._span,
                remedy=f'end the destination with a slash: "{dest}/"',
            )
        first: dict[Hashable, str] = {}
        for item in selected:
            if item.parents is not None:
                self._copy_with_parents(tree, item, self._resolve(dest), first)
            elif item.entry.kind == "dir":
                self._copy_directory(tree, item, self._resolve(dest))
            else:
                self._copy_file(tree, item, dest, into_directory)

    def add_file(self, name: str, dest: str, data_size: int, digest: str, opener: Opener) -> None:
        """Put a file that has no source entry (a heredoc) at `dest`."""
        entry = new_entry(name, "file", INLINE_FILE_MODE, mtime_ns=self._style.now_ns)
        entry = entry._replace(size=data_size, digest=digest)
        self._put(self._file_target(name, dest, dest.endswith("/")), self._styled(entry), opener)

    def make_directory(self, path: str, *, chmod: str | None = None, is_way: bool = False) -> None:
        """Make the directory `path` (resolved, relative) and those on the way where they are missing.

        `chmod` instead of the style's, for new ones. `is_way`: it is itself on the way to what the instruction brings.
        """
        mode = NEW_DIRECTORY_MODE
        chmod = self._style.chmod if chmod is None else chmod
        if chmod[:1].isdigit():  # symbolic modes leave new parents alone
            mode = change_mode(chmod, mode, is_directory=True)
        parts = [] if path == ROOT else path.split("/")
        for count in range(1, len(parts) + 1):
            directory = "/".join(parts[:count])
            existing = self.tree.lookup(directory)
            if existing is None and self._style.alone and (is_way or count < len(parts) or not self._is_asked_for()):
                self.tree.imply_directory(directory)
            elif existing is None:
                self.tree.make_directory(directory, mode, self._style.owner)
            elif existing.kind != "dir":
                raise BuildError(
                    f'cannot make "/{path}": "/{directory}" is not a directory',
                    span=self._span,
                    remedy="name another destination",
                )

    # -- placing -------------------------------------------------------------------------------------------------

    def _resolve(self, dest: str) -> str:
        return self.tree.resolve(dest.strip("/") or ROOT)

    def _copy_file(self, tree: SourceTree, item: Selected, dest: str, into_directory: bool) -> None:
        target = self._file_target(item.name, dest, into_directory)
        opener = tree.opener(item.entry) if item.entry.kind == "file" else None
        self._put(target, self._styled(item.entry), opener)

    def _file_target(self, name: str, dest: str, into_directory: bool) -> str:
        target = self._resolve(dest)
        if into_directory or self.tree.is_directory(target):
            self.make_directory(target)
            return name if target == ROOT else f"{target}/{name}"
        self.make_directory(target.rpartition("/")[0] or ROOT, is_way=True)
        return target

    def _is_asked_for(self) -> bool:
        """Whether flags say how the destination is to look."""
        return self._style.owner is not None or bool(self._style.chmod)

    def _copy_directory(self, tree: SourceTree, item: Selected, target: str) -> None:
        """Copy what the source holds; an existing target keeps its mode and owner, a new one is plain. Both get the
        source's time."""
        current = None if target == ROOT else self.tree.lookup(target)
        if current is not None and current.kind != "dir":
            raise BuildError(
                f'cannot copy a directory to "/{target}", which is not a directory',
                span=self._span,
                remedy="name another destination",
            )
        self.make_directory(target)
        self._put_tree(tree, item, "" if target == ROOT else f"{target}/", {})
        made = None if target == ROOT else self.tree.lookup(target)
        if self.tree.is_implied(target):
            return
        if made is not None and item.entry.path != ROOT and self._style.time_ns is None:
            self.tree.update(target, made._replace(mtime_ns=item.entry.mtime_ns))

    def _copy_with_parents(self, tree: SourceTree, item: Selected, target: str, first: dict[Hashable, str]) -> None:
        """Copy the source to the same path below `target`, its directories looking as they do at the source."""
        self.make_directory(target)
        prefix = "" if target == ROOT else f"{target}/"
        for relative, entry in item.parents or ():
            existing = self.tree.lookup(prefix + relative)
            if existing is not None and existing.kind == "dir":  # it gets the mode, which --chmod does not change
                attributes = agreeing(existing.xattrs, entry.mode)
                self.tree.update(prefix + relative, existing._replace(mode=entry.mode, xattrs=attributes))
            else:
                self._put(prefix + relative, self._styled(entry), None)
        if item.name:
            self._put_entry(tree, item, prefix + item.name, item.entry, first)
            prefix += f"{item.name}/"
        if item.entry.kind == "dir":
            self._put_tree(tree, item, prefix, first)

    def _put_tree(self, tree: SourceTree, item: Selected, prefix: str, first: dict[Hashable, str]) -> None:
        """Put everything below the source, but not itself."""
        is_simple = isinstance(tree, DirectoryTree) and not tree.has_links(item.entry.path)
        grafted: set[str] = set()
        for relative, entry in walk(tree, item, enters=lambda relative: relative not in grafted):
            if not relative:
                continue
            path = prefix + relative
            is_new = is_simple and entry.kind == "dir" and self.tree.lookup(path) is None
            self._put_entry(tree, item, path, entry, first)
            if is_new and self.tree.graft(path, partial(self._inside, tree, item, entry, prefix)):
                grafted.add(relative)

    def _inside(self, tree: SourceTree, item: Selected, directory: Entry, prefix: str) -> Iterator[Change]:
        for relative, entry in walk(tree, item, start=directory):
            opener = tree.opener(entry) if entry.kind == "file" else None
            yield Change(moved(self._styled(entry), prefix + relative), opener)

    def _put_entry(self, tree: SourceTree, item: Selected, path: str, entry: Entry, first: dict[Hashable, str]) -> None:
        """Put `entry` at `path`; names of one file stay one within what one pattern brings (with `--parents`) or one
        source.
        """
        opener = tree.opener(entry) if entry.kind == "file" else None
        links = tree.link_group(entry) if entry.kind == "file" else None
        if links is None:
            self._put(path, self._styled(entry), opener)
            return
        known = first.setdefault((item.pattern, links), path)
        if known == path:
            self._put(path, self._styled(entry), opener)
        else:
            self._check(self.tree.lookup(path), path, "file")
            self.tree.link(path, known)

    def _put(self, path: str, entry: Entry, opener: Opener | None) -> None:
        current = self.tree.lookup(path)
        self._check(current, path, entry.kind)
        if current is not None and entry.kind == "dir" and current.xattrs:
            kept = agreeing(current.xattrs, entry.mode)
            entry = entry._replace(xattrs=tuple(sorted({**dict(kept), **dict(entry.xattrs)}.items())))
        self.tree.put_over(current, path, entry, opener)

    def _check(self, current: Entry | None, path: str, kind: str) -> None:
        """Refuse to put a directory over something else, or the other way round."""
        if current is not None and (current.kind == "dir") != (kind == "dir"):
            if kind == "dir":
                message = f'cannot copy a directory to "/{path}", which is not a directory'
            else:
                message = f'cannot replace the directory "/{path}" with a file'
            raise BuildError(message, span=self._span, remedy="name another destination, or remove it in a RUN before")

    def _styled(self, entry: Entry) -> Entry:
        style = self._style
        if style.owner is None and not style.chmod and style.time_ns is None:
            return entry
        uid, gid = style.owner or (entry.uid, entry.gid)
        mode = entry.mode
        if style.chmod and entry.kind != "symlink":
            mode = change_mode(style.chmod, mode, is_directory=entry.kind == "dir")
            if any(name == ACCESS_LIST for name, _ in entry.xattrs):  # which is set last, and says what others may
                mode = mode & ~0o777 | entry.mode & 0o777
        mtime_ns = entry.mtime_ns if style.time_ns is None else style.time_ns
        return entry._replace(uid=uid, gid=gid, mode=mode, mtime_ns=mtime_ns)

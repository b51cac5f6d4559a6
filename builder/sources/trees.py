"""Where COPY and ADD read from: one interface over a local directory and over a stack of layers.

Paths are relative to the root of the tree, without leading slash; the root itself is ".".
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Protocol

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree, new_entry
from tiffin.builder.layer.paths import resolve_links
from tiffin.cache.foundation.sha256 import SHORT_BYTES, short_sha256
from tiffin.cache.store.filestat import StatTable

Opener = Callable[[], BinaryIO]
ROOT = "."
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MAX_SMALL_FILE_BYTES = 10 << 20  # passwd and group; the limit BuildKit uses
NEW_DIRECTORY_MODE = 0o755  # of the root of a copy
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)  # it was there, or was another thing, a moment ago
_PLAIN = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})  # shown as they are
_PATH = itemgetter(0)  # of an Entry
_EMPTY_SHA256 = short_sha256(b"")


def _long_sha256(stream: io.FileIO) -> str:
    import hashlib

    return hashlib.file_digest(stream, "sha256").hexdigest()


class SourceTree(Protocol):
    """A tree of files that can be listed without reading them.

    Entries come with the digest of their content. Every method takes paths whose parents are not symlinks (`resolve`
    makes such) and raises ContextError or StoreError when the tree cannot be read.
    """

    def lookup(self, path: str) -> Entry | None:
        """Return the entry at `path`, not following a symlink there; hardlinks appear as the file they are."""

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """Follow symlinks inside the tree; what does not exist stays as it is."""

    def children(self, path: str) -> Sequence[Entry]:
        """Return what the directory `path` holds, sorted by name."""

    def opener(self, entry: Entry) -> Opener:
        """Return how to open the content of a file."""

    def link_group(self, entry: Entry) -> Hashable:
        """Return the same value for names of one file, else None."""


class LayerTree:
    """The merged view of a stack of layers, bottom first. `open_member` opens a file of the layer of that number."""

    def __init__(self, layers: Sequence[LayerIndex], open_member: Callable[[int, Entry], BinaryIO]) -> None:
        self._tree = MergedTree(layers)
        self._open_member = open_member

    def lookup(self, path: str) -> Entry | None:
        located = self._tree.lookup(path)
        return self._tree.target(located).entry._replace(path=path) if located else None

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return self._tree.resolve(path, follow_last=follow_last)

    def children(self, path: str) -> Sequence[Entry]:
        return [self._tree.target(child).entry._replace(path=child.entry.path) for child in self._tree.children(path)]

    def opener(self, entry: Entry) -> Opener:
        located = self._tree.lookup(entry.path)
        assert located is not None, entry.path
        target = self._tree.target(located)
        return lambda: self._open_member(target.layer, target.entry)

    def link_group(self, entry: Entry) -> Hashable:
        located = self._tree.lookup(entry.path)
        assert located is not None, entry.path
        target = self._tree.target(located)
        return (target.layer, target.entry.path)

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a small regular file such as etc/passwd, symlinks followed inside the tree; else
        None.
        """
        entry = self.lookup(self.resolve(path.strip("/")))
        if entry is None or entry.kind != "file" or entry.size > MAX_SMALL_FILE_BYTES:
            return None
        with self.opener(entry)() as stream:
            return stream.read()


class FileTree:
    """One file called `name`, whose content is at `path`; owned by root."""

    def __init__(self, *, name: str, mode: int, size: int, mtime_ns: int, digest: str, path: Path) -> None:
        self._path = path
        self._entry = new_entry(name, "file", mode, mtime_ns=mtime_ns)._replace(size=size, digest=digest)

    def lookup(self, path: str) -> Entry | None:
        return self._entry if path == self._entry.path else None

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return path

    def children(self, path: str) -> Sequence[Entry]:
        return [self._entry] if path == ROOT else []

    def opener(self, entry: Entry) -> Opener:
        return lambda: self._path.open("rb", buffering=0)

    def link_group(self, entry: Entry) -> Hashable:
        return None


class DirectoryTree:
    """A directory of this machine (the build context) seen through its ignore rules.

    It is read by descriptors, no link followed: whatever happens to it meanwhile, nothing beside it is read for it.
    Owners are 0:0 whoever owns the files; sockets are empty files; devices are left out. What was listed once is
    remembered, so a key and the copy made under it speak of the same files. `left_out` is a path in it that is not
    there for anybody: tiffin's own state, which changes while it is read.
    """

    def __init__(
        self, root: Path, rules: IgnoreRules | None, stats: StatTable | None, *, what: str, left_out: str = ""
    ) -> None:
        self._root = root
        self._directories = Directories(root)
        self._rules = rules
        self._stats = stats
        self._what = what
        self._left_out = left_out
        self._listed: dict[str, list[Entry]] = {}
        self._entries: dict[str, Entry | None] = {}
        self._groups: dict[str, tuple[int, int]] = {}
        self._altered: list[str] = []  # paths that are shown otherwise than they are, or not at all

    def lookup(self, path: str) -> Entry | None:
        if path not in self._entries:
            self._entries[path] = self._stat(path)
        return self._entries[path]

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return resolve_links(path, self._link_text, follow_last=follow_last)

    def children(self, path: str) -> Sequence[Entry]:
        if path not in self._listed:
            self._listed[path] = self._list(path)
        return self._listed[path]

    def opener(self, entry: Entry) -> Opener:
        return partial(self._open, entry.path)  # a quarter of a closure's memory, for very many files

    def _open(self, path: str) -> BinaryIO:
        try:
            return io.FileIO(self._directories.open(path))
        except OSError as exc:
            if exc.errno == errno.ENXIO and self._is_socket(path):
                return io.BytesIO()
            raise self._unreadable(path, exc) from exc

    def _is_socket(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        with self._directories.reopened(parent) as fd:
            return stat.S_ISSOCK(os.stat(host_name(name), dir_fd=fd, follow_symlinks=False).st_mode)

    def link_group(self, entry: Entry) -> Hashable:
        return self._groups.get(entry.path)

    @property
    def root(self) -> Path:
        """The place of the tree on this machine."""
        return self._root

    def is_plain(self, path: str) -> bool:
        """Whether everything at `path` is shown as it is on this machine. Lists it all."""
        for _ in self._everything(path):
            pass
        prefix = "" if path == ROOT else f"{path}/"
        return not any(altered == path or altered.startswith(prefix) for altered in self._altered)

    def has_plain_root(self) -> bool:
        """Whether the directory itself is like the root of a copy."""
        st = self._root.stat()
        return stat.S_IMODE(st.st_mode) == NEW_DIRECTORY_MODE and _is_ours(st)

    def _everything(self, path: str) -> Iterator[Entry]:
        pending = [path]
        while pending:
            directory = pending.pop()
            entry = self.lookup(directory) if directory != ROOT else None
            if directory != ROOT and (entry is None or entry.kind != "dir"):
                continue
            for child in self.children(directory):
                yield child
                if child.kind == "dir":
                    pending.append(child.path)

    def hides_for_good(self, path: str) -> bool:
        """Whether an ignore file without exceptions (`!`) hides `path`, there or not."""
        return bool(self._rules and path and not self._rules.has_exceptions and self._rules.matches(path))

    def is_ignored(self, path: str) -> bool:
        """Whether a path that is there is hidden: by the ignore rules, or as it is left out."""
        if self._left_out and f"{path}/".startswith(f"{self._left_out}/"):
            return True
        return bool(self._rules and path != ROOT and self._rules.matches(path))

    def _link_text(self, path: str) -> str | None:
        entry = self.lookup(path)
        return entry.link if entry and entry.kind == "symlink" else None

    def _stat(self, path: str) -> Entry | None:
        parent, _, name = path.rpartition("/")
        try:
            with self._directories.reopened(parent) as fd:
                st = os.stat(host_name(name), dir_fd=fd, follow_symlinks=False)
                return None if self._hidden(path, stat.S_ISDIR(st.st_mode)) else self._entry(path, st, fd)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise self._unreadable(path, exc) from exc

    def _list(self, path: str) -> list[Entry]:
        prefix, filtered = "" if path == ROOT else f"{path}/", self._rules is not None or bool(self._left_out)
        entries = []
        try:
            with self._directories.reopened(path) as fd, os.scandir(fd) as found:
                for item in found:
                    name = item.name
                    child = prefix + (name if name.isascii() else image_name(os.fsencode(name)))
                    if filtered and self._hidden(child, item.is_dir(follow_symlinks=False)):
                        self._altered.append(child)
                        continue
                    entry = self._entry(child, item.stat(follow_symlinks=False), fd)
                    if entry is not None:
                        entries.append(entry)
        except OSError as exc:
            raise self._unreadable(path, exc) from exc
        entries.sort(key=_PATH)
        self._entries.update(zip(map(_PATH, entries), entries, strict=True))
        return entries

    def _hidden(self, path: str, is_directory: bool) -> bool:
        """Whether it is ignored, and not a directory that holds something included again."""
        if not self.is_ignored(path):
            return False
        if self._rules is None or path == self._left_out:
            return True
        return not (is_directory and self._rules.may_descend(path) and self.children(path))

    def _entry(self, path: str, st: os.stat_result, parent: int) -> Entry | None:
        form, permissions = stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode)
        if form not in _PLAIN or not _is_ours(st):
            self._altered.append(path)
        kind, size, link, digest = "file", 0, "", ""
        if form == stat.S_IFREG:
            size, digest = st.st_size, self._digest(path, st, parent)
            if st.st_nlink > 1:
                self._groups[path] = (st.st_dev, st.st_ino)
        elif form == stat.S_IFDIR:
            kind = "dir"
        elif form == stat.S_IFLNK:
            kind, permissions = "symlink", 0o777
            link = image_name(os.readlink(host_name(path.rpartition("/")[2]), dir_fd=parent))
        elif form == stat.S_IFIFO:
            kind = "fifo"
        elif form == stat.S_IFSOCK:
            digest = _EMPTY_SHA256
        else:
            return None
        return Entry(path, kind, permissions, 0, 0, size, st.st_mtime_ns, link, (), 0, 0, digest, -1, False)

    def _digest(self, path: str, st: os.stat_result, parent: int) -> str:
        known = self._stats.lookup(path, st) if self._stats is not None else None
        if known is not None:
            return known
        try:
            name = host_name(path.rpartition("/")[2])
            with os.fdopen(os.open(name, _READ, dir_fd=parent), "rb", buffering=0) as stream:
                digest = short_sha256(stream.read()) if st.st_size <= SHORT_BYTES else _long_sha256(stream)
        except OSError as exc:
            raise self._unreadable(path, exc) from exc
        if self._stats is not None:
            self._stats.record(path, st, digest)
        return digest

    def _unreadable(self, path: str, exc: OSError) -> ContextError:
        if exc.errno in _GONE:
            return ContextError(
                f'"{path}" of {self._what} {self._root} changed while it was read',
                remedy="build again when it is at rest",
            )
        return ContextError(
            f'cannot read "{path}" of {self._what} {self._root}: {exc.strerror}',
            remedy="make it readable, or list it in .dockerignore",
        )


def _is_ours(st: os.stat_result) -> bool:
    """Whether a RUN sees it as root's. Asked each time: the process may have entered a user namespace since."""
    return (st.st_uid, st.st_gid) == (os.geteuid(), os.getegid())

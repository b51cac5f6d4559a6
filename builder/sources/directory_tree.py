"""A directory of this machine as a source of COPY and ADD: the build context, mostly."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.builder.sources.trees import NEW_DIRECTORY_MODE, Opener
from tiffin.cache.foundation.sha256 import SHORT_BYTES, LateSha256, short_sha256
from tiffin.cache.store.filestat import BETWEEN, DIGEST_BYTES, ROW, Buffer, Listing, StatTable, fields_of

MANY_FILES = 3000  # a tree of more is listed, and its files are hashed, by several processes
MANY_DIRECTORIES = 8  # of them, at least, are still to be listed then
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)  # it was there, or was another thing, a moment ago
_FORM = 0o170000  # of a mode
_PLAIN = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})  # shown as they are
_SHOWN = _PLAIN | {stat.S_IFIFO, stat.S_IFSOCK}
_NO_CONTENT = b"\xff" * DIGEST_BYTES  # stands for the digest of what is not a regular file
_DIGESTS = 1  # raise it when what is remembered under the same look would be another
_EMPTY_SHA256 = short_sha256(b"")
_Read = tuple[str, str, bytes, list[str], list[str]]  # a path, and of its listing: names, rows, directories; altered


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
        self._listings: dict[str, Listing] = {}
        self._whole: set[str] = set()  # directories that are listed with all below them
        self._entries: dict[str, Entry | None] = {}  # those that were asked for before their directory was listed
        self._groups: dict[str, tuple[int, int]] = {}
        self._altered: set[str] = set()  # paths that are shown otherwise than they are, or not at all

    def lookup(self, path: str) -> Entry | None:
        parent, _, name = path.rpartition("/")
        listing = self._listings.get(parent or ROOT)
        if listing is not None and path != ROOT:
            number = listing.find(name)
            return self._listed(path, number, self._hashed(parent or ROOT)) if number >= 0 else None
        if path not in self._entries:
            self._entries[path] = self._stat(path)
        return self._entries[path]

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        return resolve_links(path, self._link_text, follow_last=follow_last)

    def children(self, path: str) -> Sequence[Entry]:
        listing, prefix = self._hashed(path), "" if path == ROOT else f"{path}/"
        return [self._listed(prefix + name, number, listing) for number, name in enumerate(listing.split())]

    def opener(self, entry: Entry) -> Opener:
        return partial(self._open, entry.path)  # a quarter of a closure's memory, for very many files

    def link_group(self, entry: Entry) -> Hashable:
        return self._groups.get(entry.path)

    def has_links(self, path: str) -> bool:
        """Whether a file below the directory `path` has another name, there or elsewhere."""
        rows = (row for directory in self._below([path]) for row in ROW.iter_unpack(self._listing(directory).rows))
        return any(links > 1 and stat.S_ISREG(mode) for mode, links, *_ in rows)

    @property
    def root(self) -> Path:
        """The place of the tree on this machine."""
        return self._root

    def digest(self, top: Sequence[Entry], what: str, make: Callable[[], str]) -> str:
        """Return what `make` gives: a digest that depends on `what`, on `top`, and on all that lies below them. It is
        remembered for as long as nothing there looks otherwise.
        """
        paths = [entry.path for entry in top if entry.kind == "dir"]
        if self._stats is None or not paths or not all(map(self._list_below, paths)):
            return make()
        below = list(self._below(paths))
        hasher = LateSha256()
        seen = [(*entry[:3], entry.link, entry.digest) for entry in top]
        hasher.update(repr((_DIGESTS, what, seen)).encode())
        for path in below:
            listing = self._listings[path]
            hasher.update(f"\0{path}\0{listing.names}\0".encode("utf-8", "surrogateescape"))
            hasher.update(listing.rows)
        key = hasher.hexdigest()
        known = self._stats.selection(key)
        if known is None:
            self._hash_all(below)
            known = make()
            self._stats.note_selection(key, known, [self._listings[path] for path in below])
        return known

    def is_plain(self, path: str) -> bool:
        """Whether everything at `path` is shown as it is on this machine. Lists it all."""
        entry = self.lookup(path) if path != ROOT else None
        if path == ROOT or (entry is not None and entry.kind == "dir"):
            for _ in self._below([path]):
                pass
        prefix = "" if path == ROOT else f"{path}/"
        return not any(altered == path or altered.startswith(prefix) for altered in self._altered)

    def has_plain_root(self) -> bool:
        """Whether the directory itself is like the root of a copy."""
        st = self._root.stat()
        return stat.S_IMODE(st.st_mode) == NEW_DIRECTORY_MODE and (st.st_uid, st.st_gid) == _ours()

    def hides_for_good(self, path: str) -> bool:
        """Whether an ignore file without exceptions (`!`) hides `path`, there or not."""
        return bool(self._rules and path and not self._rules.has_exceptions and self._rules.matches(path))

    def is_ignored(self, path: str) -> bool:
        """Whether a path that is there is hidden: by the ignore rules, or as it is left out."""
        if self._left_out and f"{path}/".startswith(f"{self._left_out}/"):
            return True
        return bool(self._rules and path != ROOT and self._rules.matches(path))

    # -- listing ---------------------------------------------------------------------------------------------------

    def _listing(self, path: str) -> Listing:
        """Return what the directory `path` holds, the digests of its files apart."""
        found = self._listings.get(path)
        return self._take(self._read(path)) if found is None else found

    def _take(self, read: _Read) -> Listing:
        path, names, rows, directories, altered = read
        self._altered.update(altered)
        return self._listings.setdefault(path, Listing(names, rows, directories=directories))

    def _read(self, path: str) -> _Read:
        prefix, filtered = "" if path == ROOT else f"{path}/", self._rules is not None or bool(self._left_out)
        altered: list[str] = []
        try:
            with self._directories.reopened(path) as fd:
                found_names = os.listdir(fd)  # noqa: PTH208  # a path has no way to a descriptor
                names = sorted(name if name.isascii() else image_name(os.fsencode(name)) for name in found_names)
                if filtered:
                    altered = [prefix + name for name in names if self._hidden(prefix + name, fd)]
                    hidden = {path.rpartition("/")[2] for path in altered}
                    names = [name for name in names if name not in hidden]
                found = [
                    fields_of(os.stat(name if name.isascii() else host_name(name), dir_fd=fd, follow_symlinks=False))
                    for name in names
                ]
        except OSError as exc:
            raise self._unreadable(path, exc) from exc
        ours = _ours()
        if any(fields[0] & _FORM not in _PLAIN or fields[2:4] != ours for fields in found):
            both = list(zip(names, found, strict=True))
            altered += [prefix + name for name, at in both if at[0] & _FORM not in _PLAIN or at[2:4] != ours]
            both = [(name, at) for name, at in both if at[0] & _FORM in _SHOWN]
            names, found = [name for name, _ in both], [at for _, at in both]
        directories = [name for name, fields in zip(names, found, strict=True) if fields[0] & _FORM == stat.S_IFDIR]
        return path, BETWEEN.join(names), b"".join([ROW.pack(*fields) for fields in found]), directories, altered

    def _hidden(self, path: str, parent: int) -> bool:
        """Whether it is ignored, and not a directory that holds something included again."""
        if not self.is_ignored(path):
            return False
        if self._rules is None or path == self._left_out or not self._rules.may_descend(path):
            return True
        st = os.stat(host_name(path.rpartition("/")[2]), dir_fd=parent, follow_symlinks=False)
        return not (stat.S_ISDIR(st.st_mode) and len(self._listing(path)))

    def _list_below(self, path: str) -> bool:
        """List a directory and all below it, by several processes if they are many; False if something is unreadable,
        which whoever asks for it is told.
        """
        if path in self._whole:
            return True
        pending, seen = [path], 0
        try:
            while pending and (seen <= MANY_FILES or len(pending) < MANY_DIRECTORIES):
                directory = pending.pop(0)
                listing = self._listing(directory)
                seen += len(listing)
                pending += listing.below(directory)
        except ContextError:
            return False
        if pending:
            from tiffin.cache.foundation.forked import side_by_side

            parts = side_by_side(self._read_below, pending)
            for part in parts:
                for read in part or ():
                    self._take(read)
            if None in parts:
                return False
        self._whole.add(path)
        return True

    def _read_below(self, path: str) -> list[_Read] | None:
        result, pending = [], [path]
        try:
            while pending:
                found = self._read(pending.pop())
                result.append(found)
                pending += [f"{found[0]}/{name}" for name in found[3]]
        except ContextError:
            return None
        return result

    def _below(self, paths: Sequence[str]) -> Iterator[str]:
        """Yield directories and all below them, parents first, sorted."""
        pending = list(reversed(paths))
        while pending:
            path = pending.pop()
            yield path
            pending += reversed(self._listing(path).below(path))

    # -- entries ---------------------------------------------------------------------------------------------------

    def _link_text(self, path: str) -> str | None:
        entry = self.lookup(path)
        return entry.link if entry and entry.kind == "symlink" else None

    def _stat(self, path: str) -> Entry | None:
        parent, _, name = path.rpartition("/")
        try:
            with self._directories.reopened(parent) as fd:
                fields = fields_of(os.stat(host_name(name), dir_fd=fd, follow_symlinks=False))
                if fields[0] & _FORM not in _PLAIN or fields[2:4] != _ours():
                    self._altered.add(path)
                if self._hidden(path, fd) or fields[0] & _FORM not in _SHOWN:
                    return None
                row = ROW.pack(*fields)
                stats = self._stats if stat.S_ISREG(fields[0]) else None  # to load them takes long
                known = stats.lookup(path, row) if stats is not None else None
                alone = Listing(name, row, self._digest(path, row, fd) if known is None else known)
                if stats is not None and known is None:
                    stats.record(path, alone)
                return self._listed(path, 0, alone)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise self._unreadable(path, exc) from exc

    def _listed(self, path: str, number: int, listing: Listing) -> Entry:
        """Return the entry of that number."""
        mode, links, _, _, device, inode, size, mtime_ns, _ = ROW.unpack_from(listing.rows, number * ROW.size)
        form, permissions, kind, link, digest = mode & _FORM, mode & 0o7777, "file", "", ""
        if form == stat.S_IFREG:
            digest = listing.digest(number).hex()
            if links > 1:
                self._groups[path] = (device, inode)
        elif form == stat.S_IFDIR:
            kind, size = "dir", 0
        elif form == stat.S_IFLNK:
            kind, size, permissions, link = "symlink", 0, 0o777, self._link(path, number, listing)
        elif form == stat.S_IFIFO:
            kind, size = "fifo", 0
        else:
            size, digest = 0, _EMPTY_SHA256
        # as quick as it can be made, for very many files
        return tuple.__new__(Entry, (path, kind, permissions, 0, 0, size, mtime_ns, link, (), 0, 0, digest, -1, False))

    def _link(self, path: str, number: int, listing: Listing) -> str:
        text = listing.link(number)
        if text is None:
            parent, _, name = path.rpartition("/")
            try:
                with self._directories.reopened(parent) as fd:
                    text = image_name(os.readlink(host_name(name), dir_fd=fd))
            except OSError as exc:
                raise self._unreadable(path, exc) from exc
            listing.note_link(number, text)
        return text

    # -- content ---------------------------------------------------------------------------------------------------

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

    def _hashed(self, path: str) -> Listing:
        """Return what the directory `path` holds, with the digests of its files."""
        listing = self._listing(path)
        if not listing.has_digests:
            self._keep(path, listing, self._digests(path, listing, self._known(path)))
        return listing

    def _known(self, path: str) -> Listing | None:
        return self._stats.listing("" if path == ROOT else path) if self._stats is not None else None

    def _keep(self, path: str, listing: Listing, digests: Buffer) -> None:
        known = self._known(path)
        listing.note_digests(digests)
        if self._stats is not None:
            is_new = known is None or digests is not known.digests
            self._stats.keep("" if path == ROOT else path, listing, is_new=is_new)

    def _hash_all(self, paths: Sequence[str]) -> None:
        """Hash what is not known yet, by several processes if it is much; what is unreadable is left."""
        missing = [path for path in paths if not self._listings[path].has_digests]  # of others nothing is loaded again
        changed = [path for path in missing if not self._listings[path].is_like(self._known(path))]
        if sum(len(self._listings[path]) for path in changed) <= MANY_FILES:
            return
        from tiffin.cache.foundation.forked import side_by_side

        for path, digests in zip(changed, side_by_side(self._digests_below, changed), strict=True):
            if digests is not None:
                self._keep(path, self._listings[path], digests)

    def _digests_below(self, path: str) -> bytes | None:
        try:
            return bytes(self._digests(path, self._listings[path], self._known(path)))
        except ContextError:
            return None

    def _digests(self, path: str, listing: Listing, known: Listing | None) -> Buffer:
        """Return the digests of all that a directory holds; those of `known` itself where it had all of them."""
        result = listing.digests_by(known)
        unknown = listing.unknown(result)
        if not unknown:
            return result
        made, names, prefix = bytearray(result), listing.split(), "" if path == ROOT else f"{path}/"
        with self._directories.reopened(path) as fd:
            for number in unknown:
                digest = self._digest(prefix + names[number], listing.row(number), fd)
                made[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = digest
        return bytes(made)

    def _digest(self, path: str, row: Buffer, parent: int) -> bytes:
        mode, size = ROW.unpack(row)[0:7:6]
        if not stat.S_ISREG(mode):
            return _NO_CONTENT
        try:
            name = host_name(path.rpartition("/")[2])
            with io.FileIO(os.open(name, _READ, dir_fd=parent)) as stream:
                return bytes.fromhex(short_sha256(stream.read()) if size <= SHORT_BYTES else _long_sha256(stream))
        except OSError as exc:
            raise self._unreadable(path, exc) from exc

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


def _ours() -> tuple[int, int]:
    """Return whose files a RUN sees as root's. Asked each time: the process may have entered a user namespace since."""
    return os.geteuid(), os.getegid()


def _long_sha256(stream: io.FileIO) -> str:
    import hashlib

    return hashlib.file_digest(stream, "sha256").hexdigest()

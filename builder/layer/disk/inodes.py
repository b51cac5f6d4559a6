"""Make single inodes in an open directory and give them what an entry says: owner, mode, attributes, time."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.byte_streams import ByteReader
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.copyfile import copy_content
from tiffin.builder.layer.disk.directories import host_name
from tiffin.builder.layer.index import Entry
from tiffin.builder.owner_xattrs import (
    CAPABILITY,
    DEVICE,
    NO_ID,
    OWNER,
    Device,
    device_record,
    device_text,
    link_record,
    owner_text,
)

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_UNMAPPED = (errno.EINVAL, errno.EPERM)
_NO_XATTR = (errno.ENOTSUP, errno.EPERM, errno.EACCES)


class InodeWriter:
    """Makes files, symlinks, fifos and device nodes. With `records` owners are noted beside all inodes.

    `inherits`: a directory may hand its group on, so that what is made is not root's yet. Unless `exact`, a file that
    is not as long as its entry says becomes as long as it is.
    """

    def __init__(self, *, records: bool = False, inherits: bool = False, exact: bool = True) -> None:
        self._records = records
        self._inherits = inherits
        self._exact = exact

    def create(self, entry: Entry, name: bytes, parent: int, content: ByteReader | None) -> None:
        """Make what `entry` tells of as `name`, which must not be there, in the open directory `parent`.

        Raises OSError, BuildError for content of another size.
        """
        match entry.kind:
            case "file":
                fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
                try:
                    if entry.size:
                        self.fill(fd, entry, content)
                    self.complete(fd, entry)
                finally:
                    os.close(fd)
            case "symlink":
                os.symlink(host_name(entry.link), name, dir_fd=parent)
                self._complete_symlink(name, parent, entry)
            case _:
                self._special(entry, name, parent)

    def fill(self, fd: int, entry: Entry, content: ByteReader | None) -> None:
        """Write the content of a file. Raises BuildError for content of another size."""
        copied = copy_content(content, fd, entry.size) if content is not None else 0
        if copied == entry.size:
            return
        if self._exact:
            raise BuildError(
                f'"{entry.path}" changed its size while it was being read', remedy="build again when it is at rest"
            )
        if isinstance(content, io.FileIO) and copied != entry.size:  # none or not all was copied: once more, as it is
            content.seek(0)
            os.ftruncate(fd, 0)
            copy_content(_Plain(content), fd, entry.size)

    def _special(self, entry: Entry, name: bytes, parent: int) -> None:
        """Make a device or fifo. Where the kernel makes no devices (user namespaces), a socket stands for it."""
        kind = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}[entry.kind]
        try:
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        except PermissionError:
            os.mknod(name, stat.S_IFSOCK | 0o600, dir_fd=parent)
            if not self._stand_in(entry, name, parent):
                os.unlink(name, dir_fd=parent)
                self._file_for_device(entry, name, parent)
            return
        handle = os.open(name, _HANDLE, dir_fd=parent)
        try:
            self.complete(handle, entry, path=f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def _stand_in(self, entry: Entry, name: bytes, parent: int) -> bool:
        """Make a socket the node `entry`; False where it cannot carry the record."""
        path = b"/proc/self/fd/%d/%b" % (parent, name)
        device = Device(entry.kind, entry.major, entry.minor, 0)
        owner = (NO_ID, NO_ID) if self._give(path, entry) else (entry.uid, entry.gid)
        try:
            os.setxattr(path, CAPABILITY, device_record(device, *owner), follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_XATTR:
                raise
            return False
        os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        return True

    def _file_for_device(self, entry: Entry, name: bytes, parent: int) -> None:
        """Make an empty file for a device node: without a user namespace sockets take no attribute."""
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            device = device_text(Device(entry.kind, entry.major, entry.minor, entry.mode))
            os.setxattr(fd, DEVICE, device)
            self.complete(fd, entry._replace(mode=0))
        finally:
            os.close(fd)

    def complete(self, fd: int, entry: Entry, *, path: str | None = None) -> None:
        """Set owner, then mode, then attributes, then time: each may undo what comes after it.

        `path` names the inode where the descriptor is an O_PATH one, which most calls refuse.
        """
        target = fd if path is None else path
        if not self._give(target, entry):
            _keep_owner(target, entry)
        os.chmod(target, entry.mode)
        for name, value in entry.xattrs:
            if name != CAPABILITY or xattrs.takes_user_attributes(entry.kind):
                _set(target, name, value)
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))

    def _complete_symlink(self, name: bytes, parent: int, entry: Entry) -> None:
        path = b"/proc/self/fd/%d/%b" % (parent, name)
        if not self._give(path, entry, follow=False):
            _keep_owner(path, entry)
        for key, value in entry.xattrs:
            if key != CAPABILITY:
                with contextlib.suppress(OSError):
                    os.setxattr(path, host_name(key), value, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _give(self, target: int | str | bytes, entry: Entry, *, follow: bool = True) -> bool:
        """Whether the inode, root's so far, now belongs to whom it should; False: that has to be noted beside it."""
        if not (entry.uid or entry.gid or self._inherits):
            return True
        if self._records:
            return False
        try:
            if follow:
                os.chown(target, entry.uid, entry.gid)
            else:
                os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _UNMAPPED:
                raise
            return False
        return True


class _Plain:
    """A file that is read, where it cannot be copied by the kernel."""

    def __init__(self, content: io.FileIO) -> None:
        self._content = content

    def read(self, size: int = -1, /) -> bytes:
        return self._content.read(size) or b""


def _keep_owner(target: int | str | bytes, entry: Entry) -> None:
    """Keep an owner that the id map does not have beside the inode."""
    with contextlib.suppress(OSError):  # a file system without attributes, and a user without CAP_SETFCAP
        if entry.kind in ("symlink", "fifo"):
            record = link_record(entry.uid, entry.gid)
            os.setxattr(target, CAPABILITY, record, follow_symlinks=entry.kind != "symlink")
        else:
            os.setxattr(target, OWNER, owner_text(entry.uid, entry.gid))


def _set(target: int | str, name: str, value: bytes) -> None:
    if xattrs.is_foreign(name):  # an overlay inside the image; on a tree of ours it would be the kernel's business
        return
    try:
        os.setxattr(target, host_name(name), value)
    except OSError as exc:
        # EINVAL: an access list names somebody whom this id map does not have; the layer's table keeps it
        if exc.errno not in _NO_XATTR and not (exc.errno == errno.EINVAL and name in xattrs.ACLS):
            raise

"""The processes a supervisor answers: their memory, what their paths mean, and which credentials they have.

A process's credentials are a number in its RLIMIT_LOCKS, a limit no kernel since Linux 2.4 looks at: the kernel itself
hands it to children and takes it back with the process, so there is no race with fork and no number used twice. The
filter keeps the program's own hands off that limit. The supervisor's directory is /proc of its own pid namespace: paths
here are relative to it, and processes have the numbers of that namespace, but for those that a program names or is
told.
"""

from __future__ import annotations

import errno
import os
import resource
import struct

from tiffin.builder.sandbox.child import fd_passing, kernel, root_path
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.cache.foundation import c_types

RLIMIT_LOCKS = 10  # asm-generic/resource.h; x86 and arm64 agree
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x400, 0x1000
PATH_MAX = 4096
MAX_CREDENTIALS, MAX_GROUPS_KEPT = 1 << 16, 1 << 20  # different ones in a sandbox; they are never forgotten
_PAGE = 4096
_ADDRESS_BYTES = 110  # struct sockaddr_un
UCRED = struct.Struct("=iII")  # struct ucred
_LOCKS_LINE = b"Max file locks"  # RLIMIT_LOCKS in /proc/PID/limits
_OWN_LINKS = {b"stdin": b"0", b"stdout": b"1", b"stderr": b"2"}  # of /dev, into /proc/self/fd


class _IoVector(c_types.Structure):
    _fields_ = (("base", c_types.c_size_t), ("size", c_types.c_size_t))


_READ, _WRITE = kernel.LIBC["process_vm_readv"], kernel.LIBC["process_vm_writev"]
for _function in (_READ, _WRITE):
    _function.restype = c_types.c_ssize_t
    _function.argtypes = (
        c_types.c_int,
        c_types.c_void_p,
        c_types.c_ulong,
        c_types.c_void_p,
        c_types.c_ulong,
        c_types.c_ulong,
    )


class Memory:
    """Reads and writes the memory of other processes. OSError: EFAULT for addresses that are not there, ESRCH."""

    def __init__(self) -> None:
        self._buffer = c_types.create_string_buffer(2 * PATH_MAX + 1)
        self._address = c_types.addressof(self._buffer)
        self._here, self._there = _IoVector(self._address, 0), _IoVector(0, 0)
        self._vectors = c_types.addressof(self._here), c_types.addressof(self._there)

    def read(self, tid: int, address: int, size: int) -> bytes:
        """Read exactly `size` bytes."""
        if size <= 2 * PATH_MAX:
            if self._move(_READ, tid, address, size) != size:
                raise _fault()
            return self._buffer.raw[:size]
        data = b""
        while len(data) < size:
            data += self.read(tid, address + len(data), min(size - len(data), 2 * PATH_MAX))
        return data

    def read_string(self, tid: int, address: int) -> bytes:
        """Return the bytes before the first NUL, PATH_MAX at most."""
        buffer = self._buffer
        size = self._move(_READ, tid, address, _PAGE - (address & (_PAGE - 1)))
        buffer[size] = b"\0"
        text = buffer.value
        while len(text) == size:  # the string goes on, on the next page
            if size >= PATH_MAX:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            more = self._move(_READ, tid, address + size, _PAGE)
            buffer[more] = b"\0"
            text += buffer.value
            size += more
        if len(text) >= PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return text

    def write(self, tid: int, address: int, data: bytes) -> None:
        for start in range(0, len(data), 2 * PATH_MAX):
            piece = data[start : start + 2 * PATH_MAX]
            c_types.memmove(self._address, piece, len(piece))
            if self._move(_WRITE, tid, address + start, len(piece)) != len(piece):
                raise _fault()

    def _move(self, function: c_types._NamedFuncPointer, tid: int, address: int, size: int) -> int:
        self._here.size = self._there.size = size
        self._there.base = address
        here, there = self._vectors
        moved: int = function(tid, here, 1, there, 1, 0)
        if moved <= 0 and size:
            number = c_types.get_errno() if moved < 0 else errno.EFAULT
            raise OSError(number, os.strerror(number))
        return moved


def _fault() -> OSError:
    return OSError(errno.EFAULT, os.strerror(errno.EFAULT))


class Processes:
    """Which process has which credentials. A value that no number stands for yet gets one."""

    def __init__(self, initial: Credentials, proc: int) -> None:
        self.initial = initial
        self.proc = proc  # the supervisor's directory
        self._known: list[Credentials] = []
        self._groups_kept = 0  # in all of them
        self._numbers: dict[Credentials, int] = {}
        self._kept = {id(initial)}
        self._shown: int | None = None  # their /proc, where they are in a pid namespace below ours
        self.shown_device = os.fstat(proc).st_dev  # of /proc as they see it

    def show(self, proc: int, *, is_other: bool) -> None:
        """Set the /proc that processes see. `is_other`: of a pid namespace below ours; else it is ours, too."""
        if is_other:
            self._shown = proc
        else:
            self.proc = proc
        self.shown_device = os.fstat(proc).st_dev

    def credentials(self, tid: int) -> Credentials:
        """Return the credentials of the process of thread `tid`, or the initial ones.

        ProcessLookupError: it is gone.
        """
        return self._of_number(resource.prlimit(tid, RLIMIT_LOCKS)[0])

    def named(self, pid: int) -> Credentials:
        """Return the same of the thread that a program calls `pid`.

        ProcessLookupError: it is gone, or never was there.
        """
        if self._shown is None:
            return self.credentials(pid)
        try:
            limit = _read_of(b"%d/limits" % pid, _LOCKS_LINE, self._shown).split()[0]
        except FileNotFoundError as exc:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from exc
        return self._of_number(int(limit) if limit.isdigit() else -1)

    def name(self, tid: int) -> int:
        """Return what programs call thread `tid`. OSError: it is gone, or none of theirs."""
        if self._shown is None:
            return tid
        numbers = _status(tid, b"NSpid:").split()  # one for each namespace, ours first
        if len(numbers) < 2:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return int(numbers[1])

    def _of_number(self, number: int) -> Credentials:
        return self._known[number] if 0 <= number < len(self._known) else self.initial

    def keeps(self, credentials: Credentials) -> bool:
        """Whether this very value lives as long as this, so that its identity names it."""
        return id(credentials) in self._kept

    def set_credentials(self, tid: int, credentials: Credentials) -> None:
        number = self._numbers.get(credentials)
        if number is None:
            if len(self._known) == MAX_CREDENTIALS or self._groups_kept + len(credentials.groups) > MAX_GROUPS_KEPT:
                # whoever makes up so many means to fill our memory
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            number = self._numbers[credentials] = len(self._known)
            self._known.append(credentials)
            self._kept.add(id(credentials))
            self._groups_kept += len(credentials.groups)
        hard = resource.prlimit(tid, RLIMIT_LOCKS)[1]
        try:
            resource.prlimit(tid, RLIMIT_LOCKS, (number, hard))
        except ValueError as exc:  # the machine's own limit is that small
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from exc


def peer_of(tid: int, descriptor: int) -> int:
    """Return who is at the other end of a local socket of the process: struct ucred's pid, for us.

    OSError as getsockopt has it.
    """
    copy = copied_socket(tid, descriptor)
    try:
        data = copy.getsockopt(fd_passing.SOL_SOCKET, fd_passing.SO_PEERCRED, UCRED.size)
    finally:
        copy.close()
    pid: int = UCRED.unpack(data)[0]
    return pid


def copied_socket(tid: int, descriptor: int) -> fd_passing.Socket:
    """Return a socket of the process; the caller closes it."""
    pidfd = os.pidfd_open(thread_group(tid))
    try:
        return fd_passing.Socket(fileno=kernel.copy_descriptor(pidfd, descriptor))
    finally:
        os.close(pidfd)


def socket_path(memory: Memory, tid: int, address: int, size: int) -> bytes:
    """Return the path in an address that bind or connect was given; empty if it is of another kind, or has no path."""
    data = memory.read(tid, address, min(size & 0xFFFFFFFF, _ADDRESS_BYTES))
    if len(data) < 3 or struct.unpack_from("=H", data)[0] != fd_passing.AF_UNIX or not data[2]:
        return b""
    return data[2:].partition(b"\0")[0]


def own_path(tid: int, path: bytes) -> bytes:
    """Return `path` with what stands for "the process itself" in /proc and /dev made to mean thread `tid`."""
    if path.startswith(b"/proc/self"):
        if path[10:11] in (b"", b"/"):
            return b"%d%b" % (tid, path[10:])
    elif path.startswith(b"/proc/thread-self"):
        if path[17:18] in (b"", b"/"):
            return b"%d%b" % (tid, path[17:])
    elif path.startswith(b"/dev/fd/"):
        return b"%d/fd/%b" % (tid, path[8:])
    elif path.startswith(b"/dev/std"):
        number = _OWN_LINKS.get(path[5:])
        if number is not None:
            return b"%d/fd/%b" % (tid, number)
    return path


def located(tid: int, directory: int, path: bytes) -> bytes:
    """Return what `path` of an *at call means, as a path that the supervisor may use.

    `directory` as the call has it.
    """
    if path[:1] == b"/":
        return own_path(tid, path) if path[1:5] in (b"proc", b"dev/") else path
    if directory == AT_FDCWD:
        return b"%d/cwd/%b" % (tid, path)
    return b"%d/fd/%d/%b" % (tid, directory, path)


def located_elsewhere(tid: int, directory: int, path: bytes, *, follow: bool) -> tuple[bytes, int]:
    """Return `located` for a process with another root: a path through a descriptor, which the caller closes
    afterwards.

    The directory is found inside that root, and the last name if `follow`; a name that is missing stays as it is.
    """
    root = os.open(b"%d/root" % tid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inside = path if path[:1] == b"/" else _inside(tid, directory) + b"/" + path
        stripped = inside.rstrip(b"/")
        parent, _, name = stripped.rpartition(b"/")
        if name in (b"", b".", b"..") or follow:
            try:
                return _through(root_path.open_in_root(root, os.fsdecode(inside) or "/", os.O_PATH))
            except FileNotFoundError:
                if name in (b"", b".", b".."):
                    raise
        path_of_parent, fd = _through(root_path.open_in_root(root, os.fsdecode(parent) or "/", os.O_PATH))
        return path_of_parent + b"/" + name, fd
    finally:
        os.close(root)


def _through(fd: int) -> tuple[bytes, int]:
    return b"self/fd/%d" % fd, fd


def _inside(tid: int, directory: int) -> bytes:
    """Return where a directory of the process lies below its root."""
    link = b"%d/cwd" % tid if directory == AT_FDCWD else b"%d/fd/%d" % (tid, directory)
    root, here = os.readlink(b"%d/root" % tid), os.readlink(link)
    if root != b"/" and here.startswith(root):
        here = here[len(root) :]
    return here


def umask(tid: int) -> int:
    return int(_status(tid, b"Umask:"), 8)


def thread_group(tid: int) -> int:
    return int(_status(tid, b"Tgid:"))


def effective_capabilities(tid: int) -> int:
    """Return the effective capabilities as the kernel has them."""
    return int(_status(tid, b"CapEff:"), 16)


def file_system_ids(tid: int) -> tuple[int, int]:
    """Return the ids that what the thread makes belongs to, as the kernel has them."""
    return int(_status(tid, b"\nUid:").split()[3]), int(_status(tid, b"\nGid:").split()[3])


def _status(tid: int, field: bytes) -> bytes:
    return _read_of(b"%d/status" % tid, field, None)


def _read_of(path: bytes, field: bytes, proc: int | None) -> bytes:
    """Return what follows `field` in its line of a file in `proc`; None is ours."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        data = os.read(fd, _PAGE)
    finally:
        os.close(fd)
    start = data.find(field) + len(field)
    if start < len(field):  # empty, as the process has just gone
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return data[start : data.index(b"\n", start)]


def unpack_words(data: bytes) -> tuple[int, ...]:
    """Return an array of 32-bit numbers without sign."""
    return struct.unpack(f"={len(data) // 4}I", data)

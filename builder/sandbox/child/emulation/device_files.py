"""Answers to opens in a chroot whose /dev has files in the place of device nodes: the program gets the machine's own
device.

The file of /dev/null is empty and is read as it lies there (programs compare what they looked at with what they
opened); who would write to it gets the device. The others are sockets, which nobody can open. /dev/stdin and /dev/fd/N
are what the program has open. What cannot be answered, as the kernel lets nobody look into a process, opens the file:
for that `was_written`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.emulation import process
from tiffin.builder.sandbox.child.emulation.credentials import CAP_MKNOD
from tiffin.builder.sandbox.child.emulation.inodes import device_of
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler, signed
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, PATH_MAX

NULL, INPUT, DESCRIPTORS = "null", "stdin", "fd"
SOCKETS = ("zero", "full", "random", "urandom")
DIRECTORY = b"/dev"
_CREAT_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_LEFT_TO_THE_KERNEL = os.O_PATH | os.O_DIRECTORY
_OPEN_HOW_BYTES = 24


class DeviceFiles:
    """`devices` is /dev of the machine, open.

    To be made by a supervisor that is in the root, before the command begins.
    """

    def __init__(self, caller: Caller, devices: int) -> None:
        self._caller = caller
        self._devices = devices
        self._names: dict[tuple[int, int], str] = {}
        for name in (NULL, *SOCKETS):
            st = os.stat(b"%b/%b" % (DIRECTORY, name.encode()), follow_symlinks=False)
            if not stat.S_ISCHR(st.st_mode):
                self._names[st.st_dev, st.st_ino] = name
        self._null = os.open(DIRECTORY + b"/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._untouched = self._state()
        self.handlers: dict[str, Handler] = {
            "open": lambda tid, a: self._open(tid, AT_FDCWD, a[0], signed(a[1])),
            "openat": lambda tid, a: self._open(tid, a[0], a[1], signed(a[2])),
            "creat": lambda tid, a: self._open(tid, AT_FDCWD, a[0], _CREAT_FLAGS),
            "openat2": self._openat2,
            "mknod": lambda tid, a: self._mknod(tid, a[1], a[2]),
            "mknodat": lambda tid, a: self._mknod(tid, a[2], a[3]),
        }

    @property
    def was_written(self) -> bool:
        """Whether the file that stands for /dev/null was opened to be written after all, so that it gave that back."""
        return self._state() != self._untouched

    def _state(self) -> tuple[int, int]:
        st = os.fstat(self._null)
        return st.st_size, st.st_mtime_ns

    def _mknod(self, tid: int, mode: int, number: int) -> Answer:
        """Leave mknod to the kernel's refusal; a step ends, as its result would not be what it is elsewhere."""
        kind, number = stat.S_IFMT(mode & 0xFFFF), number & 0xFFFFFFFF
        is_whiteout = kind == stat.S_IFCHR and not number
        may_make = process.effective_capabilities(tid) >> CAP_MKNOD & 1
        if self._caller.beyond is not None and may_make and not is_whiteout:
            device = device_of(kind, number)
            self._caller.check()
            self._caller.beyond(f"mknod of device {device.kind[0]} {device.major}:{device.minor}")
        return CONTINUE

    def _openat2(self, tid: int, arguments: tuple[int, ...]) -> Answer:
        """Answer like openat where no other way to resolve the path is asked for."""
        directory, address, how, size, *_ = arguments
        if size < _OPEN_HOW_BYTES:
            return CONTINUE
        try:
            flags, _, resolve = struct.unpack("=QQQ", self._caller.memory.read(tid, how, _OPEN_HOW_BYTES))
        except PermissionError:
            return CONTINUE
        return CONTINUE if resolve else self._open(tid, directory, address, flags)

    def _open(self, tid: int, directory: int, address: int, flags: int) -> Answer:
        if flags & _LEFT_TO_THE_KERNEL or (flags & os.O_CREAT and flags & os.O_EXCL):
            return CONTINUE
        try:
            fd = self._substitute(tid, directory, self._caller.memory.read_string(tid, address), flags)
        except PermissionError:  # of another user, whom we have to be to look
            fd = self._as_owner(tid, lambda: self._substitute(tid, directory, read_memory(tid, address), flags))
        if fd is None:
            return CONTINUE
        try:
            return self._caller.give_descriptor(fd, close_on_exec=bool(flags & os.O_CLOEXEC))
        finally:
            os.close(fd)

    def _substitute(self, tid: int, directory: int, path: bytes, flags: int) -> int | None:
        """Return what the caller gets in the place of the file at `path`, open; None if it is not one of ours."""
        how = flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_CLOEXEC | os.O_NOCTTY
        own = process.own_path(tid, path)
        if own.startswith(b"%d/fd/" % tid) and own.rpartition(b"/")[2].isdigit():
            self._caller.check()
            return os.open(own, how & ~os.O_NOFOLLOW)
        place = self._caller.place(tid, directory, path, follow=True)
        try:
            st = os.stat(place, follow_symlinks=not flags & os.O_NOFOLLOW)
        except OSError as exc:
            if exc.errno == errno.EACCES:
                raise
            return None  # the kernel says so itself
        name = self._names.get((st.st_dev, st.st_ino))
        if name is None or (name == NULL and not flags & (os.O_ACCMODE | os.O_TRUNC)):
            return None
        return os.open(name, how, dir_fd=self._devices)

    def _as_owner(self, tid: int, look: Callable[[], int | None]) -> int | None:
        """Act with the file system ids of the thread; None where that is refused, too: it is left to the kernel."""
        uid, gid = process.file_system_ids(tid)
        kernel.set_file_system_ids(uid, gid)
        try:
            return look()
        except PermissionError:
            return None
        finally:
            kernel.set_file_system_ids(0, 0)


def read_memory(tid: int, address: int) -> bytes:
    """Return the string at an address of a process whose user's file system ids we have; process_vm_readv asks for the
    real ones.
    """
    fd = os.open(b"%d/mem" % tid, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while b"\0" not in text and len(text) < PATH_MAX:
            start = address + len(text)
            more = os.pread(fd, PATH_MAX - start % PATH_MAX, start)  # to the end of a page
            if not more:
                break
            text += more
    finally:
        os.close(fd)
    return text.partition(b"\0")[0]

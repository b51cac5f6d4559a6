"""One notification at a time: take it, look where its paths lead, answer it. linux/seccomp.h, seccomp_unotify(2)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
from collections.abc import Callable

from tiffin.builder import owner_xattrs
from tiffin.builder.sandbox.child.emulation import process
from tiffin.builder.sandbox.child.emulation.inodes import Inodes, parent_of
from tiffin.builder.sandbox.child.emulation.process import AT_EMPTY_PATH, AT_FDCWD, Memory, Processes

_RECEIVE, _SEND, _IS_VALID, _ADD_DESCRIPTOR, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
_FLAG_CONTINUE, _ADDFD_SEND, _SYNC_WAKE_UP = 1, 2, 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_ADDFD = struct.Struct("=QIIII")  # struct seccomp_notif_addfd
_MAX_LINKS = 40  # the kernel's MAXSYMLINKS
_ZERO = bytes(_NOTIFICATION.size)

CONTINUE = None  # the kernel does the call as it stands; never a permission, as the program may change its memory
ANSWERED = -4096  # the handler answered itself (an errno is above)
Answer = int | None  # a result, or an errno with a minus
Handler = Callable[[int, tuple[int, ...]], Answer]  # of a thread and the six arguments


class Gone(Exception):
    """The thread is not waiting for its answer any more."""


def signed(argument: int) -> int:
    """Return an argument of type int."""
    argument &= 0xFFFFFFFF
    return argument - (1 << 32) if argument >> 31 else argument


def id_of(argument: int) -> int:
    """Return an argument that is the id of a user or group: -1 as such, all others without sign."""
    argument &= owner_xattrs.NO_ID
    return -1 if argument == owner_xattrs.NO_ID else argument


class Caller:
    """What handlers know of the thread that made the call, and what they may do for it."""

    def __init__(
        self,
        memory: Memory,
        processes: Processes,
        inodes: Inodes,
        beyond: Callable[[str], None] | None = None,
    ) -> None:
        self.listener = -1  # where the kernel asks, once it is there
        self.memory = memory
        self.processes = processes
        self.inodes = inodes
        self._any_moved = False  # whether a process may have another root than the supervisor
        self.beyond = beyond  # ends a command that asks for what is not at hand, told what
        self._first: Callable[[], None] | None = None  # done in the answering thread, before its next answer
        self._number = 0
        self._opened: list[int] = []  # closed when the call is answered
        program = os.stat("self/exe", dir_fd=processes.proc)
        self._own_program = program.st_dev, program.st_ino

    def hear(self, listener: int) -> None:
        """Have the descriptor where the kernel asks."""
        self.listener = listener

    def do_first(self, act: Callable[[], None]) -> None:
        """Do something in the answering thread, before its next answer."""
        self._first = act

    def note_moved(self) -> None:
        """Look paths up inside the root of whoever names them from now on."""
        self._any_moved = True

    def path(self, tid: int, directory: int, address: int, *, flags: int = 0, follow: bool) -> bytes:
        """Return where the path at `address` leads, for the supervisor's own use."""
        return self.place(tid, directory, self.memory.read_string(tid, address), flags=flags, follow=follow)

    def place(self, tid: int, directory: int, path: bytes, *, flags: int = 0, follow: bool) -> bytes:
        directory = signed(directory)
        if not path:
            if not flags & AT_EMPTY_PATH:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return b"%d/cwd" % tid if directory == AT_FDCWD else b"%d/fd/%d" % (tid, directory)
        if self._any_moved and self.processes.credentials(tid).moved:
            found, fd = process.located_elsewhere(tid, directory, path, follow=follow)
            self._opened.append(fd)
            return found
        return process.located(tid, directory, path)

    def end(self, tid: int, path: bytes) -> bytes:
        """Return what to follow in the place of `path`: a link to what stands for "the process itself" would mean
        us.
        """
        found = path
        for _ in range(0 if path.startswith(b"self/") else _MAX_LINKS):
            try:
                text = os.readlink(found)
            except OSError:
                break
            target = text if text[:1] == b"/" else b"%b/%b" % (found.rpartition(b"/")[0], text)
            own = process.own_path(tid, target)
            if own != target:
                return own
            found = target
        return path

    def held(self, path: bytes, *, follow: bool) -> bytes:
        """Return the inode `path` leads to now, as a path that leads to it whatever is put in its place.

        Links in /proc lead the supervisor to what it has itself; the one thing of the machine among that is its
        program.
        """
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        self._opened.append(fd)
        st = os.fstat(fd)
        if (st.st_dev, st.st_ino) == self._own_program:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return b"self/fd/%d" % fd

    def keep(self, fd: int) -> None:
        """Close it once the call is answered."""
        self._opened.append(fd)

    def check(self) -> None:
        """Raise Gone unless the thread still waits: only then its number is its own, and what was read is of it."""
        try:
            fcntl.ioctl(self.listener, _IS_VALID, struct.pack("=Q", self._number))
        except OSError as exc:
            raise Gone from exc

    def write(self, tid: int, address: int, data: bytes) -> None:
        self.check()
        self.memory.write(tid, address, data)

    def give_descriptor(self, fd: int, *, close_on_exec: bool) -> int:
        """Answer the call with a copy of `fd`."""
        flags = os.O_CLOEXEC if close_on_exec else 0
        for how, result in ((_ADDFD_SEND, ANSWERED), (0, None)):  # before Linux 5.14 in two steps
            request = bytearray(_ADDFD.pack(self._number, how, fd, 0, flags))  # mutable: else the result is lost
            try:
                number = fcntl.ioctl(self.listener, _ADD_DESCRIPTOR, request)
                return number if result is None else result
            except OSError as exc:
                if exc.errno == errno.ENOENT:
                    raise Gone from exc
                if exc.errno != errno.EINVAL or result is None:
                    raise
        raise AssertionError

    def serve(self, handlers: dict[int, Handler]) -> None:
        """Answer until no process is left under the filter."""
        with contextlib.suppress(OSError):  # Linux 6.6 and later: the thread is woken on this processor
            fcntl.ioctl(self.listener, _SET_FLAGS, _SYNC_WAKE_UP)
        buffer, receive, unpack = bytearray(_NOTIFICATION.size), fcntl.ioctl, _NOTIFICATION.unpack
        listener = self.listener
        while True:
            buffer[:] = _ZERO
            try:
                receive(listener, _RECEIVE, buffer)
            except InterruptedError:
                continue
            except OSError as exc:
                if exc.errno != errno.ENOENT:  # the thread went before it was heard
                    raise
                if self._is_over():
                    return
                continue
            if self._first is not None:
                self._first()
                self._first = None
            self._number, tid, _, number, _, _, *arguments = unpack(buffer)
            self._answer(handlers[number], tid, tuple(arguments))

    def _is_over(self) -> bool:
        poller = select.poll()
        poller.register(self.listener, select.POLLIN)
        return any(event & select.POLLHUP for _, event in poller.poll(0))

    def _answer(self, handler: Handler, tid: int, arguments: tuple[int, ...]) -> None:
        try:
            answer = handler(tid, arguments)
        except Gone:
            answer = ANSWERED
        except OSError as exc:
            answer = -(exc.errno or errno.EIO)
        if answer is CONTINUE:
            response = _RESPONSE.pack(self._number, 0, 0, _FLAG_CONTINUE)
        elif answer >= 0:
            response = _RESPONSE.pack(self._number, answer, 0, 0)
        else:
            response = _RESPONSE.pack(self._number, 0, answer, 0)
        try:
            if answer != ANSWERED:
                fcntl.ioctl(self.listener, _SEND, response)
        except OSError as exc:
            if exc.errno != errno.ENOENT:  # it was killed meanwhile
                raise
        finally:
            while self._opened:
                os.close(self._opened.pop())


def tell_of_device(caller: Caller, path: bytes, device: owner_xattrs.Device) -> None:
    """End the command where a node would come into its layer, if it can begin anew where nodes can be opened."""
    if caller.beyond is not None and os.stat(parent_of(path)).st_dev != os.stat(b"/dev").st_dev:
        caller.beyond(f"mknod of device {device.kind[0]} {device.major}:{device.minor}")

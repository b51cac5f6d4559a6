"""The supervisor of a sandbox: its init answers, in a thread, what the filter asks about the command and its children.

It has the sandbox's root, user namespace and file capabilities, and nothing the command could not do itself; it is the
ancestor of all it answers for, though in a pid namespace that they do not see, and when it fails the sandbox ends. Its
directory is a /proc of that namespace, which is mounted nowhere. Nothing is imported after the root is entered, and
what emulates owners only where they are: it is twice as much as the rest.
"""

from __future__ import annotations

import _thread
import errno
import os
from collections.abc import Callable

from tiffin.builder.sandbox.child import bpf, fd_passing, idmaps, kernel, syscalls
from tiffin.builder.sandbox.child.emulation import filter
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.builder.sandbox.child.emulation.inodes import Inodes, Kept
from tiffin.builder.sandbox.child.emulation.notification import Caller, Handler
from tiffin.builder.sandbox.child.emulation.process import Memory, Processes
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.emulation.device_files import DeviceFiles

# what recording owners takes, all of it over files of the sandbox's one id
NEEDED_CAPABILITIES = frozenset({"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "SETFCAP"})
NESTED = (
    "this machine supervises system calls already (tiffin in a tiffin?): owners and permissions are left to that"
    " supervisor"
)
REFUSED = "this machine refuses to supervise system calls: chown and setuid to others than root fail"
UNANSWERED = (
    b"tiffin: no device nodes can be made here and no system calls supervised: /dev/null is a file that gives back what"
    b" is written to it, and zero, random and urandom cannot be opened\n"
)
WRITTEN = (
    "a process of the command that the kernel lets nobody look into wrote to it, and here it is a file that gives that"
    " back (no device nodes can be made)"
)
_READY, _REFUSED = b"r", b"x"
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_OF_PROC = kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC
Fail = Callable[[str], None]  # told why, ends the sandbox


def channel(
    *, has_users: bool, opens: bool, needed: bool, nests: bool, limits: tuple[int, int] | None = None
) -> Channel | None:
    """Return what this user namespace needs a supervisor for: owners where it has one id, else what it lacks.

    `has_users`: others than root are expected, and what they may read is asked about, too. `opens`: every open is asked
    about, for the sake of device nodes. Without a supervisor that is `needed` nothing runs. `nests`: the command will
    have a pid namespace below this one. `limits` end its id map, where no /proc tells. OSError: there is no /proc of
    this namespace.
    """
    if (limits is None and idmaps.is_initial()) or not (syscalls.NATIVE or needed):
        return None
    limits = limits or idmaps.own_limits()
    return Channel(
        Supervision(
            limits=limits, with_owners=limits[0] == 1, has_users=has_users, opens=opens, needed=needed, nests=nests
        )
    )


def channel_of_chroot() -> Channel:
    """Make the channel for a chroot whose /dev has files for device nodes; where it is refused the command says so and
    runs.
    """
    devices = os.open("/dev", _PLACE)
    return Channel(Supervision(limits=idmaps.own_limits(), with_owners=False, opens=True, devices=devices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What is asked about; the members as for `channel`. `limits`: the first ids that are not mapped."""

    limits: tuple[int, int]
    with_owners: bool  # all of them are emulated; else what lies beyond the limits alone is asked about
    has_users: bool = False
    opens: bool = False
    needed: bool = False
    nests: bool = False
    devices: int | None = None  # /dev of the machine, where that of the command has none


class Channel:
    """Between the init of a sandbox and its command, before the command is executed."""

    def __init__(self, wanted: Supervision) -> None:
        self._wanted = wanted
        self._handlers = _handlers(wanted)
        self._proc = kernel.new_filesystem("proc", [], _OF_PROC) if wanted.nests else os.open("/proc", _PLACE)
        self._of_init, self._of_command = fd_passing.pair()
        self._caller: Caller | None = None
        self._device_files: DeviceFiles | None = None

    @property
    def with_owners(self) -> bool:
        """Whether all owners are emulated."""
        return self._wanted.with_owners

    def enter(self) -> None:
        """Put this process, the command, under the filter and wait until somebody answers; not where it is refused."""
        self._of_init.close()
        places = [os.open(path, _PLACE) for path in ("/", "/proc")]  # as yet nobody has to be asked
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # so that its memory can be read; the launcher took that from all
        try:
            if self._wanted.devices is not None:  # root of a pod has no CAP_SYS_ADMIN, which a filter takes else
                kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            listener = _listen(self._filter())
        except OSError:  # what that means was told when the tier was chosen
            self._of_command.send(_REFUSED)
            if self._wanted.needed:
                raise
            if self._wanted.devices is not None:
                os.write(2, UNANSWERED)
            return
        fd_passing.send(self._of_command, _READY, [listener, *places])
        for fd in (listener, *places):
            os.close(fd)
        if fd_passing.hear(self._of_command, 1) != _READY:
            raise OSError(errno.EPIPE, "the supervisor of owners is gone")
        self._of_command.close()

    def _filter(self) -> bytes:
        if not syscalls.NATIVE:
            raise OSError(errno.ENOSYS, f"system calls of {os.uname().machine} are not known")
        if self.with_owners:
            return filter.owner_filter(looks=self._wanted.has_users, opens=self._wanted.opens)
        return filter.boundary_filter(self._wanted.limits, opens=self._wanted.opens)

    def serve(
        self, command: int, fail: Fail, beyond: Fail | None, kept: Kept | None, holder: fd_passing.Socket
    ) -> None:
        """Begin, in init, to answer `command` and its children, in a thread. Does nothing if the filter was refused.

        `beyond` ends the command when it asks for what this sandbox has not, and another that is at hand has.
        `kept`: mounts of this machine's files in which the caller's are not shown as root's. `holder`: the way to a
        process that outlives us; as long as it has the listener, a call that nobody answers waits.
        """
        self._of_command.close()
        processes = Processes(Credentials(), self._proc)
        caller = Caller(Memory(), processes, Inodes(), beyond)
        by_name = self._handlers(caller)  # made while the command makes its root and installs the filter
        data, descriptors = fd_passing.receive(self._of_init, 1, 3)
        if data != _READY:
            return
        listener, root, shown = descriptors
        caller.hear(listener)
        fd_passing.send(holder, _READY, [listener])
        # pivot_root(2) took this process along where it shared a root with the command, and chroot may be forbidden
        if not os.path.samestat(os.stat("/"), os.fstat(root)):
            os.fchdir(root)
            os.chroot(".")
        os.close(root)
        if self._wanted.devices is None:
            processes.show(shown, is_other=self._wanted.nests)
        else:
            os.close(shown)  # only files of it
        os.fchdir(processes.proc)
        os.umask(0)
        if kept is not None and self.with_owners:
            caller.inodes.keep(kept)
        if self.with_owners:
            processes.set_credentials(command, processes.initial)
        self._caller = caller
        if self._wanted.devices is not None:
            from tiffin.builder.sandbox.child.emulation.device_files import DeviceFiles

            self._device_files = DeviceFiles(caller, self._wanted.devices)
            by_name |= self._device_files.handlers
        handlers = {syscalls.NATIVE[name]: handler for name, handler in by_name.items() if name in syscalls.NATIVE}
        _thread.start_new_thread(_answer, (caller, handlers, fail))
        self._of_init.send(_READY)
        self._of_init.close()

    def settle(self, keep: frozenset[str]) -> None:
        """Drop, in init, the capabilities that are not in `keep`: the command is executed by now."""
        if self._caller is not None and self.with_owners:
            self._caller.do_first(lambda: kernel.set_capabilities(keep | NEEDED_CAPABILITIES))

    @property
    def null_was_written(self) -> bool:
        """Whether what the command did with /dev/null may have come back to it (DeviceFiles.was_written)."""
        return self._device_files is not None and self._device_files.was_written


def load() -> None:
    """Import all that answers before it is needed, where a later process may not be able to read it."""
    from tiffin.builder.sandbox.child.emulation import bounds, devices  # noqa: F401
    from tiffin.builder.sandbox.child.emulation.checks import enforcement  # noqa: F401


def _handlers(wanted: Supervision) -> Callable[[Caller], dict[str, Handler]]:
    """Return what makes the answers to system calls, by name: all is imported now."""
    if wanted.with_owners:
        from tiffin.builder.sandbox.child.emulation.checks.enforcement import owner_handlers

        return lambda caller: owner_handlers(caller, has_users=wanted.has_users)
    from tiffin.builder.sandbox.child.emulation.bounds import Bounds
    from tiffin.builder.sandbox.child.emulation.devices import Devices

    if wanted.devices is not None:
        from tiffin.builder.sandbox.child.emulation import device_files  # noqa: F401  # for the root of the machine
    return lambda caller: Devices(caller).handlers | Bounds(caller, wanted.limits).handlers


def why_not() -> str:
    """Try it, in a process that ends soon: why owners are not emulated here, "" where they can be."""
    if not syscalls.NATIVE:
        return f"system calls of {os.uname().machine} are not known: chown and setuid to others than root fail"
    program = bpf.Program()
    program.answer(bpf.RET_ALLOW)
    try:
        os.close(_listen(program.assemble()))
    except OSError as exc:
        return NESTED if exc.errno == errno.EBUSY else f"{REFUSED} ({exc.strerror})"
    return ""


def _listen(program: bytes) -> int:
    """Install the filter; a signal that does not kill leaves a call alone that is being answered (Linux 5.19)."""
    try:
        flags = kernel.SECCOMP_FILTER_NEW_LISTENER | kernel.SECCOMP_FILTER_WAIT_KILLABLE_RECV
        return kernel.install_filter(program, flags)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
    return kernel.install_filter(program, kernel.SECCOMP_FILTER_NEW_LISTENER)


def _answer(caller: Caller, handlers: dict[int, Handler], fail: Fail) -> None:
    try:
        caller.serve(handlers)
    except BaseException as exc:
        fail(f"{type(exc).__name__}: {exc}")

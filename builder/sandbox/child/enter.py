"""Around a command in a new sandbox: its runner and its init. Runs in a forked child and stands alone.

The init is process 1 of a pid namespace, so that everything in it ends with it; the command has a namespace below that
one, as process 1, and does not see who answers for it. Nothing is imported once there is a command (an import would
load code of the image).
"""

from __future__ import annotations

import contextlib
import os
import select

from tiffin.builder.sandbox.child import idmaps, kernel
from tiffin.builder.sandbox.child.command import be_command, failure, forget_imports
from tiffin.builder.sandbox.child.emulation import supervisor
from tiffin.builder.sandbox.child.emulation.inodes import Kept
from tiffin.builder.sandbox.child.fd_passing import MSG_DONTWAIT, MSG_PEEK, Socket, hear, pair
from tiffin.builder.sandbox.child.reaper import INIT_NAME, kill_descendants, remove_loaders, wait_for_tracer
from tiffin.builder.sandbox.child.root import SetupError, step
from tiffin.builder.sandbox.child.spec import Bind, Outcome, SandboxSpec
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.builder.sandbox.child.join import Joined
    from tiffin.builder.sandbox.child.network.helper import Connector
    from tiffin.builder.sandbox.child.reading.lookups import Lookups

FORWARDED = tuple(
    getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT")
)
REAP_MILLISECONDS = 500  # how long an orphan may stay a zombie


def run(spec: SandboxSpec, fds: list[int], reply: Socket) -> None:
    """Run one sandbox: make namespaces, start its init, pass signals on. Never returns."""
    if spec.own_pids:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    else:  # lives on when its parent dies, as it has to end what the command started
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 0)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if spec.tty:
        import termios  # noqa: F401  # for the command, where nothing may be imported any more
    if spec.emulated or spec.enters:
        load_emulation()
    try:
        joined, watched = look_at_joined(spec) if spec.joins else (None, None)
        connector = None
        if joined is None:
            connector = make_namespaces(spec, fds, pids=spec.own_pids and not spec.joined_pids)
            joined = join_pids(spec) if spec.joined_pids else None
    except SetupError as exc:
        report(reply, failure(exc))
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # they wait until there is a command to have them
    # what lies in it lives as long as this process: where the kernel asks init, so that calls wait for the end of the
    # sandbox when init is gone, and do not fail
    held, holder = pair()
    init = os.fork()
    if init == 0:
        held.close()
        reporting(reply, lambda: be_init(spec, fds, reply, holder, joined))
    holder.close()
    for fd in fds:
        os.close(fd)
    reaped: set[int] = set()
    pass_signals(init, reply, None if spec.own_pids else reaped, watched)
    if connector:
        connector.close()
    if not spec.own_pids:
        kill_descendants(reaped)
        if spec.is_traced:
            remove_loaders(reaped)
    reply.close()  # nothing runs any more: who waits for that need not wait for the end of this interpreter
    os._exit(0)


def be_direct_init(spec: SandboxSpec, fds: list[int], reply: Socket, holder: Socket) -> None:
    """Be the init of a sandbox that needs no runner, in a pid namespace that was made with this process.

    Never returns.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(BlockingIOError):
        reply.recv(1, MSG_PEEK | MSG_DONTWAIT)
        os._exit(1)  # the parent, whose end that is, was gone before
    if spec.tty:
        import termios  # noqa: F401  # for the command, where nothing may be imported any more

    def begin() -> None:
        make_namespaces(spec, fds, pids=False)
        be_init(spec, fds, reply, holder, None)

    reporting(reply, begin)


def reporting(reply: Socket, be: Callable[[], None]) -> None:
    """Call what does not come back, and tell why it did. Never returns."""
    try:
        be()
    except SetupError as exc:
        report(reply, failure(exc))
    except BaseException as exc:
        report(reply, Outcome(error="set up the sandbox", reason=repr(exc)))
    os._exit(1)


def load_emulation() -> None:
    """Import what answers system calls while it can be read."""
    supervisor.load()


def look_at_joined(spec: SandboxSpec) -> tuple[Joined | None, int | None]:
    """Enter the sandbox that is entered; where there are no namespaces, return what tells of its end."""
    from tiffin.builder.sandbox.child import join

    return (join.enter(spec), None) if spec.enters else (None, join.watch(spec))


def join_pids(spec: SandboxSpec) -> Joined:
    """Have the init among what is around another sandbox, and the command in that."""
    from tiffin.builder.sandbox.child import join

    return join.beside(spec)


def make_namespaces(spec: SandboxSpec, fds: list[int], *, pids: bool) -> Connector | None:
    """Make the namespaces of the sandbox; return what connects its network, begun before there is one of its own.

    `pids`: among them one of pids, for children. A way out of its network takes the last of `fds`.
    """
    connector = None
    if spec.connector:
        from tiffin.builder.sandbox.child.network import helper as connectors

        connector = connectors.start(spec.connector, spec.scratch_dir)
    attachments = None
    if spec.memberships:
        from tiffin.builder.sandbox.child.network.membership import Attachments

        with step("reach its network"):
            attachments = Attachments(spec.memberships)
    leave_namespaces(spec, pids=pids)
    if spec.way_out:
        from tiffin.builder.sandbox.child.network.way_out import offer

        offer(fds.pop(), spec.way_out)
    for name, value in spec.sysctls:
        with step(f"set the sysctl {name}={value}"), open(f"/proc/sys/{name.replace('.', '/')}", "w") as file:
            file.write(value)
    if connector:
        with step("connect the network of the sandbox"):
            connector.attach()
    if attachments is not None:
        with step("attach the sandbox to its network"):
            attachments.attach()
    return connector


def leave_namespaces(spec: SandboxSpec, *, pids: bool) -> None:
    """Make namespaces, as far as the tier has them; those that only make things neater may be refused."""
    if spec.joined_network or spec.joined_ipc:  # here: a namespace of one id has no right to them
        from tiffin.builder.sandbox.child import join

        join.enter_shared(spec)
    if spec.emulated:
        with step("make a user namespace of one id"):
            if spec.keeps_id:
                idmaps.become_root_of_sandbox()
            idmaps.keep_one_id()
    if spec.network != "host" and not spec.joined_network:
        from tiffin.builder.sandbox.child.network import own  # the root is still the one outside

        with step("make a private network"):
            kernel.unshare(kernel.CLONE_NEWNET)
            own.loopback_up()
        own.open_to_all_users()
    if not spec.has_namespaces:
        return
    for name, flag in (("ipc", kernel.CLONE_NEWIPC), ("uts", kernel.CLONE_NEWUTS)):
        with contextlib.suppress(OSError):
            kernel.unshare(0 if name in spec.shared or (name == "ipc" and spec.joined_ipc) else flag)
    with step("make namespaces"):
        kernel.unshare(kernel.CLONE_NEWNS | (kernel.CLONE_NEWPID if pids else 0))


def pass_signals(init: int, reply: Socket, reaped: set[int] | None, watched: int | None) -> None:
    """Forward signals asked for over `reply` until init ends; its end of the line means the parent is gone.

    Without a pid namespace orphans are reaped meanwhile: `reaped` has which. The end of the process `watched` ends it.
    """
    pidfd = os.pidfd_open(init)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(reply, select.POLLIN)
    if watched is not None:
        poller.register(watched, select.POLLIN)
    while True:
        ready = dict(poller.poll(REAP_MILLISECONDS if reaped is not None else None))
        if reaped is not None:
            reap(init, reaped)
        if pidfd in ready:
            break
        if watched in ready:
            forward(init, signal.SIGKILL)
            break
        if reply.fileno() not in ready:
            continue
        data = hear(reply, 16)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, int(data) if data else signal.SIGKILL)
        if not data:
            break
    os.waitpid(init, 0)


def reap(init: int, reaped: set[int]) -> None:
    """Reap orphans of the command that have ended, but not `init`, whose end the caller waits for."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != init:
            os.waitpid(found.si_pid, 0)
            reaped.add(found.si_pid)


def report(reply: Socket, outcome: Outcome) -> None:
    with contextlib.suppress(OSError):
        reply.send(outcome.encode())


# -- init ------------------------------------------------------------------------------------------------------------


def be_init(spec: SandboxSpec, fds: list[int], reply: Socket, holder: Socket, joined: Joined | None) -> None:
    """Start the command, answer for it, pass signals on, and tell how it ended.

    Process 1 of what is around its processes.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o022)
    if spec.keeps_id:
        idmaps.become_root_of_sandbox()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # which a change of the uid takes away
    if not spec.joins:  # else no /proc of the sandbox has this process
        forget_arguments()
        forget_streams()
    with step("open the control group"):
        groups = joined.groups if joined is not None else open_groups(spec)
    with step("prepare to answer system calls"):
        owners = open_channel(spec, joined)
        lookups = open_lookups(spec) if spec.watched else None
    errors, error_writer = os.pipe2(os.O_CLOEXEC)
    command = fork_command(spec, owners, joined)
    if command == 0:
        os.close(errors)
        be_command(spec, fds, error_writer, owners, groups, lookups)
    os.close(error_writer)
    if lookups is not None:
        lookups.leave()
    forget_imports()
    if owners is not None:
        answer(spec, owners, command, reply, holder)
    attend(spec, reply, owners, command, errors, lookups)
    if joined is not None:
        joined.end()
    os._exit(0)


def attend(
    spec: SandboxSpec,
    reply: Socket,
    owners: supervisor.Channel | None,
    command: int,
    errors: int,
    lookups: Lookups | None,
) -> None:
    """Pass signals on to the command, wait for its end, and tell of it."""
    for number in FORWARDED:
        signal.signal(number, lambda received, _: forward(command, received))
    # ends when the command is executed, and with it our own handlers in it
    with open(errors, "rb") as told:
        failed = told.read().partition(b"\n")[0]
    if spec.announces and not failed:
        report(reply, Outcome(started=True))
    if owners is not None:
        owners.settle(frozenset(spec.capabilities))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    if spec.is_traced:
        status = wait_for_tracer(command)
        remove_loaders({command})
    else:
        status = wait_for(command)  # with a pid namespace nothing of the command is left by then
    if lookups is not None:
        lookups.finish()
    if failed:
        report(reply, Outcome.decode(failed))
    elif owners is not None and owners.null_was_written:
        report(reply, Outcome(error="keep /dev/null empty", reason=supervisor.WRITTEN))
    else:
        report(reply, Outcome(status=os.waitstatus_to_exitcode(status)))


def wait_for(command: int) -> int:
    """Wait for a command to end, and reap what others left that entered its namespace and whose parent is gone.

    While one of these is a zombie the kernel does not let process 1 of their namespace end, not even when it is killed.
    """
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command:
            return status


def open_groups(spec: SandboxSpec) -> list[int]:
    return [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in spec.cgroup_dirs]


def open_lookups(spec: SandboxSpec) -> Lookups | None:
    from tiffin.builder.sandbox.child.reading import lookups

    return lookups.Lookups(spec) if lookups.can_tell(spec) else None


def open_channel(spec: SandboxSpec, joined: Joined | None) -> supervisor.Channel | None:
    """Return the channel to whoever answers system calls of the command, None where nobody has to."""
    if spec.device_files:
        return supervisor.channel_of_chroot()
    if not spec.has_namespaces or (joined is not None and joined.limits is None):
        return None
    return supervisor.channel(
        limits=joined.limits if joined is not None else None,
        has_users=spec.has_users,
        opens=spec.opens,
        needed=spec.emulated,
        nests=spec.own_pids,
    )


def fork_command(spec: SandboxSpec, owners: supervisor.Channel | None, joined: Joined | None) -> int:
    if joined is not None:
        return joined.fork_below()
    return fork_below(comes_back=owners is not None) if spec.own_pids else os.fork()


def fork_below(*, comes_back: bool) -> int:
    """Fork process 1 of a pid namespace below ours. `comes_back`: this process starts threads afterwards."""
    with step("make a pid namespace of the command"):
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if comes_back else -1
        kernel.unshare(kernel.CLONE_NEWPID)
    pid = os.fork()
    if pid and comes_back:
        with step("return to the pid namespace of the sandbox"):
            kernel.setns(own, kernel.CLONE_NEWPID)
    if comes_back:
        os.close(own)
    return pid


def answer(spec: SandboxSpec, owners: supervisor.Channel, command: int, reply: Socket, holder: Socket) -> None:
    """Begin to answer system calls of the command."""
    beyond = (lambda what: abandon(reply, what)) if spec.abandons else None
    binds = [item.path for item in spec.mounts if isinstance(item, Bind) and not item.has_owners]
    kept = Kept(spec.kept[0], spec.kept[1], binds) if spec.kept else None
    owners.serve(command, lambda reason: give_up(reply, reason), beyond, kept, holder)


def give_up(reply: Socket, reason: str) -> None:
    """End the sandbox, as nobody can answer its system calls any more."""
    report(reply, Outcome(error="keep the owners of the sandbox's files", reason=reason))
    os._exit(1)


def abandon(reply: Socket, what: str) -> None:
    """End the sandbox, as the command asks for what only another one has."""
    report(reply, Outcome(beyond=what))
    os._exit(1)


def forget_arguments() -> None:
    """Overwrite this process's command line and environment: both are files in the sandbox's /proc."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    for start, end, text in ((int(fields[45]), int(fields[46]), INIT_NAME), (int(fields[47]), int(fields[48]), b"")):
        if 0 < start < end:
            kernel.overwrite(start, end - start, text)


def forget_streams() -> None:
    """Put /dev/null in the place of tiffin's own streams: links in the sandbox's /proc lead there."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

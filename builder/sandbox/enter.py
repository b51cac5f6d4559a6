"""Inside a new sandbox: mounts, root, identity, command. Runs in a forked child and stands alone.

Nothing is imported after the root is entered (an import would load code of the image), and no path of the image is used
but through a descriptor below its root.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import stat
import struct
import sys

from tiffin.builder.sandbox import idmaps, kernel
from tiffin.builder.sandbox.emulation import supervisor
from tiffin.builder.sandbox.emulation.inodes import Kept
from tiffin.builder.sandbox.leftovers import kill_descendants, remove_loaders, wait_for_tracer
from tiffin.builder.sandbox.messages import Socket
from tiffin.builder.sandbox.root import SetupError, enter_root, step
from tiffin.cache.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    _Spec = dict[str, Any]  # the decoded JSON of a SandboxSpec

NOFILE_SOFT_LIMIT = 1 << 20  # enough for anything; more makes programs that loop over descriptors slow
FORWARDED = tuple(
    getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT")
)
# signals that whoever began this process, or it, ignores or handles: a command has the defaults of all
CHANGED = tuple(
    number
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    if signal.getsignal(number) != signal.SIG_DFL
)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
UNPRIVILEGED_PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE = 127, 126
WITHOUT_NAMESPACES = ("chroot", "proot")
REAP_MILLISECONDS = 500  # how long an orphan may stay a zombie
INIT_NAME = b"tiffin-init"  # what ps shows in the sandbox


def run(spec: _Spec, fds: list[int], reply: Socket) -> None:
    """Be the runner of one sandbox: make namespaces, start its init, pass signals on. Never returns."""
    if spec["own_pids"]:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    else:  # lives on when its parent dies, as it has to end what the command started
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    connector = None
    if spec["tty"]:
        import termios  # noqa: F401  # for the command, where nothing may be imported any more
    try:
        if spec["connector"]:
            from tiffin.builder.sandbox import connector as connectors

            connector = connectors.start(spec)
        make_namespaces(spec)
        if connector:
            with step("connect the network of the sandbox"):
                connector.attach()
    except SetupError as exc:
        report_failure(reply, exc)
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # they wait until there is a command to have them
    init = os.fork()
    if init == 0:
        try:
            be_init(spec, fds, reply)
        except SetupError as exc:
            report_failure(reply, exc)
        except BaseException as exc:
            report(reply, error="set up the sandbox", reason=repr(exc), errno=0)
        os._exit(1)
    for fd in fds:
        os.close(fd)
    reaped: set[int] = set()
    pass_signals(init, reply, None if spec["own_pids"] else reaped)
    if connector:
        connector.close()
    if not spec["own_pids"]:
        kill_descendants(reaped)
        if spec["tier"] == "proot":
            remove_loaders(reaped)
    reply.close()  # nothing runs any more: who waits for that need not wait for the end of this interpreter
    os._exit(0)


def make_namespaces(spec: _Spec) -> None:
    """New namespaces, as far as the tier has them; those that only make things neater may be refused."""
    if spec["emulated"]:
        with step("make a user namespace of one id"):
            if spec["keeps_id"]:
                idmaps.become_root_of_sandbox()
            idmaps.keep_one_id()
    if spec["network"] != "host":
        with step("make a network of its own"):
            kernel.unshare(kernel.CLONE_NEWNET)
            loopback_up()
        with contextlib.suppress(OSError), open(UNPRIVILEGED_PORTS, "w") as file:  # as in Docker: any user may listen
            file.write("0")
    if spec["tier"] in WITHOUT_NAMESPACES:
        return
    for flag in (kernel.CLONE_NEWIPC, kernel.CLONE_NEWUTS):
        with contextlib.suppress(OSError):
            kernel.unshare(flag)
    with step("make namespaces"):
        kernel.unshare(kernel.CLONE_NEWNS | (kernel.CLONE_NEWPID if spec["own_pids"] else 0))


def loopback_up() -> None:
    import socket  # the root is still the one outside

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def pass_signals(init: int, reply: Socket, reaped: set[int] | None) -> None:
    """Forward signals asked for over `reply` until init ends; its end of the line means the parent is gone.

    Without a pid namespace orphans are reaped meanwhile: `reaped` has which.
    """
    import select  # builder's own root is still the root here

    pidfd = os.pidfd_open(init)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(reply, select.POLLIN)
    while True:
        ready = dict(poller.poll(REAP_MILLISECONDS if reaped is not None else None))
        if reaped is not None:
            reap(init, reaped)
        if pidfd in ready:
            break
        if reply.fileno() not in ready:
            continue
        data = reply.recv(16)
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


def report(reply: Socket, **message: object) -> None:
    with contextlib.suppress(OSError):
        reply.send(json.dumps(message).encode())


def report_failure(reply: Socket, exc: SetupError) -> None:
    where = f" ({exc.error.filename})" if exc.error.filename else ""
    report(reply, error=exc.step + where, reason=exc.error.strerror or str(exc.error), errno=exc.error.errno or 0)


# -- init ------------------------------------------------------------------------------------------------------------


def be_init(spec: _Spec, fds: list[int], reply: Socket) -> None:
    """Be process 1: make the root, start the command, reap, and tell how the command ended."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o022)
    if spec["keeps_id"]:
        idmaps.become_root_of_sandbox()
    forget_arguments()
    forget_streams()
    owners = None
    with step("open the control group"):
        groups = [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in spec["groups_of_control"]]
    if spec["tier"] == "chroot":
        with step("enter the root"):
            os.chroot(spec["root_dir"])
            os.chdir("/")
    elif spec["tier"] != "proot":
        owners = supervisor.channel(has_users=spec["has_users"], opens=spec["opens"], needed=spec["emulated"])
        enter_root(spec)
    sys.path.clear()
    sys.meta_path.clear()
    errors, error_writer = os.pipe2(os.O_CLOEXEC)
    command = os.fork()
    if command == 0:
        os.close(errors)
        be_command(spec, fds, error_writer, owners, groups)
    os.close(error_writer)
    if owners is not None:
        beyond = (lambda what: abandon(reply, what, own_pids=spec["own_pids"])) if spec["abandons"] else None
        binds = [item["path"] for item in spec["mounts"] if item["kind"] == "bind"]
        kept = Kept(spec["kept"][0], spec["kept"][1], binds) if spec["kept"] else None
        owners.serve(command, lambda reason: give_up(reply, reason), beyond, kept)
    for number in FORWARDED:
        signal.signal(number, lambda received, _: forward(command, received))
    failure = read_all(errors)  # ends when the command is executed, and with it the time of our own handlers in it
    if owners is not None:
        owners.settle(frozenset(spec["capabilities"]))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    if spec["tier"] == "proot":
        status = wait_for_tracer(command)
        remove_loaders({command})
    else:
        status = wait_for(command)
    if failure:
        report(reply, **json.loads(failure))
    else:
        report(reply, status=os.waitstatus_to_exitcode(status))
    os._exit(0)


def give_up(reply: Socket, reason: str) -> None:
    """End the sandbox, as nobody can answer its system calls any more."""
    report(reply, error="keep the owners of the sandbox's files", reason=reason, errno=0)
    os._exit(1)


def abandon(reply: Socket, what: str, *, own_pids: bool) -> None:
    """End the sandbox, as the command asks for what only another one has."""
    report(reply, beyond=what)
    if own_pids:
        os.kill(-1, signal.SIGKILL)  # before whoever asked hears that nobody answers
    os._exit(1)


def wait_for(command: int) -> int:
    """Reap everything until `command` has ended; its wait status."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command:
            return status


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


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 4096):
        data += chunk
    os.close(fd)
    return data


def be_command(
    spec: _Spec, fds: list[int], error_writer: int, owners: supervisor.Channel | None, groups: list[int]
) -> None:
    """Become the command; what fails before is told through `error_writer`. Never returns."""
    try:
        join_groups(groups)
        os.setsid()
        for number, fd in enumerate(fds[:3]):
            give_stream(spec, fd)
            os.dup2(fd, number)
        if spec["tty"]:
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        set_limits(spec["ulimits"])
        if spec["processors"]:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec["processors"]])
        if owners is not None:
            with step("watch over the owners of files"):
                owners.enter()
        if spec["tier"] != "proot":
            go_to_directory(spec)
        signal.set_wakeup_fd(-1)
        for number in CHANGED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if spec["tier"] == "proot":  # which enters the directory and emulates the user in its own way
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        else:
            become_user(spec)
            drop_privileges(spec)
        if not spec["own_pids"]:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        keep_only_standard(error_writer)
        execute(spec, error_writer)
    except SetupError as exc:
        tell(error_writer, error=exc.step, reason=exc.error.strerror, errno=exc.error.errno)
    except BaseException as exc:
        tell(error_writer, error="start the command", reason=str(exc), errno=0)
    os._exit(1)


def give_stream(spec: _Spec, fd: int) -> None:
    """Let a user other than root open a stream by name (/dev/stderr): its pipes and its terminal are all made for it."""
    if spec["uid"] and (spec["tty"] or stat.S_ISFIFO(os.fstat(fd).st_mode)):
        with contextlib.suppress(OSError):  # an id that is not in the map
            os.fchown(fd, spec["uid"], -1)


def join_groups(groups: list[int]) -> None:
    """Enter the control groups, and see them as the roots of their trees where that is allowed."""
    with step("enter the control group"):
        for fd in groups:
            os.write(fd, b"0")
            os.close(fd)
    if groups:
        with contextlib.suppress(OSError):
            kernel.unshare(kernel.CLONE_NEWCGROUP)


def tell(fd: int, **message: object) -> None:
    os.write(fd, json.dumps(message).encode())


def keep_only_standard(error_writer: int) -> None:
    """Everything but 0, 1, 2 closes when the command starts."""
    try:
        kernel.close_on_exec(3)
        return
    except OSError:  # an old kernel, or a profile around us
        pass
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(3, 1024)):
        fd = int(name)
        if fd > 2 and fd != error_writer:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def set_limits(ulimits: list[list[Any]]) -> None:
    """Many open files by default; then what was asked for: name, soft and hard limit, -1 for none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NOFILE_SOFT_LIMIT if hard == resource.RLIM_INFINITY else min(hard, NOFILE_SOFT_LIMIT)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    for name, lower, upper in ulimits:
        with step(f"set the limit {name}={lower}:{upper}"):
            try:
                resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (lower, upper))
            except ValueError as exc:  # beyond the hard limit of whoever runs us
                raise PermissionError(errno.EPERM, f"{exc}; this machine allows no more") from exc


def go_to_directory(spec: _Spec) -> None:
    """Enter the working directory, made (owned by the user) where it is missing."""
    with step(f"enter the working directory {spec['cwd']}"):
        path = ""
        for part in spec["cwd"].split("/"):
            if not part:
                continue
            path += f"/{part}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
                os.chown(path, spec["uid"], spec["gid"])
        os.chdir(spec["cwd"] or "/")


def become_user(spec: _Spec) -> None:
    """Groups, bounding set, ids: in the order in which each is still allowed. What is permitted stays for now."""
    keep = frozenset(spec["capabilities"])
    uid, gid, groups = spec["uid"], spec["gid"], spec["groups"]
    with step(f"become user {uid}:{gid}"):
        try:
            os.setgroups(groups or [gid])
        except PermissionError:  # one id only: the kernel denies setgroups for good
            if set(groups) - {gid}:
                raise
        kernel.drop_bounding(keep)
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)  # execve clears it
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def drop_privileges(spec: _Spec) -> None:
    """Capabilities and the seccomp filter. Without no_new_privs the filter needs CAP_SYS_ADMIN, which goes after it."""
    keep = frozenset(spec["capabilities"]) if spec["uid"] == 0 else frozenset()
    program = binascii.a2b_base64(spec["seccomp"])
    with step("drop capabilities"):
        if spec["no_new_privs"]:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        elif program or spec["scoped"]:
            with unless_chroot(spec):
                kernel.set_capabilities(keep | {"SYS_ADMIN"})
    if spec["scoped"]:
        with step("restrict the scope of sockets"), unless_chroot(spec):
            # with a pid namespace there is nobody else to signal but process 1, and that may be
            signals = 0 if spec["own_pids"] else kernel.LANDLOCK_SCOPE_SIGNAL
            kernel.restrict_scope(kernel.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | signals)
    if program:
        with step("install the seccomp filter"), unless_chroot(spec):
            kernel.install_filter(program, spec["seccomp_flags"])
    with step("drop capabilities"):
        kernel.set_capabilities(keep)


def unless_chroot(spec: _Spec) -> contextlib.AbstractContextManager[None]:
    """Root of a pod lacks what this needs; there the pod's own filter has to do."""
    return contextlib.suppress(PermissionError) if spec["tier"] == "chroot" else contextlib.nullcontext()


def execute(spec: _Spec, error_writer: int) -> None:
    """execve by absolute path, the name looked up in the PATH of the run's own environment."""
    argv, name = spec["argv"], spec["argv"][0]
    env = {key: value for key, _, value in (item.partition("=") for item in spec["env"])}
    denied = False
    directories = [""] if "/" in name else [item or "." for item in env.get("PATH", "").split(":")]
    for directory in directories:
        path = f"{directory}/{name}" if directory else name
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            denied = True
        except OSError as exc:
            reason = "exec format error" if exc.errno == errno.ENOEXEC else (exc.strerror or "").lower()
            tell(error_writer, status=EXIT_NOT_EXECUTABLE, message=f'exec "{name}": {reason}')
            os._exit(1)
    if denied:
        tell(error_writer, status=EXIT_NOT_EXECUTABLE, message=f'exec "{name}": permission denied')
    else:
        where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        tell(error_writer, status=EXIT_NOT_FOUND, message=f'exec "{name}": {where}')
    os._exit(1)

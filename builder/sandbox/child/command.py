"""What becomes the command of a sandbox: its root, streams, limits and user, then execve. Runs in a forked child.

Nothing is imported after the root is entered.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import fcntl
import os
import resource
import stat
import sys
from collections.abc import Sequence

from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.emulation import supervisor
from tiffin.builder.sandbox.child.reaper import INIT_NAME, TRACER_END
from tiffin.builder.sandbox.child.root import SetupError, enter_root, step
from tiffin.builder.sandbox.child.spec import Outcome, SandboxSpec
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.reading.lookups import Lookups

NOFILE_SOFT_LIMIT = 1 << 20  # enough for anything; more makes programs that loop over descriptors slow
EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE = 127, 126
FIRST_UNUSED = 3  # descriptors from here on are ours


def be_command(
    spec: SandboxSpec,
    fds: list[int],
    error_writer: int,
    owners: supervisor.Channel | None,
    groups: list[int],
    lookups: Lookups | None,
) -> None:
    """Become the command; what fails before is told through `error_writer`. Never returns.

    With a pid namespace this is process 1 of it, or with `init` its child.
    """
    end = TRACER_END if spec.is_traced else signal.SIGKILL
    try:
        if not spec.own_pids or spec.joins or spec.joined_pids:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, end)
        if not spec.enters:
            make_root(spec, lookups)
        join_groups(groups, sees_them_as_roots=not spec.enters and sees_own_groups(spec))
        os.setsid()
        take_streams(spec, fds)
        set_limits(spec.ulimits)
        set_shares(spec)
        if spec.init and spec.own_pids:
            leave_to_child(spec, owners)
        if owners is not None:
            with step("watch over the owners of files"):
                owners.enter()
        if not spec.is_traced:
            go_to_directory(spec)
        restore_signals()
        if spec.is_traced:  # which enters the directory and emulates the user in its own way
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        else:
            become_user(spec)
            drop_privileges(spec)
        if not spec.own_pids or spec.joins or spec.joined_pids:  # another user lost it
            kernel.prctl(kernel.PR_SET_PDEATHSIG, end)
        keep_only_standard(error_writer)
        execute(spec, error_writer)
    except SetupError as exc:
        report(error_writer, failure(exc))
    except BaseException as exc:
        report(error_writer, Outcome(error="start the command", reason=str(exc)))
    os._exit(1)


def restore_signals() -> None:
    """Give the command the defaults of all signals, those too that whoever began this process, or it, handles."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def failure(exc: SetupError) -> Outcome:
    """Return what is told of a sandbox that could not be made."""
    where = f" ({exc.error.filename})" if exc.error.filename else ""
    reason = exc.error.strerror or str(exc.error)
    return Outcome(error=exc.step + where, reason=reason, errno=exc.error.errno or 0)


def make_root(spec: SandboxSpec, lookups: Lookups | None) -> None:
    """Enter the root, by mounts or as it lies there, and import nothing from now on."""
    if spec.has_namespaces:
        enter_root(spec, lookups)
    elif not spec.is_traced:
        with step("enter the root"):
            os.chroot(spec.root_dir)
            os.chdir("/")
    forget_imports()


def forget_imports() -> None:
    """Import nothing from now on: it would be the image's."""
    sys.path.clear()
    sys.meta_path.clear()


# -- an init of ours -------------------------------------------------------------------------------------------------


def leave_to_child(spec: SandboxSpec, owners: supervisor.Channel | None) -> None:
    """Act as the init of a command that a child becomes, as --init asks for: returns in the child only."""
    everything = signal.valid_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    command = os.fork()
    if command == 0:
        os.setpgid(0, 0)
        if spec.tty:
            os.tcsetpgrp(0, os.getpgrp())
        return
    kernel.set_name(INIT_NAME)
    if owners is None or not owners.with_owners:  # else there are no other users for the kernel
        become_user(spec)
    drop_privileges(spec)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # its program and its memory are ours
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(FIRST_UNUSED):
        os.dup2(null, number)
    os.closerange(FIRST_UNUSED, NOFILE_SOFT_LIMIT)  # the pipe of errors, too: now signals may come
    while True:
        number = signal.sigwait(everything)
        if number != signal.SIGCHLD:
            with contextlib.suppress(OSError):
                os.kill(command, number)
            continue
        end = reap_all(command)
        if end is not None:
            os._exit(end if end >= 0 else 128 - end)


def reap_all(command: int) -> int | None:
    """Reap whatever has ended; how `command` did if it is among that."""
    end = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == command:
                end = os.waitstatus_to_exitcode(found[1])
    return end


# -- what a command is given ------------------------------------------------------------------------------------------


def take_streams(spec: SandboxSpec, fds: list[int]) -> None:
    """Make them the standard streams, and the controlling terminal where they are one."""
    for number, fd in enumerate(fds[:FIRST_UNUSED]):
        give_stream(spec, fd)
        os.dup2(fd, number)
    if spec.tty:
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def give_stream(spec: SandboxSpec, fd: int) -> None:
    """Let a user other than root open a stream by name (/dev/stderr): its pipes and its terminal are all made for
    it.
    """
    if spec.uid and (spec.tty or stat.S_ISFIFO(os.fstat(fd).st_mode)):
        with contextlib.suppress(OSError):  # an id that is not in the map
            os.fchown(fd, spec.uid, -1)


def join_groups(groups: list[int], *, sees_them_as_roots: bool) -> None:
    """Enter the control groups, and see them as the roots of their trees where that is allowed."""
    with step("enter the control group"):
        for fd in groups:
            os.write(fd, b"0")
            os.close(fd)
    if sees_them_as_roots:
        with contextlib.suppress(OSError):
            kernel.unshare(kernel.CLONE_NEWCGROUP)


def sees_own_groups(spec: SandboxSpec) -> bool:
    return "cgroup" not in spec.shared and bool(spec.cgroup_dirs or spec.own_groups)


def report(fd: int, outcome: Outcome) -> None:
    with contextlib.suppress(BrokenPipeError):  # init is gone: this process is about to end, too
        os.write(fd, outcome.encode() + b"\n")


def keep_only_standard(error_writer: int) -> None:
    """Close everything but 0, 1, 2 when the command starts."""
    try:
        kernel.close_on_exec(FIRST_UNUSED)
        return
    except OSError:  # an old kernel, or a profile around us
        pass
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(FIRST_UNUSED, 1024)):
        fd = int(name)
        if fd >= FIRST_UNUSED and fd != error_writer:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def set_limits(ulimits: Sequence[tuple[str, int, int]]) -> None:
    """Allow many open files, then set what was asked for: name, soft and hard limit, -1 for none."""
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


def set_shares(spec: SandboxSpec) -> None:
    """Say how soon the kernel is to kill it where memory is short, and which processors it has."""
    if spec.oom_score_adj is not None:
        with step(f"set --oom-score-adj {spec.oom_score_adj}"):
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else the file is that of the machine's root
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
            os.write(fd, b"%d" % spec.oom_score_adj)
            os.close(fd)
    if spec.cpu_count or spec.cpus:
        with step("choose the processors of the command"):
            os.sched_setaffinity(0, spec.cpus or sorted(os.sched_getaffinity(0))[: spec.cpu_count])


def go_to_directory(spec: SandboxSpec) -> None:
    """Enter the working directory, made (owned by the user) where it is missing and this is the first command."""
    with step(f"enter the working directory {spec.cwd}"):
        path = ""
        for part in spec.cwd.split("/"):
            if not part:
                continue
            path += f"/{part}"
            with contextlib.suppress(FileExistsError):
                if spec.joins:
                    break
                os.mkdir(path, 0o755)
                os.chown(path, spec.uid, spec.gid)
        os.chdir(spec.cwd or "/")


def become_user(spec: SandboxSpec) -> None:
    """Set groups, bounding set, ids, in the order in which each is still allowed. What is permitted stays for now."""
    keep = frozenset(spec.capabilities)
    uid, gid, groups = spec.uid, spec.gid, spec.groups
    with step(f"become user {uid}:{gid}"):
        try:
            if not spec.keeps_groups:
                os.setgroups(groups or [gid])
        except PermissionError:  # one id only: the kernel denies setgroups for good
            if set(groups) - {gid}:
                raise
        kernel.drop_bounding(keep)
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)  # execve clears it
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def drop_privileges(spec: SandboxSpec) -> None:
    """Set capabilities and the seccomp filter.

    Without no_new_privs the filter needs CAP_SYS_ADMIN, which goes after it.
    """
    keep = frozenset(spec.capabilities) if spec.uid == 0 else frozenset()
    program = binascii.a2b_base64(spec.seccomp)
    with step("drop capabilities"):
        if spec.no_new_privs:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        elif program or spec.landlock_scoped:
            with where_possible(spec):
                kernel.set_capabilities(keep | {"SYS_ADMIN"})
    if spec.landlock_scoped:
        with step("restrict the scope of sockets"), where_possible(spec):
            # with a pid namespace there is nobody else to signal but process 1, and that may be
            signals = 0 if spec.own_pids or "pid" in spec.shared else kernel.LANDLOCK_SCOPE_SIGNAL
            kernel.restrict_scope(kernel.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | signals)
    if program:
        with step("install the seccomp filter"), where_possible(spec):
            kernel.install_filter(program, spec.seccomp_flags)
    with step("drop capabilities"):
        kernel.set_capabilities(keep)


def where_possible(spec: SandboxSpec) -> contextlib.AbstractContextManager[None]:
    """Pass over what root of a pod lacks the rights for; there the pod's own filter has to do."""
    return contextlib.nullcontext() if spec.has_namespaces else contextlib.suppress(PermissionError)


def execute(spec: SandboxSpec, error_writer: int) -> None:
    """Execute by absolute path, the name looked up in the PATH of the run's own environment."""
    argv, name = spec.argv, spec.argv[0]
    env = {key: value for key, _, value in (item.partition("=") for item in spec.env)}
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
            report(error_writer, Outcome(status=EXIT_NOT_EXECUTABLE, message=f'exec "{name}": {reason}'))
            os._exit(1)
    if denied:
        report(error_writer, Outcome(status=EXIT_NOT_EXECUTABLE, message=f'exec "{name}": permission denied'))
    else:
        where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        report(error_writer, Outcome(status=EXIT_NOT_FOUND, message=f'exec "{name}": {where}'))
    os._exit(1)

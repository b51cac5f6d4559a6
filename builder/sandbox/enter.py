"""Inside a new sandbox: mounts, root, identity, command. Runs in a forked child and stands alone.

Nothing is imported after the root is entered (an import would load code of the image), and no path of the image is used
but through a descriptor below its root.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
import termios
from collections.abc import Iterator
from typing import Any

from builder.sandbox import kernel, mountkinds

NOFILE_SOFT_LIMIT = 1 << 20  # enough for anything; more makes programs that loop over descriptors slow
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
    "timer_stats",
)  # fmt: skip
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
FORWARDED = tuple(
    getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT")
)
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE = 127, 126
INIT_NAME = b"tiffin-init"  # what ps shows in the sandbox
_Spec = dict[str, Any]  # the decoded JSON of a SandboxSpec


class SetupError(Exception):
    """A step of making the sandbox failed; `step` says which."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step)
        self.step = step
        self.error = error


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Name what is being done, for the error."""
    try:
        yield
    except OSError as exc:
        raise SetupError(what, exc) from exc


def run(spec: _Spec, fds: list[int], reply: socket.socket) -> None:
    """Be the runner of one sandbox: make namespaces, start its init, pass signals on. Never returns."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        with step("make namespaces"):
            flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
            if spec["network"] == "none":
                flags |= kernel.CLONE_NEWNET
            kernel.unshare(flags)
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
    pass_signals(init, reply)


def pass_signals(init: int, reply: socket.socket) -> None:
    """Forward signals asked for over `reply` until init ends; its end of the line means the parent is gone."""
    import select  # builder's own root is still the root here

    pidfd = os.pidfd_open(init)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(reply, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if pidfd in ready:
            os.waitpid(init, 0)
            os._exit(0)
        data = reply.recv(16)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, int(data) if data else signal.SIGKILL)
        if not data:
            os.waitpid(init, 0)
            os._exit(0)


def report(reply: socket.socket, **message: object) -> None:
    with contextlib.suppress(OSError):
        reply.send(json.dumps(message).encode())


def report_failure(reply: socket.socket, exc: SetupError) -> None:
    where = f" ({exc.error.filename})" if exc.error.filename else ""
    report(reply, error=exc.step + where, reason=exc.error.strerror or str(exc.error), errno=exc.error.errno or 0)


# -- init ------------------------------------------------------------------------------------------------------------


def be_init(spec: _Spec, fds: list[int], reply: socket.socket) -> None:
    """Be process 1: make the root, start the command, reap, and tell how the command ended."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o022)
    forget_arguments()
    enter_root(spec)
    sys.path.clear()
    sys.meta_path.clear()
    errors, error_writer = os.pipe2(os.O_CLOEXEC)
    command = os.fork()
    if command == 0:
        os.close(errors)
        be_command(spec, fds, error_writer)
    os.close(error_writer)
    for number in FORWARDED:
        signal.signal(number, lambda received, _: forward(command, received))
    failure = read_all(errors)  # ends when the command is executed, and with it the time of our own handlers in it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command:
            break
    if failure:
        report(reply, **json.loads(failure))
    else:
        report(reply, status=os.waitstatus_to_exitcode(status))
    os._exit(0)


def forget_arguments() -> None:
    """Overwrite this process's command line and environment: both are files in the sandbox's /proc."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    for start, end, text in ((int(fields[45]), int(fields[46]), INIT_NAME), (int(fields[47]), int(fields[48]), b"")):
        if 0 < start < end:
            kernel.overwrite(start, end - start, text)


def forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 4096):
        data += chunk
    os.close(fd)
    return data


def be_command(spec: _Spec, fds: list[int], error_writer: int) -> None:
    """Become the command; what fails before is told through `error_writer`. Never returns."""
    try:
        os.setsid()
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        if spec["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        set_limits(spec["ulimits"])
        go_to_directory(spec)
        become_user(spec)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        keep_only_standard(error_writer)
        execute(spec, error_writer)
    except SetupError as exc:
        tell(error_writer, error=exc.step, reason=exc.error.strerror, errno=exc.error.errno)
    except BaseException as exc:
        tell(error_writer, error="start the command", reason=str(exc), errno=0)
    os._exit(1)


def tell(fd: int, **message: object) -> None:
    os.write(fd, json.dumps(message).encode())


def keep_only_standard(error_writer: int) -> None:
    """Everything but 0, 1, 2 closes when the command starts."""
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
    """Groups, bounding set, ids, capabilities: in the order in which each is still allowed."""
    keep = frozenset(spec["capabilities"])
    uid, gid, groups = spec["uid"], spec["gid"], spec["groups"]
    with step(f"become user {uid}:{gid}"):
        try:
            os.setgroups(groups or [gid])
        except PermissionError:  # one id only: the kernel denies setgroups for good
            if set(groups) - {gid}:
                raise
        kernel.drop_bounding(keep)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        kernel.set_capabilities(keep if uid == 0 else frozenset())
        if spec["no_new_privs"]:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


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


# -- the root --------------------------------------------------------------------------------------------------------


def enter_root(spec: _Spec) -> None:
    """Mount everything and make it the root."""
    with step("make mounts private"):
        kernel.mount(None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    scratch = spec["scratch_dir"]
    root = f"{scratch}/root"
    with step("prepare mount points"):
        os.mkdir(root)
        make_scaffold(f"{scratch}/scaffold", spec["stubs"])
        for name in ("hosts", "resolv_conf"):
            with open(f"{scratch}/{name}", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(spec[name])
    mount_overlay(spec, root)
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with step("mount /dev"):
        mount_dev(spec, root_fd)
    with step("mount /proc"):
        mount_proc(root_fd, unmasked=spec["unmasked"])
    mount_sys(spec, root_fd)
    for source, target in (("hosts", "etc/hosts"), ("resolv_conf", "etc/resolv.conf")):
        with step(f"mount /{target}"):
            bind(root_fd, f"{scratch}/{source}", target, read_only=False)
    for item in spec["mounts"]:
        with step(f"mount {item['path']}"):
            mount_item(root_fd, item, scratch)
    with step("enter the root"):
        if spec["hostname"]:
            kernel.sethostname(spec["hostname"].encode())
        if spec["network"] == "none":
            loopback_up()
        change_root(root_fd)


def make_scaffold(path: str, stubs: list[_Spec]) -> None:
    """The lowest layer: every mount point the run needs, so that making them leaves no trace in the upper."""
    os.mkdir(path, 0o755)
    names = [("dev", True), ("proc", True), ("sys", True), ("etc/hosts", False), ("etc/resolv.conf", False)]
    names += [(stub["path"], stub["is_directory"]) for stub in stubs]
    for name, is_directory in names:
        parent = os.path.dirname(f"{path}/{name}")
        os.makedirs(parent, 0o755, exist_ok=True)
        if is_directory:
            os.makedirs(f"{path}/{name}", 0o755, exist_ok=True)
        elif not os.path.lexists(f"{path}/{name}"):
            os.close(os.open(f"{path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def mount_overlay(spec: _Spec, root: str) -> None:
    """The layers, top first, over the scaffold; fsconfig takes hundreds, mount(2) one page of text."""
    lowers = [*reversed(spec["lower_dirs"]), f"{spec['scratch_dir']}/scaffold"]
    options: list[tuple[str, str | None]] = [("source", "tiffin"), ("userxattr", None)]
    options += [("lowerdir+", lower) for lower in lowers]
    if spec["upper_dir"]:
        options += [("upperdir", spec["upper_dir"]), ("workdir", spec["work_dir"])]
        if spec["volatile"]:
            options.append(("volatile", None))
    attributes = kernel.ATTR_RDONLY if spec["read_only_root"] or not spec["upper_dir"] else 0
    with step("mount the overlay root"):
        try:
            mount_fd = kernel.new_filesystem("overlay", options, attributes)
        except OSError as exc:
            if exc.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
                raise
            mount_overlay_old(spec, lowers, root, attributes)
            return
        target = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        kernel.attach(mount_fd, target, root)
        os.close(mount_fd)
        os.close(target)


def mount_overlay_old(spec: _Spec, lowers: list[str], root: str, attributes: int) -> None:
    def escaped(path: str) -> str:
        return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

    data = "userxattr,lowerdir=" + ":".join(escaped(lower) for lower in lowers)
    if spec["upper_dir"]:
        data += f",upperdir={escaped(spec['upper_dir'])},workdir={escaped(spec['work_dir'])}"
        data += ",volatile" * spec["volatile"]
    flags = kernel.MS_RDONLY if attributes else 0
    kernel.mount(b"tiffin", os.fsencode(root), b"overlay", flags, os.fsencode(data))


def open_target(root_fd: int, path: str, *, follow: bool) -> int:
    """The place to mount on, as an O_PATH descriptor below the root."""
    return kernel.open_in_root(root_fd, path, os.O_PATH, follow=follow)


def put(root_fd: int, mount_fd: int, path: str, *, follow: bool = True) -> None:
    """Attach a detached mount at `path` below the root."""
    target = open_target(root_fd, path, follow=follow)
    try:
        kernel.attach(mount_fd, target, f"/{path}")
    finally:
        os.close(target)
        os.close(mount_fd)


def bind(root_fd: int, host_path: str, path: str, *, read_only: bool, follow: bool = True) -> None:
    mount_fd = kernel.clone_tree(host_path, recursive=True)
    if read_only:
        kernel.set_attributes(mount_fd, kernel.ATTR_RDONLY, recursive=True)
    put(root_fd, mount_fd, path, follow=follow)


def mount_item(root_fd: int, item: _Spec, scratch: str) -> None:
    path = item["path"].lstrip("/")
    make_target(root_fd, path, mountkinds.is_directory(item))
    put(root_fd, mountkinds.make(item, scratch), path)


def make_target(root_fd: int, path: str, is_directory: bool) -> None:
    """A mount point below another mount or in /dev; everywhere else the scaffold has it already."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        try:
            os.close(open_target(root_fd, "/".join(parts[:count]), follow=True))
            continue
        except FileNotFoundError:
            parent = open_target(root_fd, "/".join(parts[: count - 1]) or ".", follow=True)
        try:
            if count < len(parts) or is_directory:
                os.mkdir(parts[count - 1], 0o755, dir_fd=parent)
            else:
                os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=parent))
        finally:
            os.close(parent)


def mount_dev(spec: _Spec, root_fd: int) -> None:
    """A fresh /dev; the image's own is covered, never touched."""
    plain = kernel.ATTR_NOSUID | kernel.ATTR_NOEXEC
    put(
        root_fd,
        kernel.new_filesystem("tmpfs", [("mode", "755"), ("size", "65536k")], kernel.ATTR_NOSUID),
        "dev",
        follow=False,
    )
    dev = open_target(root_fd, "dev", follow=False)
    for name in DEVICES:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=dev))
        bind(root_fd, f"/dev/{name}", f"dev/{name}", read_only=False, follow=False)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        os.symlink(target, name, dir_fd=dev)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(name, 0o755, dir_fd=dev)
    os.close(dev)
    pts: list[tuple[str, str | None]] = [("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620")]
    put(root_fd, kernel.new_filesystem("devpts", pts, plain), "dev/pts", follow=False)
    shm: list[tuple[str, str | None]] = [("mode", "1777"), ("size", str(spec["shm_size_bytes"]))]
    put(root_fd, kernel.new_filesystem("tmpfs", shm, plain | kernel.ATTR_NODEV), "dev/shm", follow=False)
    with contextlib.suppress(OSError):
        put(root_fd, kernel.new_filesystem("mqueue", [], plain | kernel.ATTR_NODEV), "dev/mqueue", follow=False)


def mount_proc(root_fd: int, *, unmasked: bool) -> None:
    """A fresh proc, or where the machine masks its own: that one, recursively."""
    attributes = kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC
    try:
        mount_fd = kernel.new_filesystem("proc", [], attributes)
    except PermissionError:
        mount_fd = kernel.clone_tree("/proc", recursive=True)
    put(root_fd, mount_fd, "proc", follow=False)
    if unmasked:
        return
    for name in READ_ONLY:
        with contextlib.suppress(FileNotFoundError):
            source = open_target(root_fd, f"proc/{name}", follow=False)
            os.close(source)
            mount_fd = kernel.clone_tree(f"proc/{name}", recursive=True, directory_fd=root_fd)
            kernel.set_attributes(mount_fd, kernel.ATTR_RDONLY, recursive=True)
            put(root_fd, mount_fd, f"proc/{name}", follow=False)
    for name in MASKED:
        with contextlib.suppress(FileNotFoundError):
            mask(root_fd, f"proc/{name}")


def mask(root_fd: int, path: str) -> None:
    """Cover a file by /dev/null, a directory by an empty read-only one."""
    target = open_target(root_fd, path, follow=False)
    is_directory = stat.S_ISDIR(os.fstat(target).st_mode)
    os.close(target)
    if is_directory:
        put(root_fd, kernel.new_filesystem("tmpfs", [("size", "0")], kernel.ATTR_RDONLY), path, follow=False)
    else:
        bind(root_fd, "/dev/null", path, read_only=False, follow=False)


def mount_sys(spec: _Spec, root_fd: int) -> None:
    """/sys read-only: a fresh one with an own network namespace, else the machine's. Missing is no failure."""
    attributes = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC
    with contextlib.suppress(OSError):
        try:
            if spec["network"] != "none":
                raise PermissionError
            mount_fd = kernel.new_filesystem("sysfs", [], attributes)
        except PermissionError:
            mount_fd = kernel.clone_tree("/sys", recursive=True)
            kernel.set_attributes(mount_fd, kernel.ATTR_RDONLY, recursive=True)
        put(root_fd, mount_fd, "sys", follow=False)


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def change_root(root_fd: int) -> None:
    """pivot_root; where a profile refuses it, move the mount to / and chroot."""
    os.fchdir(root_fd)
    os.close(root_fd)
    try:
        kernel.pivot_root(b".", b".")
        kernel.umount_detached(b".")
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        kernel.mount(b".", b"/", None, kernel.MS_MOVE)
        os.chroot(".")
    os.chdir("/")

"""The root of a sandbox: overlay, /dev, /proc, /sys and what is mounted below.

No path of the image is used but through a descriptor below its root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from tiffin.builder.sandbox.child import kernel, mounts, root_path
from tiffin.builder.sandbox.child.spec import Bind, Mount, SandboxSpec, Stub
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.reading.lookups import Lookups

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
    "timer_stats",
)  # fmt: skip
MASKED_SYS = ("firmware", "devices/virtual/powercap")
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")


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


def enter_root(spec: SandboxSpec, lookups: Lookups | None) -> None:
    """Mount everything and make it the root; `lookups` begins with the overlay."""
    with step("follow mounts of this machine"):
        followed = {
            item.path: mounts.make(item, "") for item in spec.mounts if isinstance(item, Bind) and item.propagates
        }
    with step("make mounts private"):
        kernel.mount(None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    scratch = spec.scratch_dir
    root = f"{scratch}/root"
    with step("prepare mount points"):
        os.mkdir(root)
        if not spec.root_dir:
            make_scaffold(f"{scratch}/scaffold", spec.stubs)
        for name, text in (("hosts", spec.hosts), ("resolv_conf", spec.resolv_conf)):
            with open(f"{scratch}/{name}", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
    if spec.root_dir:
        mount_copy(spec, root)
    else:
        mount_overlay(spec, root)
    if lookups is not None:
        lookups.begin()
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with step("mount /dev"):
        mount_dev(spec, root_fd)
    with step("mount /proc"):
        mount_proc(root_fd, fresh=spec.own_pids, unmasked=spec.unmasked)
    mount_sys(spec, root_fd)
    for source, target in (("hosts", "etc/hosts"), ("resolv_conf", "etc/resolv.conf")):
        with step(f"mount /{target}"):
            bind(root_fd, f"{scratch}/{source}", target, read_only=False)
    for item in spec.mounts:
        with step(f"mount {item.path}"):
            mount_item(root_fd, item, scratch, followed.get(item.path))
    with step("enter the root"):
        if spec.hostname and "uts" not in spec.shared:
            with contextlib.suppress(PermissionError):  # where the machine refuses a name of its own
                kernel.sethostname(spec.hostname.encode())
                if spec.domainname:
                    kernel.setdomainname(spec.domainname.encode())
        change_root(root_fd)


def make_scaffold(path: str, stubs: Sequence[Stub]) -> None:
    """Make the lowest layer: every mount point the run needs, so that making them leaves no trace in the upper."""
    for folder in ("", "/dev", "/proc", "/sys", "/etc"):
        os.mkdir(f"{path}{folder}", 0o755)
    for name in ("hosts", "resolv.conf"):
        os.close(os.open(f"{path}/etc/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    for stub in stubs:
        target = f"{path}/{stub.path}"
        if os.path.lexists(target):
            continue
        if stub.is_directory:
            os.makedirs(target, 0o755)
        else:
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def mount_copy(spec: SandboxSpec, root: str) -> None:
    """Mount a root that is on disk as a whole."""
    with step("mount the root"):
        mount_fd = kernel.clone_tree(spec.root_dir, recursive=False)
        if spec.read_only_root:
            kernel.set_attributes(mount_fd, kernel.ATTR_RDONLY, recursive=False)
        target = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        kernel.attach(mount_fd, target, root)
        os.close(mount_fd)
        os.close(target)


def mount_overlay(spec: SandboxSpec, root: str) -> None:
    """Mount the layers, top first, over the scaffold; fsconfig takes hundreds, mount(2) one page of text."""
    lowers = [*reversed(spec.lower_dirs), f"{spec.scratch_dir}/scaffold"]
    options: list[tuple[str, str | None]] = [("source", "tiffin"), ("userxattr", None)]
    options += [("lowerdir+", lower) for lower in lowers]
    if spec.upper_dir:
        options += [("upperdir", spec.upper_dir), ("workdir", spec.work_dir)]
        if spec.volatile:
            options.append(("volatile", None))
    attributes = kernel.ATTR_RDONLY if spec.read_only_root or not spec.upper_dir else 0
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


def mount_overlay_old(spec: SandboxSpec, lowers: list[str], root: str, attributes: int) -> None:
    def escaped(path: str) -> str:
        return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

    data = "userxattr,lowerdir=" + ":".join(escaped(lower) for lower in lowers)
    if spec.upper_dir:
        data += f",upperdir={escaped(spec.upper_dir)},workdir={escaped(spec.work_dir)}"
        data += ",volatile" * spec.volatile
    flags = kernel.MS_RDONLY if attributes else 0
    kernel.mount(b"tiffin", os.fsencode(root), b"overlay", flags, os.fsencode(data))


def open_target(root_fd: int, path: str, *, follow: bool) -> int:
    """Return the place to mount on, as an O_PATH descriptor below the root."""
    return root_path.open_in_root(root_fd, path, os.O_PATH, follow=follow)


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


def mount_item(root_fd: int, item: Mount, scratch: str, made: int | None) -> None:
    """Mount an item; `made` is its mount if there is one already."""
    path = item.path.lstrip("/")
    make_target(root_fd, path, mounts.is_directory(item))
    put(root_fd, mounts.make(item, scratch) if made is None else made, path)


def make_target(root_fd: int, path: str, is_directory: bool) -> None:
    """Make a mount point below another mount or in /dev; everywhere else the scaffold has it already."""
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


def mount_dev(spec: SandboxSpec, root_fd: int) -> None:
    """Mount a fresh /dev; the image's own is covered, never touched."""
    plain = kernel.ATTR_NOSUID | kernel.ATTR_NOEXEC
    put(
        root_fd,
        kernel.new_filesystem("tmpfs", [("mode", "755"), ("size", "65536k")], kernel.ATTR_NOSUID),
        "dev",
        follow=False,
    )
    dev = open_target(root_fd, "dev", follow=False)
    for name in DEVICES:
        if not os.path.exists(f"/dev/{name}"):
            continue
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
    put(root_fd, mounts.terminals(), "dev/pts", follow=False)
    mount_ipc(spec, root_fd, plain | kernel.ATTR_NODEV)


def mount_ipc(spec: SandboxSpec, root_fd: int, attributes: int) -> None:
    """Mount what processes share memory and messages by, in /dev: the machine's with its IPC namespace."""
    if "ipc" in spec.shared:
        for name in ("shm", "mqueue"):
            if os.path.isdir(f"/dev/{name}"):
                bind(root_fd, f"/dev/{name}", f"dev/{name}", read_only=False, follow=False)
        return
    if spec.joined_ipc:
        put(root_fd, mounts.of_other(f"{spec.joined_ipc}/ns/mnt", "/dev/shm"), "dev/shm", follow=False)
        return
    shm: list[tuple[str, str | None]] = [("mode", "1777"), ("size", str(spec.shm_size_bytes))]
    if spec.shm_size_bytes:
        put(root_fd, kernel.new_filesystem("tmpfs", shm, attributes), "dev/shm", follow=False)
    with contextlib.suppress(OSError):
        put(root_fd, kernel.new_filesystem("mqueue", [], attributes), "dev/mqueue", follow=False)


def mount_proc(root_fd: int, *, fresh: bool, unmasked: bool) -> None:
    """Mount a fresh proc, or where there is no pid namespace, as the machine masks its own: that one, recursively."""
    attributes = kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC
    if fresh:
        mount_fd = kernel.new_filesystem("proc", [], attributes)
    else:
        mount_fd = kernel.clone_tree("/proc", recursive=True)
        kernel.set_attributes(mount_fd, attributes, recursive=True)
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


def mount_sys(spec: SandboxSpec, root_fd: int) -> None:
    """Mount /sys read-only: a fresh one with an own network namespace, else the machine's.

    A missing one is not an error.
    """
    attributes = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC
    with contextlib.suppress(OSError):
        try:
            if spec.network == "host":
                raise PermissionError
            mount_fd = kernel.new_filesystem("sysfs", [], attributes)
        except PermissionError:
            mount_fd = kernel.clone_tree("/sys", recursive=True)
            kernel.set_attributes(mount_fd, attributes, recursive=True)
        put(root_fd, mount_fd, "sys", follow=False)
        for name in () if spec.unmasked else MASKED_SYS:
            with contextlib.suppress(FileNotFoundError):
                mask(root_fd, f"sys/{name}")


def change_root(root_fd: int) -> None:
    """Change the root by pivot_root; where a profile refuses it, move the mount to / and chroot."""
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

"""Root of a container, without a namespace of its own: a command is put into its root by chroot, where nothing is
mounted.

Files stand in for /proc, /sys and, where nodes cannot be made, for those in /dev.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.isolation import Advice, Isolation, Tier, TierReport
from tiffin.builder.sandbox.userns import effective_capabilities
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.spec import SandboxSpec
    from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes

SYSTEM_ID = 33  # an id that is not root's: www-data, as every distribution has it
REMEDY = "run as uid 0 with the capabilities a container runtime gives by default"
POD_ROOT = """securityContext:            # of the container; tiffin then runs in tier chroot
  runAsUser: 0
  allowPrivilegeEscalation: true"""
LEADING_OUT = ("SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH")  # of a chroot
STREAMS = ("stdout", "stderr")
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
PROC_FILES = (  # those that say the same to every process
    "cmdline", "cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version", "sys/fs/file-max",
    "sys/kernel/cap_last_cap", "sys/kernel/hostname", "sys/kernel/ngroups_max", "sys/kernel/osrelease",
    "sys/kernel/ostype", "sys/kernel/pid_max", "sys/kernel/random/boot_id", "sys/kernel/threads-max",
    "sys/net/core/somaxconn", "sys/vm/max_map_count", "sys/vm/overcommit_memory",
)  # fmt: skip
SYS_FILES = tuple(f"devices/system/cpu/{name}" for name in ("online", "possible", "present"))
MOUNTS = b"rootfs / rootfs rw 0 0\n"
MAX_FILE_BYTES = 1 << 20


class ChrootTier(Tier):
    """The tier of pods that run as root and may make no namespaces."""

    name = "chroot"
    keeps_owners = True
    idmap_tag = "root"  # real root's files are the same with and without a user namespace

    def probe(self, directory: Path) -> TierReport:
        from tiffin.builder.sandbox.tiers.attempts import failed, in_child, is_noexec, without_programs

        found, failure = in_child(_attempt, directory)
        if found is None:
            return failed(self, failure)
        if is_noexec(directory):
            return without_programs(self)
        return TierReport(tier=self, isolation=Isolation(tier=self))

    def advise(self, mounted: TierReport | None) -> Sequence[Advice]:
        return () if mounted else [Advice(what="A pod that runs as root gets tier chroot", text=POD_ROOT)]

    def allowed(self, capabilities: Sequence[str]) -> tuple[str, ...]:
        """Return those that do not lead out of a chroot, and that we have ourselves."""
        own = effective_capabilities()
        return tuple(name for name in capabilities if name not in LEADING_OUT and own >> CAPABILITIES.index(name) & 1)

    def prepare_root(self, spec: SandboxSpec, places: MountSubstitutes) -> SandboxSpec:
        has_nodes = _stand_in_system(places, tty=spec.tty)
        places.put_files(spec)
        return replace(spec, mounts=(), device_files=not has_nodes, named_streams=True)


def _attempt(place: str) -> str:
    """Own a directory's files as others do, enter it, become another user."""
    if os.geteuid() != 0:
        raise SandboxError(f"uid {os.geteuid()} is not root", remedy=REMEDY)
    attempts: tuple[tuple[str, Callable[[], None]], ...] = (
        ("give files away", lambda: os.chown(place, SYSTEM_ID, SYSTEM_ID)),
        ("chroot", lambda: os.chroot(place)),
        ("set groups", lambda: os.setgroups([SYSTEM_ID])),
        ("become another user", lambda: os.setresuid(SYSTEM_ID, SYSTEM_ID, SYSTEM_ID)),
    )
    for what, act in attempts:
        try:
            act()
        except OSError as exc:
            raise SandboxError(f"root may not {what}: {exc.strerror}", remedy=REMEDY) from exc
    return ""


# -- what stands in for mounts -----------------------------------------------------------------------------------------


def _stand_in_system(places: MountSubstitutes, *, tty: bool) -> bool:
    """Put /dev, /proc and /sys there as far as they can be had; return whether that of /dev are true device nodes."""
    dev = places.directory("dev")
    for name in STREAMS:  # but where it has a pipe of its own (mount_substitutes.stream_pipe)
        os.symlink("tty" if tty else "null", f"{places.root}/{dev}/{name}")
    made = [name for name, number in DEVICES.items() if _make_device(f"{places.root}/{dev}/{name}", *number)]
    has_nodes = len(made) == len(DEVICES)
    if not has_nodes:
        _make_device_files(f"{places.root}/{dev}")
    for name in ("pts", "mqueue"):
        (places.root / dev / name).mkdir(mode=0o755)
    shm = places.root / dev / "shm"
    shm.mkdir()
    shm.chmod(0o1777)
    for top, names in (("proc", PROC_FILES), ("sys", SYS_FILES)):
        folder = places.root / places.directory(top)
        for name in names:
            _copy_file(Path(f"/{top}/{name}"), folder / name)
    proc = places.root / "proc"
    (proc / "mounts").write_bytes(MOUNTS)
    return has_nodes


def _make_device(path: str, major: int, minor: int) -> bool:
    """Make a node; return False where that is not allowed, or nobody can open one."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(path, 0o666)
        if not path.endswith("/tty"):  # there is none to open
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        return True
    except PermissionError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return False


def _make_device_files(folder: str) -> None:
    """Make what a supervisor answers for in the place of nodes
    (tiffin.builder.sandbox.child.emulation.device_files).
    """
    for name in (*DEVICES, "stdin"):
        path = f"{folder}/{name}"
        if name == "tty" or os.path.lexists(path):
            continue
        os.mknod(path, stat.S_IFREG if name == "null" else stat.S_IFSOCK)
        os.chmod(path, 0o666)
    os.mkdir(f"{folder}/fd")


def _copy_file(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # what this machine does not show is not there
        with source.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


TIER = ChrootTier()

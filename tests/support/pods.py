"""Kubernetes pods, imitated with runc: an overlay root, the runtime's seccomp profile, capabilities and masked paths.

The root file system is this machine's own below an overlay, with a copy of tiffin in it. The network is the machine's,
so that a registry on loopback is reached.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.unprivileged import interpreter
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES

# kubelet's default for procMount: Default, and the read-only part of it
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
# starts a program with a directory of /proc covered, as a runtime does it: the kernel then refuses a fresh /proc
MASKED_PROC = (
    "unshare", "-m", "--propagation", "private", "sh", "-c", 'mount -t tmpfs -o ro none /proc/irq && exec "$@"', "sh",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# in Docker's format, and with what it allows
PROFILE = Path(__file__).parent.parent.parent / "builder/sandbox/seccomp/seccomp.json"
SUBORDINATE = 300000  # where the ids of a pod with a user namespace begin
ID_COUNT = 65536
CODE = "/opt/tiffin"
HOME = "/home/pod"
VOLUME = "/volume"
TIMEOUT_SECONDS = 900  # the machine may be busy with other tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What the settings of a pod come to. `settings` is how they are written in its securityContext."""

    name: str
    settings: str
    uid: int = 0
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    filtered: bool = True
    allowed_calls: tuple[str, ...] = ()  # beyond the profile, as in a Localhost profile
    masked: bool = True
    own_users: bool = False
    no_new_privs: bool = False
    read_only: bool = False
    environ: dict[str, str] = field(default_factory=lambda: {"HOME": HOME})


def capabilities_of(pod: Pod) -> list[str]:
    """Those of the pod that this machine's root has to give."""
    own = bounding_set()
    return [f"CAP_{name}" for name in pod.capabilities if own >> CAPABILITIES.index(name) & 1]


def bounding_set() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)


def profile_of(pod: Pod) -> dict[str, object]:
    """Docker's profile as the runtime gives it to runc: for these capabilities, this machine."""
    document = json.loads(PROFILE.read_text())
    own = set(capabilities_of(pod))
    rules = []
    for rule in document["syscalls"]:
        includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
        if set(includes.get("caps", ())) - own or set(excludes.get("caps", ())) & own:
            continue
        if "amd64" not in includes.get("arches", ["amd64"]):
            continue
        rules.append({key: rule[key] for key in ("names", "action", "args", "errnoRet") if key in rule})
    if pod.allowed_calls:
        rules.append({"names": list(pod.allowed_calls), "action": "SCMP_ACT_ALLOW"})
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    return {
        "defaultAction": document["defaultAction"],
        "defaultErrnoRet": document["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules,
    }


def config_of(pod: Pod, argv: Sequence[str], mounts: Sequence[dict[str, object]], name: str) -> dict[str, object]:
    """config.json of the OCI runtime specification."""
    namespaces = ["pid", "ipc", "uts", "mount", *(["user"] if pod.own_users else [])]
    linux: dict[str, object] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "cgroupsPath": f"/{name}",
        "resources": {"devices": [{"allow": False, "access": "rwm"}, *_allowed_devices(pod)]},
    }
    if pod.masked:
        linux |= {"maskedPaths": list(MASKED), "readonlyPaths": list(READ_ONLY)}
    if pod.filtered:
        linux["seccomp"] = profile_of(pod)
    if pod.own_users:
        ids = [{"containerID": 0, "hostID": SUBORDINATE, "size": ID_COUNT}]
        linux |= {"uidMappings": ids, "gidMappings": ids}
    capabilities = capabilities_of(pod) if pod.uid == 0 else []
    environ = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{CODE}:{CODE}/site",
        "PYTHONDONTWRITEBYTECODE": "1",
        **pod.environ,
    }
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": pod.uid, "gid": pod.uid},
            "args": list(argv),
            "env": [f"{key}={value}" for key, value in environ.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": pod.no_new_privs,
        },
        "root": {"path": "rootfs", "readonly": pod.read_only},
        "hostname": "pod",
        "mounts": [*_usual_mounts(pod), *mounts],
        "linux": linux,
    }


def _allowed_devices(pod: Pod) -> list[dict[str, object]]:
    if len(pod.capabilities) == len(CAPABILITIES):
        return [{"allow": True, "access": "rwm"}]
    nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)]
    allowed: list[dict[str, object]] = [
        {"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")
    ]  # as containerd does: making any node, opening a few
    allowed += [{"allow": True, "type": "c", "major": a, "minor": b, "access": "rwm"} for a, b in nodes]
    return [*allowed, {"allow": True, "type": "c", "major": 136, "access": "rwm"}]


def _usual_mounts(pod: Pod) -> list[dict[str, object]]:
    plain = ["nosuid", "noexec", "nodev"]

    def mount(where: str, kind: str, options: list[str]) -> dict[str, object]:
        return {"destination": where, "type": kind, "source": kind, "options": options}

    sys_options = [*plain, *(["ro"] if pod.masked else [])]
    sys = mount("/sys", "sysfs", sys_options)
    if pod.own_users:  # its network is the machine's, so a sysfs of its own is refused
        sys = {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "ro"]}
    return [
        mount("/proc", "proc", plain),
        mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", [*plain, "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", plain),
        sys,
        mount("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777", "size=512m"]),
    ]


class Node:
    """Where pods run. `code` is a copy of tiffin and what it imports; `folder` is on a disk."""

    def __init__(self, folder: Path, code: Path) -> None:
        self._folder = folder
        self._code = code
        self._count = 0

    @contextlib.contextmanager
    def pod(self, pod: Pod, files: Path) -> Iterator[PodRunner]:
        """A pod with `files` at /files and an empty volume at VOLUME."""
        self._count += 1
        name = f"tiffin-pod-{os.getpid()}-{self._count}"
        folder = self._folder / name
        owner = SUBORDINATE if pod.own_users else pod.uid
        for part in ("upper", "work", "rootfs", "volume"):
            (folder / part).mkdir(parents=True)
        home = folder / "upper" / HOME.lstrip("/")
        for path in (home, folder / "upper/volume", folder / "upper/files", folder / "upper" / CODE.lstrip("/")):
            path.mkdir(parents=True)
        for path in (home, folder / "volume", folder / "upper"):
            os.chown(path, owner, owner)
        for path in (folder, self._folder):  # a pod with ids of its own has to come by
            path.chmod(0o711)
        options = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "rootfs"], check=True)
        try:
            yield PodRunner(pod=pod, folder=folder, name=name, files=files, code=self._code)
        finally:
            subprocess.run(["umount", folder / "rootfs"], check=True)
            shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRunner:
    pod: Pod
    folder: Path
    name: str
    files: Path
    code: Path

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the pod to its end; `tiffin` in it is the command."""
        binds: list[dict[str, object]] = [
            {"destination": where, "type": "none", "source": str(source), "options": ["rbind", mode]}
            for where, source, mode in (
                ("/files", self.files, "ro"),
                (CODE, self.code, "ro"),
                (VOLUME, self.folder / "volume", "rw"),
            )
        ]
        prelude = f'tiffin() {{ {interpreter()} -m tiffin "$@"; }}\n'
        argv = ["/bin/sh", "-c", prelude + script]
        (self.folder / "config.json").write_text(json.dumps(config_of(self.pod, argv, binds, self.name)))
        state = self.folder / "runc"
        return subprocess.run(
            ["runc", "--root", state, "run", "--bundle", self.folder, self.name],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

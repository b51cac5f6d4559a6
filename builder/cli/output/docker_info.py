"""What `docker info` has for programs: the members they read, by docker's names."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

from tiffin.builder.api.machine import Machine
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.oci.spec import Platform
from tiffin.builder.version import displayed_version

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
DOCKER_HUB_URL = "https://index.docker.io/v1/"


def docker_info(session: Session, machine: Machine) -> dict[str, object]:
    """Return it as docker has it."""
    isolation = machine.isolation
    containers = Containers(session.state)
    states = containers.states()
    running = sum(containers.is_alive(state.id) for state in states)
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return {
        "ID": f"tiffin-{os.getuid()}",
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": len(states) - running,
        "Images": len(session.store.images()),
        "Driver": "overlay2" if isolation is not None and isolation.overlay else "vfs",  # docker's word for copies
        "DriverStatus": [],
        "Plugins": {"Volume": ["local"], "Network": ["host", "none", "private"], "Authorization": None, "Log": []},
        "LoggingDriver": "none",
        "CgroupDriver": "cgroupfs" if machine.has_cgroups else "none",
        "CgroupVersion": "2" if unified else "1",
        "KernelVersion": platform.release(),
        "OperatingSystem": _operating_system(),
        "OSType": Platform.local().os,
        "Architecture": platform.machine(),
        "IndexServerAddress": DOCKER_HUB_URL,
        "NCPU": os.cpu_count(),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "DockerRootDir": str(session.state.root),
        "Name": socket.gethostname(),
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": displayed_version(),
        "ClientInfo": {"Version": displayed_version(), "Context": "default", "Plugins": [], "Warnings": None},
        "Runtimes": {"tiffin": {"path": "tiffin"}},
        "DefaultRuntime": "tiffin",
        "Swarm": {"NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": False},
        "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=rootless"] if os.getuid() != 0 else [])],
        "Warnings": None,
    }


def _operating_system() -> str:
    """Return the name of the machine's operating system, as it calls itself."""
    for path in OS_RELEASE:
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    name, _, value = line.strip().partition("=")
                    if name == "PRETTY_NAME":
                        return value.strip("\"'")
        except OSError:
            continue
    return platform.system()

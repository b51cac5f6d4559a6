"""--network container:NAME: the network of another container that runs."""

from __future__ import annotations

import os
from pathlib import Path

from tiffin.builder.containers.confinement.asked import SHAREABLE
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.processes import command_of
from tiffin.builder.containers.lifecycle.record import ContainerRecord, read_sandbox
from tiffin.builder.containers.network.published import Network
from tiffin.builder.containers.run import OF_CONTAINER
from tiffin.builder.containers.state import ContainerState, process_start
from tiffin.builder.errors import ContainerError, SandboxError
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.store.statedir import StateDir

MAX_NAME_FILE = 1 << 20  # characters: the container may write there


def namespace_of(state: StateDir, name: str, isolation: Isolation) -> int:
    """Return a descriptor of the user namespace that a container was made from. Raises TiffinError."""
    containers = Containers(state)
    other = _running(containers, name)
    record = ContainerRecord.read(containers.folder(other.id))
    id_map = isolation.id_map
    if not isolation.tier.has_namespaces or id_map is None:
        raise SandboxError(
            f"isolation {isolation.tier} has no networks of its own, and so no --network container:{name}",
            remedy="use --network host",
        )
    if record.id_map != id_map.tag:
        raise SandboxError(
            f"container {other.name} runs under another id map ({record.id_map}) than this one would ({id_map.tag})",
            remedy="use one isolation tier, and the same ids, for both",
        )
    if process_start(other.pid) != other.pid_started:
        raise SandboxError(f"the process of container {other.name} cannot be reached from here", remedy="begin it here")
    return os.open(f"/proc/{other.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def joined_network(network: Network, kind: str, state: StateDir) -> Network:
    """Return a network as it is where it is that of a container that runs: `kind` names it. Raises TiffinError."""
    if not kind.startswith(OF_CONTAINER):
        return network
    containers = Containers(state)
    other = _running(containers, kind.removeprefix(OF_CONTAINER))
    folder = containers.folder(other.id)
    if read_sandbox(folder).network == "host":
        return replace(network, kind="host")
    return replace(
        network,
        joined=f"/proc/{command_of(other)}/ns/net",
        hosts=_name_file(folder, "hosts"),
        resolv_conf=_name_file(folder, "resolv_conf"),
    )


def _name_file(folder: Path, name: str) -> str:
    """Return such a file as a container has it now: it changes with the networks that the container is in."""
    path = folder / "run" / name
    with disk_errors(path), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(MAX_NAME_FILE)


def joined_ipc(name: str, state: StateDir) -> str:
    """Return the directory in /proc of the command of a container that shares its IPC namespace. Raises TiffinError."""
    containers = Containers(state)
    other = _running(containers, name)
    asked = ContainerRecord.read(containers.folder(other.id)).options.namespaces.ipc
    if asked != SHAREABLE:
        raise ContainerError(
            f"can't join IPC of container {other.name}: non-shareable IPC",
            remedy="begin it with --ipc shareable, or give both --ipc host",
        )
    return f"/proc/{command_of(other)}"


def joined_pids(name: str, state: StateDir) -> str:
    """Return the directory in /proc of the command of a container that has a pid namespace. Raises TiffinError."""
    containers = Containers(state)
    other = _running(containers, name)
    if not read_sandbox(containers.folder(other.id)).own_pids:
        raise ContainerError(
            f"container {other.name} has the process numbers of this machine", remedy="give both --pid host"
        )
    return f"/proc/{command_of(other)}"


def _running(containers: Containers, name: str) -> ContainerState:
    other = containers.find(name)
    if not containers.is_alive(other.id):
        raise ContainerError(
            f"cannot join network of a non running container: {other.id}", remedy=f"start it with tiffin start {name}"
        )
    return other

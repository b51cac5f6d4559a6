"""The root of a container that runs, through its command: as it sees it, mounts and all."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tiffin.builder.containers.files.writer import Rights
from tiffin.builder.containers.lifecycle.processes import command_of
from tiffin.builder.containers.lifecycle.record import read_sandbox
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import SandboxError, StoreError
from tiffin.builder.sandbox.child import idmaps, kernel
from tiffin.builder.sandbox.child.join import start_of

ONE_ID = (1, 1)  # limits of a namespace that has root alone
START_SECONDS = 2.0  # for a container that is just being begun


def open_running(state: ContainerState, folder: Path) -> tuple[int, Rights]:
    """Open the root of a container's command as it sees it, in its user namespace. Raises SandboxError."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return _entered(state, folder)
        except (StoreError, OSError) as exc:  # its command may be about to begin, or to be begun again
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"container {state.name} cannot be reached: {exc}", remedy="run this as the user who began it"
                ) from exc
            time.sleep(0.05)


def _entered(state: ContainerState, folder: Path) -> tuple[int, Rights]:
    around = read_sandbox(folder)
    if not (around.has_namespaces and around.own_pids):
        raise SandboxError(
            f"container {state.name} has no namespaces of its own that could be entered while it runs",
            remedy="stop it first; tiffin info says what lifts the isolation",
        )
    command = command_of(state)
    process = os.open(f"/proc/{command}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        namespace = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
        is_other = os.readlink("ns/user", dir_fd=process) != os.readlink("/proc/self/ns/user")
        has_own_root = os.readlink("ns/mnt", dir_fd=process) != os.readlink("/proc/self/ns/mnt")
        start_of(process)  # fails where it has ended meanwhile
    finally:
        os.close(process)
    try:
        if not has_own_root or command_of(state) != command:
            raise StoreError(f"container {state.name} is being begun", remedy="try again")
        if is_other:
            kernel.setns(namespace, kernel.CLONE_NEWUSER)
    except BaseException:
        os.close(root)
        raise
    finally:
        os.close(namespace)
    return root, rights_here()


def rights_here() -> Rights:
    """Return what this process, root of a container's namespace, can give its files."""
    if idmaps.is_initial():
        return Rights(gives=True, devices=True, capabilities=True)
    limits = idmaps.own_limits()
    if limits == ONE_ID:  # all others are recorded, as are device nodes
        return Rights(gives=True, devices=True, capabilities=True)
    return Rights(gives=True, limits=limits, capabilities=True)

"""Detached mounts for the items of a SandboxSpec: bind, tmpfs, a stack of layers, a secret.

Every function returns the descriptor of a mount that is nowhere yet. What must be mounted somewhere to be made goes
below the run's scratch directory, which is out of sight once the root is entered.
"""

from __future__ import annotations

import binascii
import os

from tiffin.builder import owner_xattrs
from tiffin.builder.sandbox.child import kernel, root_path
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SecretFile, Terminals, Tmpfs


def is_directory(item: Mount) -> bool:
    """Return what the mount point has to be."""
    match item:
        case Bind():
            return os.path.isdir(f"{item.host_path}/{item.source}" if item.source else item.host_path)
        case Tmpfs() | Terminals():
            return True
        case Layers():
            return item.is_directory
        case SecretFile():
            return False


def make(item: Mount, scratch: str) -> int:
    """Return the mount `item` describes."""
    match item:
        case Bind():
            return _bind(item)
        case Tmpfs():
            options: list[tuple[str, str | None]] = [("mode", f"{item.mode:o}")]
            if item.size_bytes:
                options.append(("size", str(item.size_bytes)))
            options += [(name, str(value)) for name, value in (("uid", item.uid), ("gid", item.gid)) if value]
            chosen = (kernel.ATTR_RDONLY if item.read_only else 0) | (0 if item.executes else kernel.ATTR_NOEXEC)
            return kernel.new_filesystem("tmpfs", options, kernel.ATTR_NOSUID | kernel.ATTR_NODEV | chosen)
        case Terminals():
            return terminals()
        case Layers():
            return _layers(item, scratch)
        case SecretFile():
            return _secret(item, scratch)


def of_other(namespace: str, path: str) -> int:
    """Return a copy of a mount in another mount namespace."""
    other = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    kernel.setns(other, kernel.CLONE_NEWNS)
    try:
        return kernel.clone_tree(path, recursive=False)
    finally:
        kernel.setns(own, kernel.CLONE_NEWNS)
        os.close(own)
        os.close(other)


def terminals() -> int:
    """Return a devpts of its own."""
    options: list[tuple[str, str | None]] = [("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620")]
    return kernel.new_filesystem("devpts", options, kernel.ATTR_NOSUID | kernel.ATTR_NOEXEC)


def _bind(item: Bind) -> int:
    if item.source:  # below a directory that a sandbox may write: no link of its making leads out
        directory = os.open(item.host_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        source = root_path.open_in_root(directory, item.source, os.O_PATH, follow=False)
        os.close(directory)
        mount_fd = kernel.clone_descriptor(source)
        os.close(source)
    else:
        mount_fd = kernel.clone_tree(item.host_path, recursive=True)
    if item.propagates:
        kernel.make_slave(mount_fd)
    if item.read_only:
        kernel.set_attributes(mount_fd, kernel.ATTR_RDONLY, recursive=True)
    return mount_fd


def _layers(item: Layers, scratch: str) -> int:
    """Return an overlay of the layers; `source` below its root, links followed inside."""
    place = _place(scratch)
    empty = f"{place}/empty"
    os.mkdir(empty, 0o755)
    options: list[tuple[str, str | None]] = [("source", "tiffin"), ("userxattr", None)]
    options += [("lowerdir+", lower) for lower in (*reversed(item.lower_dirs), empty)]
    if item.writable:
        for name in ("upper", "work"):
            os.mkdir(f"{place}/{name}", 0o755)
        options += [("upperdir", f"{place}/upper"), ("workdir", f"{place}/work"), ("volatile", None)]
    overlay = kernel.new_filesystem("overlay", options, 0 if item.writable else kernel.ATTR_RDONLY)
    if item.source in ("", "."):
        return overlay
    target = _attach(overlay, f"{place}/root")
    source = root_path.open_in_root(target, item.source, os.O_PATH)
    os.close(target)
    mount_fd = kernel.clone_descriptor(source)
    os.close(source)
    return mount_fd


def _secret(item: SecretFile, scratch: str) -> int:
    """Return one file in memory."""
    options: list[tuple[str, str | None]] = [("mode", "0700"), ("size", str(max(1 << 16, 2 * len(item.data))))]
    attributes = kernel.ATTR_NOSUID | kernel.ATTR_NODEV
    root = _attach(kernel.new_filesystem("tmpfs", options, attributes), f"{_place(scratch)}/root")
    fd = os.open("secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=root)
    data = binascii.a2b_base64(item.data)
    while data:
        data = data[os.write(fd, data) :]
    owner_xattrs.give(fd, item.uid, item.gid)
    os.fchmod(fd, item.mode)
    os.close(fd)
    mount_fd = kernel.clone_tree("secret", recursive=False, directory_fd=root)
    os.close(root)
    return mount_fd


def _place(scratch: str) -> str:
    """Return a new directory for one mount."""
    place = f"{scratch}/mount-{os.urandom(4).hex()}"
    os.mkdir(place, 0o700)
    return place


def _attach(mount_fd: int, path: str) -> int:
    """Mount at `path`, a new directory; the caller closes the descriptor of the root of what is there now."""
    os.mkdir(path, 0o700)
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.attach(mount_fd, target, path)
    os.close(target)
    os.close(mount_fd)
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

"""This machine's end of a copy: what is read there, and where it may go."""

from __future__ import annotations

import os
import stat

from tiffin.builder.containers.files import names
from tiffin.builder.containers.files.contents import Items
from tiffin.builder.containers.files.names import Place
from tiffin.builder.containers.files.writer import CopyWriter, Rights
from tiffin.builder.errors import ContainerError
from tiffin.builder.layer.disk.directories import Directories
from tiffin.builder.sandbox.child import idmaps
from tiffin.cache.foundation.files import disk_errors


def from_here(path: str) -> str:
    """Return a path from the root, its end kept."""
    return names.absolute(path, os.getcwd())


def check_output(path: str) -> None:
    """Raise ContainerError for a place of this machine that nothing can be written to."""
    directory = os.path.dirname(names.clean(path)) or "/"
    if directory and not os.path.exists(directory):
        raise ContainerError(f'invalid output path: directory "{directory}" does not exist', remedy="make it first")
    with disk_errors(path):
        mode = os.stat(path).st_mode if os.path.exists(path) else stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "an irregular file"
        raise ContainerError(
            f'invalid output path: "{path}" must be a directory or a regular file: got {kind}',
            remedy="name another",
        )


def local_destination(path: str) -> Place:
    """Return what a copy to a path finds there; a link there is followed. Raises ContainerError."""
    asked = path
    if os.path.islink(path.rstrip("/")):
        path = names.with_end_of(os.path.realpath(path), path)
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        return Place(path=path, exists=False)
    except OSError as exc:
        raise ContainerError(f"{asked}: {(exc.strerror or '').lower()}", remedy="name another place") from exc
    return Place(path=path, is_directory=is_directory)


def write_local(items: Items, directory: str) -> None:
    """Put items into a directory, as files of whoever runs this. Raises StoreError, ContainerError."""
    with disk_errors(directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    is_root = os.geteuid() == 0 and idmaps.is_initial()
    try:
        with Directories(fd) as directories:
            rights = Rights(devices=is_root, capabilities=is_root)
            CopyWriter(directories, rights, names.clean(directory)).write(items)
    finally:
        os.close(fd)


def local_source(path: str, *, follows: bool) -> Place:
    """Return what is to be copied of this machine, links in front of its last part followed. Raises ContainerError."""
    try:
        st = os.lstat(path)
    except OSError as exc:
        message = "not a directory" if isinstance(exc, NotADirectoryError) else f"lstat {path}: {exc.strerror}".lower()
        raise ContainerError(message if "lstat" in message else f"{path}: {message}", remedy="check its name") from exc
    if names.is_certainly_directory(path) or (follows and stat.S_ISLNK(st.st_mode)):
        place = names.followed(path, os.path.realpath(path))
    else:
        directory, last = names.split_entry(path)
        place = Place(path=os.path.join(os.path.realpath(directory), last))
    try:
        is_directory = stat.S_ISDIR(os.lstat(place.path).st_mode)
    except OSError as exc:
        raise ContainerError(f"lstat {place.path}: {(exc.strerror or '').lower()}", remedy="check its name") from exc
    return Place(path=place.path, name=place.name, is_directory=is_directory)

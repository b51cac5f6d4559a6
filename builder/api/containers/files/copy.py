"""Copy files between containers and this machine, by docker's rules.

From container to container as podman does.
"""

from __future__ import annotations

import os
from functools import partial
from typing import BinaryIO

from tiffin.builder.api.containers.files.across import copy_across
from tiffin.builder.api.containers.files.root import opened_root
from tiffin.builder.api.containers.files.sending import received_items, send_items, sent
from tiffin.builder.api.session import Session
from tiffin.builder.containers.files import names
from tiffin.builder.containers.files.contents import Counter, read_tree, renamed
from tiffin.builder.containers.files.local import (
    check_output,
    from_here,
    local_destination,
    local_source,
    write_local,
)
from tiffin.builder.containers.files.tar import read_items, write_items
from tiffin.builder.errors import ContainerError
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.sandbox.child import idmaps
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass

STREAM = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """One copy; each end is PATH, CONTAINER:PATH, or "-" for a tar.

    `archive`: what is copied in belongs to the container's user. `follows`: a link stands for what it leads to.
    """

    source: str
    destination: str
    archive: bool = False
    follows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied, in bytes as a tar, and where to."""

    size_bytes: int
    destination: str


def copy(options: CopyOptions, session: Session, stdin: BinaryIO, stdout: BinaryIO) -> Copied:
    """Copy files. Raises ContainerError, ContainerError, ImageNotFoundError, StoreError; what was written stays."""
    source_name, source_path = names.split_argument(options.source)
    name, path = names.split_argument(options.destination)
    counter = Counter()
    if source_name and name:
        follows, as_user = options.follows, options.archive
        copy_across((source_name, source_path), (name, path), session, counter, follows=follows, as_user=as_user)
    elif source_name:
        path = _out(source_name, source_path, path, options, session, stdout, counter)
        return Copied(size_bytes=counter.size_bytes, destination=path)
    elif name:
        path = _in(source_path, name, path, options, session, stdin, counter)
    else:
        raise ContainerError(
            "must specify at least one container source", remedy="write CONTAINER:PATH for one of them"
        )
    return Copied(size_bytes=counter.size_bytes, destination=f"{name}:{path}")


# -- out ---------------------------------------------------------------------------------------------------------------


def _out(
    name: str,
    path: str,
    destination: str,
    options: CopyOptions,
    session: Session,
    stdout: BinaryIO,
    counter: Counter,
) -> str:
    if destination != STREAM:
        destination = from_here(destination)
        check_output(destination)
    with opened_root(name, session) as root:
        source = root.source(path, follows=options.follows)
        items = counter.counted(source.items)
        if destination == STREAM:
            write_items(items, source.place.base, stdout)
            return destination
        target = names.target_of(source.place, local_destination(destination))
        write_local(renamed(items, target.name), target.directory)
    return destination


# -- in ----------------------------------------------------------------------------------------------------------------


def _in(
    path: str,
    name: str,
    destination: str,
    options: CopyOptions,
    session: Session,
    stdin: BinaryIO,
    counter: Counter,
) -> str:
    if path == STREAM:
        return _unpacked(name, destination, options, session, stdin, counter)
    local = local_source(from_here(path), follows=options.follows)
    directory, last = names.split_entry(local.path)
    with disk_errors(directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    read = partial(read_tree, fd, ROOT if last == "/" else last)
    _ = session.state  # opened once
    try:
        # from within a namespace the numbers of owners are others
        with sent(lambda stream: send_items(read(), stream)) as stream, opened_root(name, session) as root:
            found = root.destination(destination)
            target = names.target_of(local, found)
            items = read() if idmaps.is_initial() else received_items(stream)
            root.write(renamed(counter.counted(items), target.name), target.directory, as_user=options.archive)
    finally:
        os.close(fd)
    return found.path


def _unpacked(
    name: str, destination: str, options: CopyOptions, session: Session, stdin: BinaryIO, counter: Counter
) -> str:
    with opened_root(name, session) as root:
        found = root.destination(destination)
        if not found.is_directory:
            raise ContainerError(f'destination "{name}:{destination}" must be a directory', remedy="make it first")
        root.write(counter.counted(read_items(stdin)), found.path, as_user=options.archive)
        return found.path

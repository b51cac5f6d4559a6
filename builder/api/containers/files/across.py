"""Copy from one container into another: a child sends a tar, as each has a namespace of its own."""

from __future__ import annotations

import json
from functools import partial
from typing import BinaryIO

from tiffin.builder.api.containers.files.root import opened_root
from tiffin.builder.api.containers.files.sending import received_items, send_items, sent
from tiffin.builder.api.session import Session
from tiffin.builder.containers.files import names
from tiffin.builder.containers.files.contents import Counter, renamed
from tiffin.builder.containers.files.names import Place


def copy_across(
    source: tuple[str, str],
    destination: tuple[str, str],
    session: Session,
    counter: Counter,
    *,
    follows: bool,
    as_user: bool,
) -> None:
    """Copy a path of one container to one of another. Raises TiffinError."""
    _ = session.state  # opened once
    name, path = destination
    with sent(partial(_send, source, session, follows)) as stream:
        line = stream.readline()
        if not line:
            return  # what failed is told by `sent`
        place = Place(**json.loads(line))
        with opened_root(name, session) as root:
            target = names.target_of(place, root.destination(path))
            root.write(renamed(counter.counted(received_items(stream)), target.name), target.directory, as_user=as_user)


def _send(source: tuple[str, str], session: Session, follows: bool, stream: BinaryIO) -> None:
    """Write a line that says what it is, then the tar."""
    name, path = source
    with opened_root(name, session) as root:
        found = root.source(path, follows=follows)
        head = {"path": found.place.path, "name": found.place.name, "is_directory": found.place.is_directory}
        stream.write(json.dumps(head).encode() + b"\n")
        send_items(found.items, stream)

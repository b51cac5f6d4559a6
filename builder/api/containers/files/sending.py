"""A child that sends a tar: of another container, or of this machine as it is seen from outside every namespace."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from tiffin.builder.containers.files.contents import Item, Items
from tiffin.builder.containers.files.tar import read_items, write_items
from tiffin.builder.errors import ContainerError, TiffinError
from tiffin.builder.layer.paths import ROOT

TOP = "top"  # what the tar calls what is sent


@contextlib.contextmanager
def sent(write: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """Yield what `write` writes in a child; it may be left unread. Raises ContainerError for what failed there."""
    reader, writer = os.pipe()
    errors, error_writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.close(errors)
        _send(write, writer, error_writer)
    os.close(writer)
    os.close(error_writer)
    failure: TiffinError | None = None
    try:
        with os.fdopen(reader, "rb") as stream:
            try:
                yield stream
            except TiffinError as exc:
                failure = exc
    finally:
        with os.fdopen(errors, "rb") as stream:
            told = stream.read()
        os.waitpid(child, 0)
    if told:
        document = json.loads(told)
        raise ContainerError(document["error"], remedy=document["remedy"])
    if failure is not None:
        raise failure


def _send(write: Callable[[BinaryIO], None], writer: int, error_writer: int) -> None:
    """Write in the child, and tell what failed. Never returns."""
    try:
        with os.fdopen(writer, "wb") as stream:
            write(stream)
    except BrokenPipeError:  # nobody wants more
        pass
    except BaseException as exc:
        message = exc.message if isinstance(exc, TiffinError) else str(exc)
        remedy = exc.remedy if isinstance(exc, TiffinError) else "copy again"
        os.write(error_writer, json.dumps({"error": message, "remedy": remedy}).encode())
    finally:
        os._exit(0)


def send_items(items: Items, stream: BinaryIO) -> None:
    """Write items for `received_items`."""
    write_items(items, TOP, stream)


def received_items(stream: BinaryIO) -> Items:
    """Yield items that were sent. Raises ContainerError."""
    for item in read_items(stream):
        entry = item.entry
        link = _below_top(entry.link) if entry.kind == "hardlink" else entry.link
        yield Item(entry._replace(path=_below_top(entry.path), link=link), item.open)


def _below_top(path: str) -> str:
    return path.removeprefix(TOP).lstrip("/") or ROOT

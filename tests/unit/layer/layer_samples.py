"""Tars and entries for the tests of tiffin.builder.layer."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.layer.pack import pack
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header, padding, record


def file(path: str, data: bytes = b"", mode: int = 0o644, **fields: object) -> Change:
    """A change that makes a file of `data`."""
    entry = new_entry(path, "file", mode)._replace(size=len(data), **fields)  # type: ignore[arg-type]
    return Change(entry, (lambda: io.BytesIO(data)) if data else None)


def make(path: str, kind: str, mode: int = 0o755, **fields: object) -> Change:
    """A change without content."""
    return Change(new_entry(path, kind, 0o777 if kind == "symlink" else mode)._replace(**fields))  # type: ignore[arg-type]


def tar_of(changes: Sequence[Change]) -> tuple[bytes, LayerIndex]:
    sink = io.BytesIO()
    index = pack(changes, sink)
    return sink.getvalue(), index


def raw(name: str, kind: str = "file", data: bytes = b"", *, link: str = "", records: bytes = b"") -> bytes:
    """One member exactly as named, as an attacker writes it."""
    entry = new_entry("x", kind, 0o755 if kind == "dir" else 0o644)._replace(size=len(data), link=link)
    return (extension(b"x", records) if records else b"") + header(entry, name) + data + padding(len(data))


def extension(kind: bytes, data: bytes, *, size: int | None = None) -> bytes:
    """An extension header (PAX x or g, GNU L or K)."""
    block = bytearray(header(new_entry("x", "file", 0o644)._replace(size=len(data) if size is None else size), "pax"))
    block[156:157] = kind
    return resummed(bytes(block)) + data + padding(len(data))


def resummed(block: bytes) -> bytes:
    """The header block with the checksum it now has."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def patched(block: bytes, start: int, data: bytes) -> bytes:
    """The first header of `block` with `data` at `start`, its checksum right."""
    head = block[:start] + data + block[start + len(data) : 512]
    return resummed(head) + block[512:]


def archive(*members: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(members) + END_OF_ARCHIVE)


def pax(**fields: bytes) -> bytes:
    return b"".join(record(key.replace("__", ".").encode(), value) for key, value in fields.items())


def plain(entries: Iterable[Entry]) -> list[Entry]:
    """Entries without where they lie."""
    return [entry._replace(offset=-1) for entry in entries]


def scan(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below `root`: what must not change when something hostile was unpacked elsewhere."""
    result: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(root):
        for name in [".", *names, *files]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest() if name in files else ""
            result[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink, st.st_size, content)
    return result

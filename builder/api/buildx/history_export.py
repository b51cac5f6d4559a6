"""Records and logs of builds as an archive, and back."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.api.buildx.history import History, record_of
from tiffin.builder.api.buildx.history_steps import steps_of
from tiffin.builder.api.buildx.recorder import BuildRecord
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.image.archive_write import output_file
from tiffin.builder.layer.index import new_entry
from tiffin.builder.layer.tar.reader import read_members
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header, padding
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import asdict, replace

MAX_IMPORT_BYTES = 256 << 20  # unpacked
MAX_NUMBER = 1 << 53  # of seconds, bytes, steps
ID = re.compile(r"[0-9a-z]{25}")
RECORD, EVENTS = "record.json", "events.jsonl"


def export_builds(history: History, refs: Sequence[str], dest: str, stdout: BinaryIO) -> None:
    """Write a tar.gz to a file, or to `stdout` for "-". Raises NotFoundError, StoreError."""
    archive = b""
    for ref in refs:
        record = history.find(ref)
        files = {
            RECORD: json.dumps(asdict(record), indent=2),
            EVENTS: "".join(history.events(ref)),
        }
        for name, text in files.items():
            data = text.encode()
            path = f"{record.id}/{name}"
            entry = new_entry(path, "file", 0o644, mtime_ns=int(record.finished) * 10**9)._replace(size=len(data))
            archive += header(entry, path) + data + padding(len(data))
    with output_file(dest, stdout) as sink:
        sink.write(gzip.compress(archive + END_OF_ARCHIVE, mtime=0))


def import_builds(history: History, path: Path | None, stdin: BinaryIO) -> Sequence[str]:
    """Keep the builds of an archive, of stdin for None; return the references of those that were not here.

    Raises UsageError for what is no such archive, StoreError.
    """
    shown = str(path or "stdin")
    with disk_errors(shown), path.open("rb") if path is not None else nullcontext(stdin) as packed:
        builds = list(_builds(packed, shown))
        return [record.ref for record, lines in builds if history.add(record, lines)]


def _builds(packed: BinaryIO, shown: str) -> Iterator[tuple[BuildRecord, Sequence[str]]]:
    texts: dict[str, str] = {}
    room = MAX_IMPORT_BYTES
    try:
        with gzip.open(packed) as stream:
            for entry, content in read_members(cast(BinaryIO, stream)):
                if content is None:
                    continue
                room -= entry.size
                if room < 0:
                    raise UsageError(f"{shown} has more than {MAX_IMPORT_BYTES} bytes", remedy="export fewer builds")
                texts[entry.path] = _whole(content).decode()
        records = [name for name in texts if name.endswith(f"/{RECORD}")]
        if not records:
            raise ValueError("it has no record of a build")
        for name in records:
            yield _build(texts[name], texts[name.removesuffix(RECORD) + EVENTS])
    except (TiffinError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError) as exc:
        if isinstance(exc, UsageError):
            raise
        raise UsageError(
            f"{shown} is not a valid archive of tiffin buildx history export: {exc}", remedy="export it again"
        ) from exc


def _build(text: str, log: str) -> tuple[BuildRecord, Sequence[str]]:
    """Return one build; raises ValueError, TypeError, LookupError, AttributeError for what is none."""
    record = record_of(text)
    if not ID.fullmatch(record.id):
        raise ValueError(f"{record.id!r} is not a valid id")
    numbers = (record.started, record.finished, record.size_bytes, record.steps, record.cached_steps)
    if not all(isinstance(number, int | float) and 0 <= number < MAX_NUMBER for number in numbers):
        raise ValueError(f"numbers of {record.id} are none")
    texts = (record.name, record.context, record.dockerfile, record.target, record.status, record.error, record.digest)
    if not all(isinstance(text, str) for text in (*texts, *record.platforms, *record.build_args, *record.names)):
        raise ValueError(f"texts of {record.id} are none")
    lines = log.split("\n")[:-1]
    steps_of(lines)  # which fails for what is no log
    return replace(record, plans=(), failure=""), lines  # those are of the machine that it was built on


def _whole(content: BinaryIO) -> bytes:
    parts = []
    while data := content.read(COPY_CHUNK_BYTES):
        parts.append(data)
    return b"".join(parts)

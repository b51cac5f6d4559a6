"""Records and logs of builds as an archive."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import BinaryIO

from tiffin.builder.api.buildx.history import History
from tiffin.builder.image.archive_write import output_file
from tiffin.builder.layer.index import new_entry
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header, padding
from tiffin.cache.foundation.frozen import asdict

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

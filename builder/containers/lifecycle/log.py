"""The log of a container: docker's json-file, a line of JSON for each line that its command printed.

container.log is being written, container.log.1 was before it, and so on, as many as are to be kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tiffin.builder.containers.lifecycle.json_lines import is_replaced, whole_lines
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

FILE = "container.log"
STDOUT, STDERR = "stdout", "stderr"
MAX_LINE_BYTES = 16 << 10  # of what is written without a line end, docker's
READ_BYTES = 1 << 16
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line, or the part of one; `time` as `time_text` writes it, which sorts by time."""

    stream: str
    text: bytes
    time: str


class LogWriter:
    """Writes a log. What the disk has no room for is left out, whole lines at a time; the command goes on."""

    def __init__(self, folder: Path, *, max_bytes: int = 0, max_files: int = 1, is_kept: bool = True) -> None:
        self._is_kept = is_kept
        self._path = folder / FILE
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._pending = {STDOUT: b"", STDERR: b""}  # without a line end as yet
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def add(self, stream: str, data: bytes) -> None:
        """Add what came from a stream."""
        if not self._is_kept:
            return
        *lines, rest = (self._pending[stream] + data).split(b"\n")
        texts = [line + b"\n" for line in lines]
        while len(rest) >= MAX_LINE_BYTES:
            texts.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._pending[stream] = rest
        self._write(stream, texts)

    def end_lines(self) -> None:
        """Write what has no line end: the command has ended, and another one's output begins a line."""
        for stream, rest in self._pending.items():
            self._write(stream, [rest] if rest else [])
        self._pending = dict.fromkeys(self._pending, b"")

    def close(self) -> None:
        """Write what has no line end, and close."""
        self.end_lines()
        os.close(self._fd)

    def _write(self, stream: str, texts: list[bytes]) -> None:
        moment = time_text(time.time_ns())
        block: list[bytes] = []
        size = 0
        for text in texts:
            line = text.decode("utf-8", "surrogateescape")
            row = json_text.dumps({"log": line, "stream": stream, "time": moment}).encode()
            block.append(row + b"\n")
            size += len(row) + 1
            if self._max_bytes and self._size + size >= self._max_bytes:
                self._flush(b"".join(block))
                block, size = [], 0
                self._rotate()
        self._flush(b"".join(block))

    def _flush(self, data: bytes) -> None:
        """Write all of it or nothing, so that every line of the file is whole."""
        if not data:
            return
        try:
            written = os.write(self._fd, data)
        except OSError:
            return
        if written < len(data):  # the disk is full
            os.ftruncate(self._fd, self._size + data.rfind(b"\n", 0, written) + 1)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        for number in range(self._max_files - 1, 0, -1):
            older = self._path.with_name(f"{FILE}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{FILE}.{number - 1}")
            if newer.exists():
                os.replace(newer, older)
        if self._max_files == 1:
            os.truncate(self._path, 0)
        self._open()


def time_text(time_ns: int) -> str:
    """Return a time as docker's logs have it: RFC 3339, UTC, nine digits."""
    seconds, rest = divmod(time_ns, NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def read_entries(
    folder: Path, *, is_alive: Callable[[], bool] = lambda: False, wait: Callable[[], None] = lambda: None
) -> Iterator[LogEntry]:
    """Yield the entries of a container's log, oldest first; while it `is_alive`, also those that are to come, for which
    `wait` waits.

    An entry that is damaged is left out.
    """
    with LogReader(folder) as reader:
        goes_on = True
        while goes_on:
            goes_on = is_alive()
            yield from reader.new()
            if goes_on:
                wait()


class LogReader:
    """Reads a log as it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE
        self._file: BinaryIO | None = None

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()

    def new(self) -> Iterator[LogEntry]:
        """Yield the entries that came since the last call, at the first one all."""
        if self._file is None:
            for path in sorted(self._folder.glob(f"{FILE}.*"), key=lambda item: -int(item.suffix[1:] or 0)):
                with path.open("rb") as file:
                    yield from _entries(file)
        elif not is_replaced(self._path, self._file):
            yield from _entries(self._file)
            return
        else:
            yield from _entries(self._file)  # what came before it was full
            self._file.close()
            self._file = None
        if self._path.is_file():
            self._file = self._path.open("rb")
            yield from _entries(self._file)


def _entries(file: BinaryIO) -> Iterator[LogEntry]:
    for row in whole_lines(file):
        try:
            members = json_text.loads(row)
            yield LogEntry(
                stream=members["stream"], text=members["log"].encode("utf-8", "surrogateescape"), time=members["time"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue

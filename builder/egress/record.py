"""What steps fetched: a directory with an index, and bodies by their SHA-256."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.registry.download import shown
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors, write_atomically
from tiffin.cache.foundation.frozen import asdict, dataclass

SCHEMA = 1
INDEX, BLOBS, LOCK = "record.json", "blobs/sha256", "Dockerfile.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it is found again. `body`: SHA-256 of what was sent, "" for nothing; `part`: its Range header."""

    method: str
    url: str
    body: str = ""
    part: str = ""

    def key(self) -> str:
        """Return what stands for it: a URL may hold a signature, which the record does not tell."""
        return sha256("\n".join((self.method, self.url, self.body, self.part)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; `body`: hexadecimal SHA-256."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A base image: as the plan asks for it, and its manifest."""

    name: str
    reference: str
    platform: str
    manifest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of ADD: the SHA-256 of its URL, its own, and its time."""

    url: str
    digest: str
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository of ADD at a commit: what stands for both, and the SHA-256 of git's pack."""

    key: str
    pack: str


class Recording:
    """A record that is written; from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._exchanges: dict[int, dict[str, object]] = {}  # by when their answers began
        self._numbers = count()
        self._images: list[Image] = []
        self._files: list[File] = []
        self._repositories: list[Repository] = []
        with disk_errors(folder):
            (folder / BLOBS).mkdir(parents=True, exist_ok=True)
        if (folder / INDEX).exists():
            raise UsageError(f"--record {folder}: there is a record already", remedy="name a new directory")

    def sink(self) -> BlobSink:
        """Return where a body is written; the next one's exchange comes after it, whichever is complete first."""
        return BlobSink(self.folder / BLOBS, next(self._numbers))

    def add(self, number: int, request: Request, answer: Answer) -> None:
        """Note an exchange that is complete; `number` is its sink's."""
        row = {"method": request.method, "url": shown(request.url), "key": request.key(), **asdict(answer)}
        with self._lock:
            self._exchanges[number] = row

    def add_image(self, image: Image) -> None:
        """Note a base image, whose blobs are in the record."""
        with self._lock:
            self._images.append(image)

    def add_file(self, url: str, digest: str, modified_ns: int) -> None:
        """Note a file of ADD, which is in the record."""
        file = File(url=sha256(url.encode()).hexdigest(), digest=digest, modified_ns=modified_ns)
        with self._lock:
            self._files.append(file)

    def add_repository(self, key: str, pack: str) -> None:
        """Note a repository of ADD, whose pack is in the record."""
        with self._lock:
            self._repositories.append(Repository(key=key, pack=pack))

    def finish(self) -> None:
        """Write the index: until then it is not a record."""
        document = {
            "schema": SCHEMA,
            "exchanges": [row for _, row in sorted(self._exchanges.items())],
            "images": [asdict(image) for image in self._images],
            "files": [asdict(file) for file in self._files],
            "repositories": [asdict(repository) for repository in self._repositories],
        }
        write_atomically(self.folder / INDEX, json.dumps(document, indent=1).encode() + b"\n")


class BlobSink:
    """A file that is called by its digest once it is whole; `number` is which one of the record."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._folder = folder
        self._path = folder / f".new-{os.urandom(8).hex()}"
        self._stream: BinaryIO = self._path.open("xb")
        self._hash = sha256()

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._hash.update(data)
        self._stream.write(data)

    def commit(self) -> str:
        """Put it in its place; its digest, hexadecimal."""
        self._stream.close()
        digest = self._hash.hexdigest()
        self._path.replace(self._folder / digest)
        return digest

    def discard(self) -> None:
        """Drop it."""
        self._stream.close()
        with suppress(FileNotFoundError):
            self._path.unlink()


class Replay:
    """A record that is read: the same request has the same answers, one after the other; the last one stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            document: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
            if document["schema"] != SCHEMA:
                raise ValueError(f"its schema is {document['schema']}, and not {SCHEMA}")
            self._answers: dict[str, list[Answer]] = {}
            for row in document["exchanges"]:
                headers = tuple((name, value) for name, value in row["headers"])
                answer = Answer(status=row["status"], headers=headers, body=_hex(row["body"]))
                self._answers.setdefault(row["key"], []).append(answer)
            self.images = [Image(**row) for row in document["images"]]
            self.files = [File(**row) for row in document["files"]]
            self.packs = {row["key"]: folder / BLOBS / _hex(row["pack"]) for row in document.get("repositories", [])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise UsageError(f"--replay {folder} is not a record: {exc}", remedy="make one with --record") from exc
        self._lock = threading.Lock()
        self._missing: list[str] = []

    def answer(self, request: Request) -> Answer | None:
        """Return the next answer to a request, None for one that was not recorded."""
        with self._lock:
            answers = self._answers.get(request.key())
            if answers is None:
                self._missing.append(f"{request.method} {shown(request.url)}")
                return None
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def missing(self) -> Sequence[str]:
        """Return what was asked for and is not in the record."""
        with self._lock:
            return list(dict.fromkeys(self._missing))

    def open(self, digest: str) -> BinaryIO:
        """Open a body. Raises TiffinError where it is not what it was."""
        path = self.folder / BLOBS / _hex(digest)
        try:
            stream = path.open("rb")
        except OSError as exc:
            raise TiffinError(f"cannot read {path}: {exc.strerror}", remedy="make the record again") from exc
        found = sha256()
        while data := stream.read(COPY_CHUNK_BYTES):
            found.update(data)
        if found.hexdigest() != digest:
            stream.close()
            raise TiffinError(f"{path} is damaged", remedy="make the record again")
        stream.seek(0)
        return stream


def _hex(text: str) -> str:
    """Check a digest, which becomes the name of a file."""
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f'"{text}" is not a digest')
    return text

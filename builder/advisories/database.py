"""Advisories given as files: JSON, a folder or a zip of it, as osv.dev publishes them. Nothing is downloaded."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiffin.builder.advisories.advisory import Advisory, Affected, decoded
from tiffin.builder.advisories.ecosystems import canonical, family
from tiffin.builder.errors import UsageError

MAX_BYTES = 256 << 20  # of one text
_REMEDY = "give advisories in OSV's format: a JSON file, a folder or a zip of them"


class Database:
    """Advisories by ecosystem and package."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[tuple[Advisory, Affected]]] = {}
        self._families: set[str] = set()
        self.count = 0

    @classmethod
    def read(cls, paths: Sequence[str]) -> Database:
        """Read all files. Raises UsageError naming the one at fault."""
        database = cls()
        for path in paths:
            before = database.count
            for name, data in _texts(Path(path)):
                database._add(name, data)
            if database.count == before and Path(path).is_dir():
                raise UsageError(f"--db {path} has no advisories", remedy=_REMEDY)
        return database

    def has(self, ecosystem: str) -> bool:
        """Whether there is any advisory of an ecosystem, whatever release."""
        return ecosystem in self._families

    def about(self, ecosystem: str, name: str) -> Sequence[tuple[Advisory, Affected]]:
        """Return the advisories about a package, of all releases of a distribution."""
        return self._rows.get((ecosystem, name), ())

    def _add(self, name: str, data: bytes) -> None:
        try:
            found = [Advisory.decode(document) for document in decoded(data)]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            raise UsageError(f"{name} is not an advisory in OSV's format: {exc!r}", remedy=_REMEDY) from exc
        for advisory in found:
            self.count += 1
            for item in advisory.affected if advisory is not None else ():
                assert advisory is not None
                short = family(item.ecosystem)
                self._families.add(short)
                self._rows.setdefault((short, canonical(short, item.name)), []).append((advisory, item))


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the texts of a file, a folder or a zip with their names."""
    try:
        if path.is_dir():
            for folder, _, names in os.walk(path):
                for name in sorted(names):
                    if name.endswith(".json"):
                        yield from _texts(Path(folder, name))
        elif zipfile.is_zipfile(path):
            yield from _members(path)
        else:
            with path.open("rb") as stream:
                yield str(path), _limited(stream.read(MAX_BYTES + 1), str(path))
    except OSError as exc:
        raise UsageError(f"cannot read --db {path}: {exc.strerror or exc}", remedy=_REMEDY) from exc


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    with archive.open(name) as stream:
                        yield f"{path}!/{name}", _limited(stream.read(MAX_BYTES + 1), name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as exc:
        raise UsageError(f"--db {path} is a damaged zip: {exc}", remedy="get it again") from exc


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name} is larger than {MAX_BYTES} bytes", remedy="split it into files")
    return data

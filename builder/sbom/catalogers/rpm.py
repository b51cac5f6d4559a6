"""RPM's packages: the headers in its SQLite database. Its older databases are not read, which is said."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from contextlib import closing

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, OwnedFiles, Package, Unread
from tiffin.builder.sbom.licences import expression

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_VENDOR, _LICENCE, _URL, _ARCH, _SOURCE = 1011, 1014, 1020, 1022, 1044
_DIRECTORY_OF, _BASE_NAMES, _DIRECTORIES, _MODULE = 1116, 1117, 1118, 5096
_INT32, _STRING, _STRINGS, _TEXT = 4, 6, 8, 9
_SIZE_OF_ENTRY = 16
_MAX_ENTRIES = 1 << 20
_PUBLIC_KEYS = "gpg-pubkey"  # keys that rpm keeps as packages


def read(source: Source) -> Iterable[Fact]:
    """Yield what a database tells."""
    name = source.path.rpartition("/")[2]
    if name == "rpmdb.sqlite-wal":
        if source.size:
            yield Unread(reason="changes of RPM's database that were not written back; run rpm -qa once in the image")
        return
    if name != "rpmdb.sqlite":
        kind = "NDB" if name == "Packages.db" else "Berkeley DB"
        yield Unread(
            reason=f"RPM's database in the form of {kind} is not read; rpm --rebuilddb of rpm 4.16 makes SQLite"
        )
        return
    for header in _headers(source.data):
        fields = _Header(header)
        if fields.text(_NAME) != _PUBLIC_KEYS:
            package = _package(fields)
            yield package
            owned = tuple(sorted(path for path in fields.files() if source.is_claimed(path)))
            if owned:
                yield OwnedFiles(package=package.name, paths=owned)


def _headers(data: bytes) -> list[bytes]:
    """Return the headers of a database; its journal mode is set to one that works in memory."""
    plain = data[:18] + b"\x01\x01" + data[20:]
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.deserialize(plain)
            return [bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]
        except sqlite3.Error as exc:
            raise ValueError(f"it is not RPM's database: {exc}") from exc


class _Header:
    """A header of RPM: tags with values in one store."""

    def __init__(self, data: bytes) -> None:
        count, size = struct.unpack_from(">II", data)
        if count > _MAX_ENTRIES or 8 + count * _SIZE_OF_ENTRY + size > len(data):
            raise ValueError("a header of a package is damaged")
        self._store = data[8 + count * _SIZE_OF_ENTRY :]
        rows = (struct.unpack_from(">IIII", data, 8 + number * _SIZE_OF_ENTRY) for number in range(count))
        self._entries = {tag: (kind, offset, number) for tag, kind, offset, number in rows}

    def text(self, tag: int) -> str:
        """Return the first text of a tag, "" for none."""
        return next(iter(self.texts(tag)), "")

    def texts(self, tag: int) -> Sequence[str]:
        """Return all texts of a tag."""
        kind, offset, count = self._entries.get(tag, (0, 0, 0))
        if kind == _STRING:
            count = 1
        elif kind not in (_STRINGS, _TEXT):
            return ()
        found = []
        for _ in range(min(count, len(self._store))):
            end = self._store.index(b"\0", offset)
            found.append(self._store[offset:end].decode("utf-8", "replace"))
            offset = end + 1
        return found

    def numbers(self, tag: int) -> Sequence[int]:
        """Return the 32-bit numbers of a tag."""
        kind, offset, count = self._entries.get(tag, (0, 0, 0))
        if kind != _INT32 or offset + 4 * count > len(self._store):
            return ()
        return struct.unpack_from(f">{count}I", self._store, offset)

    def files(self) -> Iterable[str]:
        """Yield the paths of its files, without slash in front."""
        folders = self.texts(_DIRECTORIES)
        for name, number in zip(self.texts(_BASE_NAMES), self.numbers(_DIRECTORY_OF), strict=False):
            if number < len(folders):
                yield (folders[number] + name).lstrip("/")


def _package(fields: _Header) -> Package:
    epoch = next(iter(fields.numbers(_EPOCH)), None)
    version = f"{fields.text(_VERSION)}-{fields.text(_RELEASE)}"
    told = (("epoch", "" if epoch is None else str(epoch)), ("upstream", fields.text(_SOURCE)))
    module = fields.text(_MODULE)
    vendor = fields.text(_VENDOR)
    return Package(
        type="rpm",
        name=fields.text(_NAME),
        version=version,
        architecture=fields.text(_ARCH),
        licence=expression([fields.text(_LICENCE)]),
        supplier="" if vendor == "(none)" else vendor,
        homepage=fields.text(_URL),
        qualifiers=tuple((key, value) for key, value in (*told, ("rpmmod", module)) if value),
    )


CATALOGER = Cataloger(
    name="rpm",
    read=read,
    pattern=r"(?:var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/(?:rpmdb\.sqlite(?:-wal)?|Packages(?:\.db)?)",
    is_system=True,
    endings=("/rpmdb.sqlite", "/rpmdb.sqlite-wal", "/Packages", "/Packages.db"),
)

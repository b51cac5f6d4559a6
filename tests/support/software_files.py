"""Files that tell of packages, as their package managers write them."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

STATUS = """Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10
Homepage: https://www.gnu.org/software/libc/libc.html
Description: GNU C Library
 Contains the standard libraries.

Package: gone
Status: deinstall ok config-files
Version: 1

Package: bsdutils
Status: install ok installed
Architecture: amd64
Source: util-linux (2.38.1-5)
Version: 1:2.38.1-5
"""
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: LGPL-2.1+

Files: debian/*
License: GPL-2 or Expat
"""
APK = """C:Q1p78yvTLG094tHE1+dToJGbmYzQE=
P:musl
V:1.2.4-r2
A:x86_64
U:https://musl.libc.org/
L:MIT
o:musl
m:Timo Teras <timo.teras@iki.fi>
F:lib
R:ld-musl-x86_64.so.1

P:py3-yaml
V:6.0-r3
A:x86_64
L:MIT
o:yaml
F:usr/lib/python3.11/site-packages/PyYAML-6.0.dist-info
R:METADATA
"""
METADATA = """Metadata-Version: 2.1
Name: PyYAML
Version: 6.0
License: MIT
Home-page: https://pyyaml.org/

Name: not this
"""
GEMSPEC = """# -*- encoding: utf-8 -*-
Gem::Specification.new do |s|
  s.name = "rack".freeze
  s.version = "2.2.6.4"
  s.licenses = ["MIT".freeze]
  s.homepage = "https://github.com/rack/rack".freeze
end
"""


def status_paragraph(name: str, version: str) -> str:
    """One installed package in dpkg's status file."""
    return f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"


def conda_record(name: str, version: str) -> str:
    """A file of conda-meta."""
    return json.dumps(
        {
            "name": name,
            "version": version,
            "build": "py311_0",
            "channel": "https://conda.anaconda.org/conda-forge/linux-64",
            "subdir": "linux-64",
            "license": "BSD-3-Clause",
        }
    )


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A Java archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return stream.getvalue()


def pom(group: str, name: str, version: str) -> dict[str, str | bytes]:
    """What Maven puts into an archive."""
    text = f"#Created\nversion={version}\ngroupId={group}\nartifactId={name}\n"
    return {f"META-INF/maven/{group}/{name}/pom.properties": text}


def elf(sections: Mapping[str, bytes]) -> bytes:
    """A 64-bit ELF file that has these sections and nothing to run."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    contents = [*sections.values(), names]
    offset, rows, body, place = 64, [struct.pack("<IIQQQQIIQQ", *[0] * 10)], b"", 1
    for name, content in zip((*sections, ".shstrtab"), contents, strict=True):
        rows.append(struct.pack("<IIQQQQIIQQ", place, 1, 0, 0x1000 + offset, offset, len(content), 0, 0, 1, 0))
        place += len(name) + 1
        offset += len(content)
        body += content
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, offset, 0, 64, 0, 0, 64, len(rows), len(rows) - 1)
    )
    return (head + body + b"".join(rows)).ljust(5000, b"\0")


def go_program(modules: str, version: str = "go1.22.1") -> bytes:
    """A program with the build information that Go's linker writes since 1.18."""
    framed = b"0" * 16 + modules.encode() + b"1" * 16
    return elf(
        {".go.buildinfo": b"\xff Go buildinf:\x08\x02" + bytes(16) + _counted(version.encode()) + _counted(framed)}
    )


def _counted(data: bytes) -> bytes:
    length, head = len(data), b""
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + data


def rust_program(packages: Sequence[Mapping[str, object]]) -> bytes:
    """A program with the data of cargo-auditable."""
    return elf({".dep-v0": zlib.compress(json.dumps({"packages": packages}).encode())})


def rpm_database(*headers: bytes) -> bytes:
    """RPM's database, in the journal mode in which rpm leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rpmdb.sqlite")
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
        connection.commit()
        connection.close()
        return path.read_bytes()


def rpm_header(name: str, version: str, release: str, *, epoch: int | None = None, licence: str = "MIT") -> bytes:
    """A header as the database holds it."""
    texts = {1000: name, 1001: version, 1002: release, 1014: licence, 1022: "x86_64", 1044: f"{name}-src.rpm"}
    entries, store = [], b""
    for tag, text in texts.items():
        entries.append(struct.pack(">IIII", tag, 6, len(store), 1))
        store += text.encode() + b"\0"
    store += bytes(-len(store) % 4)
    if epoch is not None:
        entries.append(struct.pack(">IIII", 1003, 4, len(store), 1))
        store += struct.pack(">I", epoch)
    entries.append(struct.pack(">IIII", 1116, 4, len(store), 1))
    store += struct.pack(">I", 0)
    for tag, text in ((1117, "METADATA"), (1118, "/usr/lib/python3/site-packages/x.dist-info/")):
        entries.append(struct.pack(">IIII", tag, 8, len(store), 1))
        store += text.encode() + b"\0"
    return struct.pack(">II", len(entries), len(store)) + b"".join(entries) + store


IMAGE: Mapping[str, bytes | str | None] = {
    "etc/os-release": OS_RELEASE,
    "var/lib/dpkg/status": STATUS,
    "var/lib/rpm/Packages.db": "not read",
    "usr/share/doc/libc6/copyright": COPYRIGHT,
    "opt/x.dist-info/METADATA": "Name: Odd name\nVersion: 1+local\nLicense: Words, of ours (c)\nAuthor: A <b@c>\n",
    "srv/node_modules/@a/b/package.json": '{"name": "@a/b", "version": "1.0.0", "license": "MIT OR Apache-2.0"}',
    "bin/app": go_program("path\tx\nmod\texample.com/app\tv1.0.0\n"),
    "srv/n\udcff.jar": archive(pom("org.example", "b\u00e9ta", "1")),
}

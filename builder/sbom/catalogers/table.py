"""The table of catalogers, and which of them read which file of a layer."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.sbom.catalogers import (
    apk,
    conda,
    dpkg,
    gem,
    golang,
    java,
    npm,
    python,
    release,
    rpm,
    rust,
)
from tiffin.builder.sbom.catalogers.cataloger import Cataloger

CATALOGERS: Sequence[Cataloger] = (
    release.CATALOGER,
    dpkg.CATALOGER,
    apk.CATALOGER,
    rpm.CATALOGER,
    python.CATALOGER,
    npm.CATALOGER,
    gem.CATALOGER,
    java.CATALOGER,
    conda.CATALOGER,
    golang.CATALOGER,
    rust.CATALOGER,
)
MIN_PROGRAM_BYTES = 4096
_EXECUTABLE = 0o111
_BY_NAME = {row.name: row for row in CATALOGERS}
_PROGRAMS = tuple(row for row in CATALOGERS if row.reads_programs)
_PLACES_OF_PROGRAMS = re.compile(r"(?:.*/)?s?bin/[^/]+|usr/(?:lib|libexec)/.+/[^/.]+")
_ENDINGS = tuple(text for row in CATALOGERS for text in row.endings)
_FOLDERS = tuple(row.folder for row in CATALOGERS if row.folder)
_DATABASES = (
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/x",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
)
_PATTERN = re.compile("|".join(f"(?P<{row.name}>{row.pattern})" for row in CATALOGERS if row.pattern))


def wanted(entries: Iterable[Entry]) -> dict[str, tuple[Cataloger, ...]]:
    """Return which catalogers read which files of a layer, by path; other names of a file count as files."""
    match = _PATTERN.fullmatch
    found: dict[str, tuple[Cataloger, ...]] = {}
    for entry in entries:
        if entry.kind not in ("file", "hardlink"):
            continue
        path = entry.path
        matched = match(path) if path.endswith(_ENDINGS) or path.startswith(_FOLDERS) else None
        if matched is not None:
            found[path] = (_BY_NAME[matched.lastgroup or ""],)
        elif entry.mode & _EXECUTABLE and entry.size >= MIN_PROGRAM_BYTES:
            found[path] = _PROGRAMS
    return found


def elsewhere(index: LayerIndex) -> dict[str, str]:
    """Return the links of a layer that lead from a package manager's database to where none is looked for: by path,
    the place that they lead to.
    """
    found: dict[str, str] = {}
    for database in _DATABASES:
        folder = database
        while folder:
            entry = index.by_path.get(folder)
            if entry is not None and entry.kind == "symlink":
                target = posixpath.normpath(posixpath.join("/", posixpath.dirname(folder), entry.link))
                place = target.strip("/") + database[len(folder) :]
                if _PATTERN.fullmatch(place) is None:
                    found[folder] = target
            folder = posixpath.dirname(folder)
    return found


def is_database(path: str) -> bool:
    """Whether a path is that of a package manager's database, or leads to one."""
    matched = _PATTERN.fullmatch(path)
    if matched is not None and _BY_NAME[matched.lastgroup or ""].is_system:
        return True
    return any(database.startswith(f"{path}/") for database in _DATABASES)


def is_claimed(path: str) -> bool:
    """Whether a file of that path may tell of packages that are not the system's."""
    matched = _PATTERN.fullmatch(path) if path.endswith(_ENDINGS) else None
    if matched is None:
        return _PLACES_OF_PROGRAMS.fullmatch(path) is not None
    return not _BY_NAME[matched.lastgroup or ""].is_system

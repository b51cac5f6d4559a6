"""The lock file: a value, read strictly and written in one form (TOML, sorted), so that its changes read well.

schema = 1
platforms = ["linux/amd64"]

[[image]]
name = "debian:12"                       # as the Dockerfile or --build-context has it, after expansion
resolved = "docker.io/library/debian:12"
digest = "sha256:…"                      # what the name led to: an index, or a manifest
platforms."linux/amd64" = "sha256:…"     # the manifest that is used

[[git]]
url = "https://example.com/tools.git"
ref = "v2"
commit = "…"

[[url]]
url = "https://example.com/file"
query = "…"                              # of what stands after "?", which may be a signature: its SHA-256
digest = "sha256:…"

[[syntax]]
name = "docker/dockerfile:1"
digest = "sha256:…"                      # "" where no registry could be asked; tiffin does not run it
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.oci.spec import Platform
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

SCHEMA = 1
SUFFIX = ".lock"
HEADER = "# Written by tiffin lock. tiffin build --locked uses what stands here, and nothing else."
MAX_BYTES = 4 << 20
_TABLES: Mapping[str, frozenset[str]] = {
    "image": frozenset({"name", "resolved", "digest", "platforms"}),
    "git": frozenset({"url", "ref", "commit"}),
    "url": frozenset({"url", "query", "digest"}),
    "syntax": frozenset({"name", "digest"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """An image. `manifests` are by platform."""

    name: str
    resolved: str
    digest: str
    manifests: Mapping[Platform, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All that is locked: images by name, commits by URL and reference, digests by URL and query, frontends by name."""

    platforms: tuple[Platform, ...] = ()
    images: Mapping[str, LockedImage] = field(default_factory=dict)
    commits: Mapping[tuple[str, str], str] = field(default_factory=dict)
    files: Mapping[tuple[str, str], str] = field(default_factory=dict)
    syntaxes: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> frozenset[str]:
        """Return what --update may name."""
        urls = (url for url, _ in (*self.commits, *self.files))
        return frozenset((*self.images, *urls, *self.syntaxes))

    def text(self) -> str:
        """Return it as the file has it."""
        rows: list[tuple[str, list[tuple[str, str]]]] = []
        for name, image in sorted(self.images.items()):
            fields = [("name", name), ("resolved", image.resolved), ("digest", image.digest)]
            manifests = sorted((str(platform), digest) for platform, digest in image.manifests.items())
            rows.append(("image", fields + [(f"platforms.{_quoted(name)}", digest) for name, digest in manifests]))
        for (url, ref), commit in sorted(self.commits.items()):
            rows.append(("git", [("url", url), ("ref", ref), ("commit", commit)]))
        for (url, query), digest in sorted(self.files.items()):
            rows.append(("url", [("url", url), *([("query", query)] if query else []), ("digest", digest)]))
        for name, digest in sorted(self.syntaxes.items()):
            rows.append(("syntax", [("name", name), ("digest", digest)]))
        platforms = ", ".join(_quoted(str(platform)) for platform in self.platforms)
        parts = [f"{HEADER}\nschema = {SCHEMA}\nplatforms = [{platforms}]\n"]
        for table, pairs in rows:
            parts.append("".join([f"[[{table}]]\n", *(f"{key} = {_quoted(value)}\n" for key, value in pairs)]))
        return "\n".join(parts)


def read_lock(path: Path) -> Lock | None:
    """Return what a file holds, None if there is none. Raises UsageError for one that is not a lock file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", remedy="make it readable") from exc
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is longer than {MAX_BYTES} bytes")
        return _lock_of(tomllib.loads(data.decode()))
    except (ValueError, KeyError, TypeError, AttributeError, DigestError, UsageError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else exc
        raise UsageError(f"{path} is not a valid lock file: {reason}", remedy="remove it and run tiffin lock") from exc


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock file in one move. Raises TiffinError."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        temporary.write_text(lock.text())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise TiffinError(f"cannot write {path}: {exc.strerror}", remedy="name another with --lock-file") from exc


def _lock_of(document: Mapping[str, Any]) -> Lock:
    if document.get("schema") != SCHEMA:
        raise ValueError(f"schema {document.get('schema')} is not known, this tiffin reads schema {SCHEMA}")
    unknown = document.keys() - _TABLES.keys() - {"schema", "platforms"}
    if unknown:
        raise ValueError(f'"{min(unknown)}" is unknown')
    rows = {table: list(_rows(document.get(table, []), table)) for table in _TABLES}
    return Lock(
        platforms=tuple(map(Platform.parse, document["platforms"])),
        images={row["name"]: _image(row) for row in rows["image"]},
        commits={(row["url"], row["ref"]): _hex(row["commit"]) for row in rows["git"]},
        files={(row["url"], row.get("query", "")): str(Digest.parse(row["digest"])) for row in rows["url"]},
        syntaxes={row["name"]: row["digest"] and str(Digest.parse(row["digest"])) for row in rows["syntax"]},
    )


def _rows(tables: object, name: str) -> Iterable[dict[str, Any]]:
    if not isinstance(tables, list):
        raise TypeError(f"{name} is not a list of tables")
    for row in tables:
        unknown = row.keys() - _TABLES[name]
        if unknown:
            raise ValueError(f'"{min(unknown)}" of [[{name}]] is unknown')
        wrong = [key for key, value in row.items() if not isinstance(value, dict if key == "platforms" else str)]
        if wrong:
            raise TypeError(f"{wrong[0]} of [[{name}]] is not a text")
        yield row


def _image(row: Mapping[str, Any]) -> LockedImage:
    manifests = {Platform.parse(name): str(Digest.parse(digest)) for name, digest in row["platforms"].items()}
    digest = str(Digest.parse(row["digest"]))
    return LockedImage(name=row["name"], resolved=row["resolved"], digest=digest, manifests=manifests)


def _hex(commit: str) -> str:
    if len(commit) not in (40, 64) or not set(commit) <= set("0123456789abcdef"):
        raise ValueError(f'"{commit}" is not a valid commit')
    return commit


def _quoted(text: str) -> str:
    """Return a basic string of TOML: that of JSON, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Java's packages: what Maven puts into archives, else their manifest and file name; archives inside them, too."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO, cast
from xml.etree import ElementTree

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Package, Unread
from tiffin.builder.sbom.licences import expression

MAX_DEPTH = 4  # of archives in archives
MAX_MEMBER_BYTES = 256 << 20  # of an archive inside
MAX_TEXT_BYTES = 1 << 20  # of a manifest or properties
_ARCHIVE = r"jar|war|ear|par|sar|nar|jpi|hpi|rar"
_INSIDE = re.compile(rf".+\.(?:{_ARCHIVE})", re.IGNORECASE)
_PROPERTIES = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_FIELDS = re.compile(r"^\s*(groupId|artifactId|version)\s*[=:\s]\s*(\S+)", re.MULTILINE)  # as java.util.Properties
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.xml")
_MANIFEST = "META-INF/MANIFEST.MF"
_FILE = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.]*?(?:-[A-Za-z][A-Za-z0-9_.]*?)*)-(?P<version>[0-9][0-9A-Za-z._+-]*)")
_UNFILLED = "${"


def read(source: Source) -> Iterable[Fact]:
    """Yield the packages of an archive and of those inside."""
    return _archive(source.path, source.file, 0)


def _archive(path: str, file: BinaryIO, depth: int) -> Iterable[Fact]:
    """Yield what an archive tells. Raises ValueError."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            found = list(_packages(path, archive, names))
            yield from found
            for name in names:
                if not _INSIDE.fullmatch(name):
                    continue
                inside = f"{path}!/{name}"
                if depth >= MAX_DEPTH:
                    yield Unread(reason=f"{inside} lies in {depth + 1} archives, and {MAX_DEPTH} are looked into")
                elif (data := _member(archive, name, MAX_MEMBER_BYTES)) is None:
                    yield Unread(reason=f"{inside} is larger than {MAX_MEMBER_BYTES} bytes")
                else:
                    yield from _inner(inside, data, depth)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as exc:
        raise ValueError(f"it is not an archive that can be read: {exc}") from exc


def _inner(path: str, data: bytes, depth: int) -> Iterable[Fact]:
    """Yield what an archive inside another tells; a damaged one is said, and its neighbours are read."""
    try:
        yield from list(_archive(path, io.BytesIO(data), depth + 1))
    except ValueError as exc:
        yield Unread(reason=f"{path}: {exc}")


def _packages(path: str, archive: zipfile.ZipFile, names: list[str]) -> Iterable[Package]:
    manifest = _manifest(_text(archive, _MANIFEST)) if _MANIFEST in names else {}
    own = re.sub(rf"\.(?:{_ARCHIVE})$", "", path.rpartition("/")[2], flags=re.IGNORECASE)
    licence = expression([manifest.get("bundle-license", "").partition(";")[0].partition(",")[0].strip('" ')])
    found = False
    told = {
        name.rpartition("/")[0]: _FIELDS.findall(_text(archive, name)) for name in filter(_PROPERTIES.fullmatch, names)
    }
    for name in filter(_POM.fullmatch, names):
        if name.rpartition("/")[0] not in told:
            told[name.rpartition("/")[0]] = _pom_fields(_text(archive, name))
    for _, pairs in sorted(told.items()):
        fields = dict(pairs)
        if len(fields) == 3 and not any(_UNFILLED in value for value in fields.values()):
            found = True
            yield Package(
                type="maven",
                namespace=fields["groupId"],
                name=fields["artifactId"],
                version=fields["version"],
                licence=licence if own.startswith(fields["artifactId"]) else "",
            )
    if not found and (package := _guessed(own, manifest, licence)) is not None:
        yield package


def _pom_fields(text: str) -> list[tuple[str, str]]:
    """Return what a pom.xml calls its artifact; group and version may be those of its parent.

    [] for a damaged one, and for one with entities, which may grow without bound.
    """
    if "<!" in text.replace("<!--", ""):
        return []
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return []
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""

    def value(name: str) -> str:
        return (root.findtext(f"{space}{name}") or "").strip()

    pairs = {
        "groupId": value("groupId") or value(f"parent/{space}groupId"),
        "artifactId": value("artifactId"),
        "version": value("version") or value(f"parent/{space}version"),
    }
    return [(name, text) for name, text in pairs.items() if text]


def _guessed(own: str, manifest: dict[str, str], licence: str) -> Package | None:
    """Return the package of an archive that Maven put nothing into: its file's name counts, then its manifest."""
    named = _FILE.fullmatch(own)
    version = named["version"] if named else ""
    for key in ("implementation-version", "bundle-version", "specification-version"):
        version = version or ("" if _UNFILLED in manifest.get(key, "") else manifest.get(key, ""))
    if not version:
        return None
    group = manifest.get("implementation-vendor-id", "")
    symbolic = manifest.get("bundle-symbolicname", "").partition(";")[0].strip()
    if not group and "." in symbolic:
        group = symbolic.rpartition(".")[0] if symbolic.rpartition(".")[2] == (named["name"] if named else own) else ""
    return Package(
        type="maven", namespace=group, name=named["name"] if named else own, version=version, licence=licence
    )


def _manifest(text: str) -> dict[str, str]:
    """Return the main section of a manifest, names in small letters; long lines are folded."""
    main = re.sub(r"\n ", "", text.replace("\r\n", "\n")).partition("\n\n")[0]
    return {name.lower(): value.strip() for name, colon, value in (line.partition(":") for line in main.split("\n"))}


def _text(archive: zipfile.ZipFile, name: str) -> str:
    return (_member(archive, name, MAX_TEXT_BYTES) or b"").decode("utf-8", "replace")


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes | None:
    """Return a member, None for one that is larger than it may be, whatever its header says."""
    with archive.open(name) as stream:
        data = cast(BinaryIO, stream).read(limit + 1)
    return data if len(data) <= limit else None


CATALOGER = Cataloger(
    name="java",
    read=read,
    pattern=rf"(?:.*/)?[^/]+\.(?:{_ARCHIVE})",
    endings=tuple(f".{name}" for name in _ARCHIVE.split("|")),
)

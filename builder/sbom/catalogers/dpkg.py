"""Debian's packages: dpkg's status, a file for each package as distroless images have them, and copyright files."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source, paragraphs
from tiffin.builder.sbom.facts import Fact, LicenceNote, OwnedFiles, Package
from tiffin.builder.sbom.licences import expression

_ABSENT = ("not-installed", "config-files")  # states in which nothing of a package is there
_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")
_LIST = re.compile(r"var/lib/dpkg/info/([^/]+)\.list")
_COPYRIGHT = re.compile(r"usr/share/doc/([^/]+)/copyright")
_FORMAT = re.compile(r"\s*format(?:-specification)?:", re.IGNORECASE)
_LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)


def read(source: Source) -> Iterable[Fact]:
    """Yield what a file of dpkg tells."""
    if listed := _LIST.fullmatch(source.path):
        paths = tuple(sorted(path for line in source.text.splitlines() if source.is_claimed(path := line.strip("/"))))
        return [OwnedFiles(package=listed[1].partition(":")[0], paths=paths)] if paths else []
    if copyright_of := _COPYRIGHT.fullmatch(source.path):
        licence = _licence(source.text)
        return [LicenceNote(package=copyright_of[1], licence=licence)] if licence else []
    return list(_packages(source.text))


def _packages(text: str) -> Iterable[Package]:
    for fields in paragraphs(text):
        state = fields.get("status", "install ok installed").split()
        if "package" not in fields or "version" not in fields or not state or state[-1] in _ABSENT:
            continue
        built_from = _SOURCE.match(fields.get("source", ""))
        name, version = (built_from[1], built_from[2] or "") if built_from else ("", "")
        yield Package(
            type="deb",
            name=fields["package"],
            version=fields["version"],
            architecture=fields.get("architecture", ""),
            source=name if name != fields["package"] else "",
            source_version=version if version != fields["version"] else "",
            supplier=fields.get("maintainer", ""),
            homepage=fields.get("homepage", ""),
        )


def _licence(text: str) -> str:
    """Return the licences of a copyright file in Debian's form for machines; others are texts for people."""
    if not _FORMAT.match(text):
        return ""
    names = dict.fromkeys(name.strip() for name in _LICENCE.findall(text))
    return expression([name.replace(" | ", " or ").replace(",", "") for name in names])


CATALOGER = Cataloger(
    name="dpkg",
    read=read,
    pattern=r"var/lib/dpkg/status|var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)|var/lib/dpkg/info/[^/]+\.list"
    r"|usr/share/doc/[^/]+/copyright",
    is_system=True,
    endings=("/status", ".list", "/copyright"),
    folder="var/lib/dpkg/status.d/",
)

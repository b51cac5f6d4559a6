"""Alpine's packages: the database of apk, in its old and its new place."""

from __future__ import annotations

from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, OwnedFiles, Package
from tiffin.builder.sbom.licences import expression


def read(source: Source) -> Iterable[Fact]:
    """Yield the packages of the database, with the files of theirs that tell of other packages."""
    for block in source.text.split("\n\n"):
        fields: dict[str, str] = {}
        owned, folder = [], ""
        for line in block.split("\n"):
            letter, _, value = line.partition(":")
            if letter == "F":
                folder = value
            elif letter == "R":
                path = f"{folder}/{value}" if folder else value
                owned += [path] if source.is_claimed(path) else []
            else:
                fields[letter] = value
        if "P" not in fields or "V" not in fields:
            continue
        yield _package(fields)
        if owned:
            yield OwnedFiles(package=fields["P"], paths=tuple(sorted(owned)))


def _package(fields: dict[str, str]) -> Package:
    return Package(
        type="apk",
        name=fields["P"],
        version=fields["V"],
        architecture=fields.get("A", ""),
        licence=expression([fields.get("L", "")]),
        source=fields["o"] if fields.get("o", fields["P"]) != fields["P"] else "",
        supplier=fields.get("m", ""),
        homepage=fields.get("U", ""),
    )


CATALOGER = Cataloger(
    name="apk",
    read=read,
    pattern=r"(?:usr/)?lib/apk/db/installed",
    is_system=True,
    endings=("/installed",),
)

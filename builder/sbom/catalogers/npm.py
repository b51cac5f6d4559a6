"""Packages of npm: the package.json of each folder in node_modules, and those that Debian puts in /usr/share/nodejs."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Package
from tiffin.builder.sbom.licences import expression


def read(source: Source) -> Iterable[Fact]:
    """Yield the package of a package.json; one without a name or a version is not an installed package."""
    document = json.loads(source.data)
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return
    scope, _, bare = name.rpartition("/")
    yield Package(
        type="npm",
        namespace=scope,
        name=bare,
        version=version,
        licence=expression(_licences(document)),
        supplier=_person(document.get("author")),
        homepage=_text(document.get("homepage")),
    )


def _licences(document: dict[str, object]) -> list[str]:
    """Return the licence in the form of today, or in one of the two that came before."""
    found = document.get("license", document.get("licenses"))
    items = found if isinstance(found, list) else [found]
    names = [_text(item.get("type")) if isinstance(item, dict) else _text(item) for item in items]
    if isinstance(found, list) and len(names) > 1:
        return [" OR ".join(f"({name})" if " " in name else name for name in names if name)]
    return [name for name in names if not name.upper().startswith("SEE LICENSE")]


def _person(value: object) -> str:
    return _text(value.get("name")) if isinstance(value, dict) else _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


CATALOGER = Cataloger(
    name="npm",
    read=read,
    pattern=r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json|usr/share/nodejs/(?:@[^/]+/)?[^/]+/package\.json",
    endings=("/package.json",),
)

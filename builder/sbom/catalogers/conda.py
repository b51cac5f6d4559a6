"""Conda's packages: one file for each in conda-meta of an environment."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Package
from tiffin.builder.sbom.licences import expression


def read(source: Source) -> Iterable[Fact]:
    """Yield the package that a record tells of."""
    document = json.loads(source.data)
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return
    channel = str(document.get("channel") or "").rstrip("/")
    subdir = str(document.get("subdir") or "")
    channel = channel.removesuffix(f"/{subdir}").rpartition("/")[2]
    asked = (("build", str(document.get("build") or "")), ("channel", channel), ("subdir", subdir))
    yield Package(
        type="conda",
        name=name,
        version=version,
        licence=expression([str(document.get("license") or "")]),
        qualifiers=tuple((key, value) for key, value in asked if value),
    )


CATALOGER = Cataloger(
    name="conda",
    read=read,
    pattern=r"(?:.*/)?conda-meta/[^/]+\.json",
    endings=(".json",),
)

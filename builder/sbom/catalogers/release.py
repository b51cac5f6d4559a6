"""The distribution: os-release."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Release


def read(source: Source) -> Iterable[Fact]:
    """Yield the distribution."""
    fields = {}
    for line in source.text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            fields[name] = "".join(shlex.split(value)[:1])
    if fields.get("ID"):
        yield Release(
            id=fields["ID"],
            version=fields.get("VERSION_ID", ""),
            name=fields.get("PRETTY_NAME", fields.get("NAME", fields["ID"])),
            codename=fields.get("VERSION_CODENAME", ""),
            cpe=fields.get("CPE_NAME", ""),
        )


CATALOGER = Cataloger(
    name="release",
    read=read,
    pattern=r"etc/os-release|usr/lib/os-release",
    endings=("/os-release",),
)

"""Ruby's gems: the specifications that RubyGems keeps. They are programs, of which the literal texts are read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Package
from tiffin.builder.sbom.licences import expression

_FIELD = re.compile(r"""^\s*\w+\.(\w+)\s*=\s*(?:Gem::Version\.new\(?\s*)?["']([^"'\n]+)["']""", re.MULTILINE)
_LICENCES = re.compile(r"""^\s*\w+\.licenses?\s*=\s*\[?([^\]\n]*)""", re.MULTILINE)
_QUOTED = re.compile(r"""["']([^"']+)["']""")
_FILE = re.compile(r"(.+?)-([0-9][0-9A-Za-z.]*)(?:-([A-Za-z0-9_.-]+))?\.gemspec")


def read(source: Source) -> Iterable[Fact]:
    """Yield the gem of a specification; its file's name says what the text computes."""
    named = _FILE.fullmatch(source.path.rpartition("/")[2])
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(source.text):
        fields.setdefault(name, value)
    name = fields.get("name") or (named[1] if named else "")
    version = fields.get("version") or (named[2] if named else "")
    if not name or not version:
        raise ValueError("neither its name nor its text says which gem it is")
    licences = _LICENCES.search(source.text)
    platform = fields.get("platform", named[3] if named and named[3] else "")
    yield Package(
        type="gem",
        name=name,
        version=version,
        licence=expression(_QUOTED.findall(licences[1]) if licences else []),
        homepage=fields.get("homepage", ""),
        qualifiers=(("platform", platform),) if platform and platform != "ruby" else (),
    )


CATALOGER = Cataloger(
    name="gem",
    read=read,
    pattern=r"(?:.*/)?specifications/(?:default/)?[^/]+\.gemspec",
    endings=(".gemspec",),
)

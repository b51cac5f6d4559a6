"""Python's packages: the metadata of wheels (dist-info) and of setuptools (egg-info)."""

from __future__ import annotations

from collections.abc import Iterable
from email.parser import HeaderParser

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.facts import Fact, Package
from tiffin.builder.sbom.licences import expression

_CLASSIFIER = "License :: "
_VAGUE = ("OSI Approved", "BSD License", "Apache Software License", "Other/Proprietary License")


def read(source: Source) -> Iterable[Fact]:
    """Yield the package that metadata tell of."""
    message = HeaderParser().parsestr(source.text.partition("\n\n")[0])
    name, version = message.get("Name", "").strip(), message.get("Version", "").strip()
    if not name or not version:
        return
    licence = expression([message.get("License-Expression", "")]) or expression([message.get("License", "")])
    if not licence:
        classified = [text.strip() for text in message.get_all("Classifier", []) if text.startswith(_CLASSIFIER)]
        licence = expression([text for item in classified if (text := item.rpartition(" :: ")[2]) not in _VAGUE])
    yield Package(
        type="pypi",
        name=name,
        version=version,
        licence=licence,
        supplier=message.get("Author-email", "") or message.get("Author", ""),
        homepage=message.get("Home-page", ""),
    )


CATALOGER = Cataloger(
    name="python",
    read=read,
    pattern=r"(?:.*/)?[^/]+\.dist-info/METADATA|(?:.*/)?[^/]+\.egg-info(?:/PKG-INFO)?|(?:.*/)?EGG-INFO/PKG-INFO",
    endings=("METADATA", "PKG-INFO", ".egg-info"),
)

"""A bill of materials before it has a form: an image, its software, and where each layer comes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from tiffin.builder.oci.spec import Platform
from tiffin.builder.sbom.inventory import Component, Inventory
from tiffin.builder.sbom.origins import Origin
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A file of the image, where files are listed; `digests` by algorithm."""

    path: str
    size: int
    digests: tuple[tuple[str, str], ...]
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """All that a document says. `created`: seconds since 1970; `files` are those that were asked for."""

    name: str
    digest: Digest | None
    platform: Platform
    created: int
    inventory: Inventory
    origins: tuple[Origin, ...]
    files: tuple[FileRow, ...] = ()

    @property
    def moment(self) -> str:
        """Return the time of the document, RFC 3339."""
        return f"{datetime.fromtimestamp(self.created, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def origin(self, component: Component) -> Origin:
        """Return where the layer comes from that brought a package."""
        return self.origins[component.layer]

    def owners(self) -> dict[str, Component]:
        """Return the packages of the system, which others' files may be of, by name."""
        return {item.package.name: item for item in self.inventory.components if item.package.type in SYSTEM_TYPES}


SYSTEM_TYPES = ("deb", "apk", "rpm")


def content_uuid(text: str) -> UUID:
    """Return the name of a document by what it says: the same for the same."""
    return UUID(bytes=hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16], version=5)


def clean_id(parts: Sequence[str], unique: str) -> str:
    """Return a name of letters, digits, dots and dashes for something that `unique` tells from others."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(part for part in parts if part)).strip("-.")
    return f"{words}-{hashlib.sha256(unique.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def told_text(text: str) -> str:
    """Return a text as documents can hold it: bytes that are not UTF-8 are shown as such."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

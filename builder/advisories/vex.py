"""Statements that something is not a problem here: OpenVEX documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.sbom.bill import Bill
from tiffin.builder.sbom.inventory import Component
from tiffin.builder.sbom.purls import covers, parsed
from tiffin.cache.foundation.frozen import dataclass

NOT_AFFECTED, FIXED, AFFECTED, IN_WORK = "not_affected", "fixed", "affected", "under_investigation"
STATUSES = (NOT_AFFECTED, FIXED, AFFECTED, IN_WORK)
_IMAGES = ("pkg:oci/", "pkg:docker/")
_REMEDY = "give a document in OpenVEX's format (openvex.dev)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a statement is about: a package, or an image and of it all, or only `parts`."""

    purl: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VexStatement:
    """What is said of vulnerabilities (by any of `names`) in products; `why` is a justification in words."""

    names: frozenset[str]
    products: tuple[Product, ...]
    status: str
    why: str
    moment: str

    def holds(self, names: Sequence[str], component: Component, bill: Bill) -> bool:
        """Whether it is about a vulnerability of a package of an image."""
        return not self.names.isdisjoint(names) and any(_is_meant(item, component, bill) for item in self.products)


def read_vex(paths: Sequence[str]) -> list[VexStatement]:
    """Read documents, the statements in the order of their times: the last one counts. Raises UsageError."""
    found = []
    for path in paths:
        try:
            document = json.loads(Path(path).read_bytes())
            if "openvex" not in str(document["@context"]):
                raise ValueError("its @context is not that of OpenVEX")
            found += [_statement(row, document) for row in document["statements"]]
        except OSError as exc:
            raise UsageError(f"cannot read --vex {path}: {exc.strerror}", remedy=_REMEDY) from exc
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise UsageError(f"--vex {path} is not a document of OpenVEX: {exc!r}", remedy=_REMEDY) from exc
    return sorted(found, key=lambda item: item.moment)


def last_word(
    statements: Sequence[VexStatement], names: Sequence[str], component: Component, bill: Bill
) -> VexStatement | None:
    """Return the statement that counts for a vulnerability of a package; None for none."""
    return next((item for item in reversed(statements) if item.holds(names, component, bill)), None)


def _statement(row: Mapping[str, Any], document: Mapping[str, Any]) -> VexStatement:
    about = row["vulnerability"]
    names = [about] if isinstance(about, str) else [about.get("name"), about.get("@id"), *about.get("aliases", ())]
    if row["status"] not in STATUSES:
        raise ValueError(f"status {row['status']} is unknown")
    return VexStatement(
        names=frozenset(str(name).rpartition("/")[2] for name in names if name),
        products=tuple(_product(item, row) for item in row.get("products", ())),
        status=row["status"],
        why=str(row.get("justification") or row.get("impact_statement") or row.get("status_notes") or ""),
        moment=str(row.get("last_updated") or row.get("timestamp") or document.get("timestamp") or ""),
    )


def _product(item: Any, row: Mapping[str, Any]) -> Product:
    """Read a product in the form of today, or of version 0.0.1, where it was a text."""
    if isinstance(item, str):
        return Product(purl=item, parts=tuple(map(str, row.get("subcomponents", ()))))
    parts = tuple(_purl_of(part) for part in item.get("subcomponents", ()))
    return Product(purl=_purl_of(item), parts=parts)


def _purl_of(item: Any) -> str:
    if isinstance(item, str):
        return item
    return str((item.get("identifiers") or {}).get("purl") or item.get("@id") or "")


def _is_meant(product: Product, component: Component, bill: Bill) -> bool:
    is_part = any(covers(part, component.purl) for part in product.parts)
    if product.purl.startswith(_IMAGES):
        return (is_part or not product.parts) and _is_image(product.purl, bill)
    if covers(product.purl, component.purl):
        return True
    return is_part and any(
        covers(product.purl, other.purl) and _holds(other, component) for other in bill.inventory.components
    )


def _holds(product: Component, component: Component) -> bool:
    """Whether a package is within another: in the same program or archive, or among the packages below its own."""
    if set(product.paths) & set(component.paths):
        return True
    folders = [f"{path.rpartition('/')[0]}/node_modules/" for path in product.paths if path.endswith("/package.json")]
    return any(path.startswith(folder) for path in component.paths for folder in folders)


def _is_image(purl: str, bill: Bill) -> bool:
    """Whether a package URL names the image: by its digest, or by all of name, tag and registry that it tells."""
    named = parsed(purl)
    if named is None:
        return False
    version, tag = named.version, named.qualifiers.get("tag", "")
    if version.startswith("sha256:"):
        return bill.digest is not None and version == str(bill.digest)
    try:
        image = Reference.parse(bill.name)
    except ImageError:
        return False  # of a file: a digest names it
    if any(text not in ("", image.tag) for text in (version, tag)):
        return False
    place = named.qualifiers.get("repository_url", "").removeprefix("https://").rstrip("/")
    if place and image.name not in (place, f"{place}/{named.path}"):
        return False
    if named.type == "docker":
        return image.repository.removeprefix("library/") == named.path.removeprefix("library/")
    return image.repository.rpartition("/")[2] == named.path.rpartition("/")[2]

"""CycloneDX 1.6 as JSON."""

from __future__ import annotations

import json
import re

from tiffin.builder.sbom.bill import Bill, clean_id, content_uuid, told_text
from tiffin.builder.sbom.inventory import Component
from tiffin.builder.sbom.licences import is_single
from tiffin.builder.version import VERSION

_PREFIX = "tiffin:"  # of the names of our properties
_PERSON = re.compile(r"\s*(.+?)\s*<[^<>]+>.*", re.DOTALL)
_HASHES = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}


def write(bill: Bill) -> dict[str, object]:
    """Return the document."""
    image = clean_id(("image",), f"{bill.name}@{bill.digest}")
    root: dict[str, object] = {"bom-ref": image, "type": "container", "name": bill.name}
    if bill.digest is not None:
        root["version"] = str(bill.digest)
        root["hashes"] = [{"alg": _HASHES[bill.digest.algorithm], "content": bill.digest.hex}]
    root["properties"] = [_property("image:platform", str(bill.platform))]
    components = [*_system(bill), *(_component(bill, item) for item in bill.inventory.components)]
    files = [_file(bill, number) for number in range(len(bill.files))]
    document: dict[str, object] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": bill.moment,
            "tools": {"components": [{"type": "application", "name": "tiffin", "version": VERSION}]},
            "component": root,
        },
        "components": [*components, *files],
        "dependencies": _dependencies(image, components),
    }
    if bill.inventory.unread:
        document["properties"] = [
            _property("not-read", f"{told_text(path)}: {reason}") for path, reason in bill.inventory.unread
        ]
    return {**document, "serialNumber": f"urn:uuid:{content_uuid(json.dumps(document, sort_keys=True))}"}


def _system(bill: Bill) -> list[dict[str, object]]:
    release = bill.inventory.release
    if release is None:
        return []
    row: dict[str, object] = {
        "bom-ref": clean_id(("os", release.id), f"{release.id}@{release.version}"),
        "type": "operating-system",
        "name": release.id,
        "description": release.name,
    }
    if release.version or release.codename:
        row["version"] = release.version or release.codename
    if release.cpe.startswith("cpe:"):
        row["cpe"] = release.cpe
    return [row]


def _component(bill: Bill, item: Component) -> dict[str, object]:
    package, origin = item.package, bill.origin(item)
    row: dict[str, object] = {
        "bom-ref": item.purl,
        "type": "library",
        "name": told_text(package.name),
        "version": told_text(package.version),
        "purl": item.purl,
        "evidence": {"occurrences": [{"location": f"/{told_text(path)}"} for path in item.paths]},
    }
    if package.namespace:
        row["group"] = told_text(package.namespace)
    if package.licence:
        single = is_single(package.licence)
        row["licenses"] = [{"license": {"id": package.licence}} if single else {"expression": package.licence}]
    if package.supplier.strip():
        person = _PERSON.fullmatch(package.supplier)
        row["supplier"] = {"name": told_text(person[1] if person else package.supplier)}
    if re.fullmatch(r"https?://[^\s<>\"{}|\\^`]+", package.homepage):
        row["externalReferences"] = [{"type": "website", "url": package.homepage}]
    told = [("layer", str(origin.diff_id)), ("brought-by", origin.shown), ("base", origin.base)]
    for line in origin.lines:
        told += [("dockerfile", f"{line}"), ("stage", line.stage), ("step", line.step)]
    told.append(("owner", item.owner))
    row["properties"] = [_property(name, told_text(value)) for name, value in told if value]
    return row


def _file(bill: Bill, number: int) -> dict[str, object]:
    row = bill.files[number]
    return {
        "bom-ref": clean_id(("file",), row.path),
        "type": "file",
        "name": f"/{told_text(row.path)}",
        "hashes": [{"alg": _HASHES[name], "content": value} for name, value in row.digests],
        "properties": [_property("layer", str(bill.origins[row.layer].diff_id))],
    }


def _dependencies(image: str, components: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return that the image has all of it; what depends on what among packages is not told."""
    return [{"ref": image, "dependsOn": sorted({str(row["bom-ref"]) for row in components})}]


def _property(name: str, value: str) -> dict[str, object]:
    return {"name": f"{_PREFIX}{name}", "value": value}

"""SPDX 2.3 as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from tiffin.builder.sbom.bill import Bill, clean_id, content_uuid, told_text
from tiffin.builder.sbom.inventory import Component
from tiffin.builder.sbom.licences import REFERENCE, references
from tiffin.builder.version import VERSION

PREDICATE_TYPE = "https://spdx.dev/Document"  # in-toto's name of such a document
NONE = "NOASSERTION"
TOOL = f"Tool: tiffin-{VERSION}"
OVERLAP = "ownership-by-file-overlap: the package of the system brought the files of the other"
_PERSON = re.compile(r"\s*(.+?)\s*<([^<>]+)>\s*(?:,.*)?", re.DOTALL)
_DOCUMENT, _IMAGE, _SYSTEM = "SPDXRef-DOCUMENT", "SPDXRef-Image", "SPDXRef-OperatingSystem"


def write(bill: Bill) -> dict[str, object]:
    """Return the document."""
    named = {item.purl: _id_of(item) for item in bill.inventory.components}
    packages = [_image(bill), *_system(bill)]
    packages += [_package(bill, item, named[item.purl]) for item in bill.inventory.components]
    found = dict.fromkeys(name for item in bill.inventory.components for name in references(item.package.licence))
    document: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": bill.name,
        "creationInfo": {"created": bill.moment, "creators": [TOOL]},
        "packages": packages,
        "relationships": _relationships(bill, named),
    }
    if bill.files:
        document["files"] = [_file(bill, number) for number in range(len(bill.files))]
    if found:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "extractedText": name.removeprefix(REFERENCE), "name": name.removeprefix(REFERENCE)}
            for name in sorted(found)
        ]
    if bill.inventory.unread:
        document["annotations"] = [
            _annotation(bill, f"not read: {told_text(path)}: {reason}") for path, reason in bill.inventory.unread
        ]
    place = re.sub(r"[^A-Za-z0-9./_-]+", "-", bill.name)
    name = content_uuid(json.dumps(document, sort_keys=True))
    return {**document, "documentNamespace": f"https://spdx.org/spdxdocs/{place}-{name}"}


def _image(bill: Bill) -> dict[str, object]:
    row: dict[str, object] = {
        "SPDXID": _IMAGE,
        "name": bill.name,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "supplier": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "comment": f"platform: {bill.platform}",
    }
    if bill.files:
        known = "".join(sorted(value for item in bill.files for name, value in item.digests if name == "sha1"))
        code = hashlib.sha1(known.encode(), usedforsecurity=False).hexdigest()
        row["filesAnalyzed"] = True
        row["packageVerificationCode"] = {"packageVerificationCodeValue": code}
        row["licenseInfoFromFiles"] = [NONE]
    if bill.digest is not None:
        row["versionInfo"] = str(bill.digest)
        row["checksums"] = [{"algorithm": bill.digest.algorithm.upper(), "checksumValue": bill.digest.hex}]
    return row


def _system(bill: Bill) -> list[dict[str, object]]:
    release = bill.inventory.release
    if release is None:
        return []
    row: dict[str, object] = {
        "SPDXID": _SYSTEM,
        "name": release.id,
        "versionInfo": release.version or release.codename or NONE,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "supplier": NONE,
        "summary": release.name,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    }
    if release.cpe.startswith("cpe:/"):
        row["externalRefs"] = [
            {"referenceCategory": "SECURITY", "referenceType": "cpe22Type", "referenceLocator": release.cpe}
        ]
    return [row]


def _package(bill: Bill, item: Component, name: str) -> dict[str, object]:
    package, origin = item.package, bill.origin(item)
    paths = ", ".join(f"/{told_text(path)}" for path in item.paths)
    full = f"{package.namespace}/{package.name}" if package.namespace and package.type != "maven" else package.name
    row: dict[str, object] = {
        "SPDXID": name,
        "name": told_text(full),
        "versionInfo": told_text(package.version),
        "supplier": _supplier(package.supplier),
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "sourceInfo": f"found in {paths}",
        "licenseConcluded": NONE,
        "licenseDeclared": package.licence or NONE,
        "copyrightText": NONE,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": item.purl}
        ],
        "comment": f"layerID: {origin.diff_id}",
        "annotations": [_annotation(bill, f"brought by {told_text(origin.shown)}")],
    }
    if re.fullmatch(r"https?://[^\s<>\"{}|\\^`]+", package.homepage):
        row["homepage"] = package.homepage
    return row


def _file(bill: Bill, number: int) -> dict[str, object]:
    row = bill.files[number]
    return {
        "SPDXID": _id_of_file(row.path),
        "fileName": f"./{told_text(row.path)}",
        "checksums": [{"algorithm": name.upper(), "checksumValue": value} for name, value in row.digests],
        "licenseConcluded": NONE,
        "licenseInfoInFiles": [NONE],
        "copyrightText": NONE,
        "comment": f"layerID: {bill.origins[row.layer].diff_id}",
    }


def _relationships(bill: Bill, named: Mapping[str, str]) -> list[dict[str, object]]:
    rows = [_relation(_DOCUMENT, "DESCRIBES", _IMAGE)]
    if bill.inventory.release is not None:
        rows.append(_relation(_IMAGE, "CONTAINS", _SYSTEM))
    owners = bill.owners()
    for item in bill.inventory.components:
        rows.append(_relation(_IMAGE, "CONTAINS", named[item.purl]))
        owner = owners.get(item.owner) if item.owner else None
        if owner is not None:
            rows.append({**_relation(named[owner.purl], "OTHER", named[item.purl]), "comment": OVERLAP})
    told = {path: item for item in bill.inventory.components for path in item.paths}
    for row in bill.files:
        rows.append(_relation(_IMAGE, "CONTAINS", _id_of_file(row.path)))
        if row.path in told:
            evident = _relation(named[told[row.path].purl], "OTHER", _id_of_file(row.path))
            rows.append({**evident, "comment": "evident-by: the file tells of the package"})
    return rows


def _relation(one: str, kind: str, other: str) -> dict[str, object]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _annotation(bill: Bill, text: str) -> dict[str, object]:
    return {"annotationDate": bill.moment, "annotationType": "OTHER", "annotator": TOOL, "comment": text}


def _supplier(text: str) -> str:
    """Return who made a package in SPDX's form."""
    if not text.strip():
        return NONE
    person = _PERSON.fullmatch(text)
    if person is None:
        return f"Organization: {' '.join(told_text(text).split())}"
    name = re.sub(r"[()\"]", "", person[1]).strip()
    return f"Person: {told_text(name)} ({told_text(person[2])})"


def _id_of(item: Component) -> str:
    return f"SPDXRef-Package-{clean_id((item.package.type, item.package.name), item.purl)}"


def _id_of_file(path: str) -> str:
    return f"SPDXRef-File-{clean_id((path.rpartition('/')[2],), path)}"

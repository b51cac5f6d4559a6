"""What is wrong with software, as a table, JSON, or SARIF for code hosts."""

from __future__ import annotations

import json

from tiffin.builder.cli.output.lists import table_lines
from tiffin.builder.cli.output.software.packages import full_name, place
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.sbom.scanning import Finding, Scan

_SARIF_LEVELS = {"critical": "error", "high": "error", "medium": "warning"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def findings_text(scan: Scan) -> str:
    """Return a line for each finding, then those that are suppressed and why."""
    counting = [item for item in scan.findings if not item.suppressed]
    rows = [_cells(scan, item) for item in counting]
    heading = ("SEVERITY", "ID", "PACKAGE", "VERSION", "FIXED", "TYPE", "LINE")
    nothing = f"no known vulnerabilities in what was read; {len(scan.unread)} files were not"
    parts = [table_lines([heading, *rows]) if rows else nothing if scan.unread else "no known vulnerabilities"]
    suppressed = [(item.id, full_name(item.component), item.suppressed) for item in scan.findings if item.suppressed]
    if suppressed:
        parts.append("\n" + table_lines([("SUPPRESSED", "PACKAGE", "WHY"), *suppressed]))
    return "\n".join(parts)


def json_text(scan: Scan) -> str:
    """Return all findings in JSON."""
    document = {
        "image": scan.bill.name,
        "digest": str(scan.bill.digest or ""),
        "findings": [_row(scan, item) for item in scan.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def sarif_text(scan: Scan) -> str:
    """Return the findings as SARIF 2.1.0; where tiffin built the image they stand at lines of the Dockerfile."""
    rules = {item.id: _rule(item) for item in scan.findings}
    names = list(rules)
    driver = {"name": "tiffin", "version": VERSION, "rules": list(rules.values())}
    results = [_result(scan, item, names.index(item.id)) for item in scan.findings]
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _cells(scan: Scan, item: Finding) -> tuple[str, ...]:
    return (
        item.severity.level,
        _shown_id(item),
        full_name(item.component),
        item.component.package.version,
        ", ".join(item.fixes) or "-",
        item.component.package.type,
        place(scan.bill.origins[item.component.layer]),
    )


def _shown_id(item: Finding) -> str:
    """Return the name of a CVE where it has one."""
    return next((name for name in (item.id, *item.aliases) if name.startswith("CVE-")), item.id)


def _row(scan: Scan, item: Finding) -> dict[str, object]:
    origin = scan.bill.origin(item.component)
    row: dict[str, object] = {
        "id": item.id,
        "aliases": list(item.aliases),
        "summary": item.summary,
        "severity": item.severity.level,
        "score": item.severity.score,
        "package": item.component.purl,
        "fixed": list(item.fixes),
        "paths": [f"/{path}" for path in item.component.paths],
        "layer": str(origin.diff_id),
        "broughtBy": origin.shown,
        "suppressed": item.suppressed,
        "vex": item.said,
    }
    if origin.lines:
        line = origin.lines[0]
        row |= {"file": line.file, "line": line.first, "stage": line.stage, "step": line.step}
    return row


def _rule(item: Finding) -> dict[str, object]:
    text = item.summary or item.id
    rule: dict[str, object] = {
        "id": item.id,
        "shortDescription": {"text": text},
        "help": {"text": f"{text} {' '.join(item.aliases)}".strip()},
    }
    if item.severity.score is not None:
        rule["properties"] = {"security-severity": f"{item.severity.score:.1f}"}
    return rule


def _result(scan: Scan, item: Finding, rule: int) -> dict[str, object]:
    package, origin = item.component.package, scan.bill.origin(item.component)
    fix = f", fixed in {', '.join(item.fixes)}" if item.fixes else ", not fixed"
    physical: dict[str, object] = {"artifactLocation": {"uri": item.component.paths[0].partition("!")[0]}}
    if origin.lines and not origin.base:
        line = origin.lines[0]
        physical = {"artifactLocation": {"uri": line.file}, "region": {"startLine": line.first, "endLine": line.last}}
    result: dict[str, object] = {
        "ruleId": item.id,
        "ruleIndex": rule,
        "level": _SARIF_LEVELS.get(item.severity.level, "note"),
        "message": {
            "text": f"{full_name(item.component)} {package.version}: {item.summary or item.id}{fix} ({origin.shown})"
        },
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"package/v1": f"{item.id} {item.component.purl}"},
    }
    if item.suppressed:
        result["suppressions"] = [{"kind": "external", "justification": item.suppressed}]
    return result

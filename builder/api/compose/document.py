"""A project as text: the canonical compose file."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from tiffin.builder.compose.model.values import Project
from tiffin.builder.compose.yaml_files import write_yaml

SECTIONS = ("networks", "volumes", "secrets", "configs")


def document_text(project: Project, services: Collection[str], *, as_json: bool, escapes: bool) -> str:
    """Return the project with these services and what they use; `escapes`: a dollar is written as two."""
    document = project.plain()
    document["services"] = {name: one for name, one in document["services"].items() if name in services}
    _leave_unused(document)
    if escapes:
        document = _escaped(document)
    if not as_json:
        return write_yaml(document).rstrip("\n")
    for service in document["services"].values():
        service.setdefault("command", None)
        service.setdefault("entrypoint", None)
    return json.dumps(document, indent=2, ensure_ascii=False)


def _leave_unused(document: dict[str, Any]) -> None:
    """Leave out what no service uses."""
    used: dict[str, set[str]] = {section: set() for section in SECTIONS}
    for service in document["services"].values():
        used["networks"] |= set(service.get("networks") or ())
        used["volumes"] |= {item.get("source") for item in service.get("volumes") or () if item["type"] == "volume"}
        for section in ("secrets", "configs"):
            used[section] |= {item["source"] for item in service.get(section) or ()}
        used["secrets"] |= {item["source"] for item in (service.get("build") or {}).get("secrets") or ()}
    for section in SECTIONS:
        kept = {key: value for key, value in (document.get(section) or {}).items() if key in used[section]}
        document.pop(section, None)
        if kept:
            document[section] = kept
    for key in [key for key in document if key.startswith("x-")]:
        document[key] = document.pop(key)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value

"""Lists of software as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tiffin.builder.cli.output.lists import table_lines
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.sbom.listing import Bill, Change, Component, Origin

MARKS = {"added": "+", "removed": "-", "changed": "~"}


def document_text(document: Mapping[str, object]) -> str:
    """Return a document in JSON, to be read by people too."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def table_text(bill: Bill) -> str:
    """Return all packages, a line for each."""
    rows = [_cells(bill, item) for item in bill.inventory.components]
    return table_lines([("NAME", "VERSION", "TYPE", "LINE"), *rows])


def lines_text(bill: Bill) -> str:
    """Return all packages below the line of the Dockerfile, or the layer, that brought them."""
    parts = []
    for number, origin in enumerate(bill.origins):
        items = [item for item in bill.inventory.components if item.layer == number]
        if items:
            noun = "package" if len(items) == 1 else "packages"
            parts.append(f"{origin.shown}\n  {len(items)} {noun}")
            rows = [(full_name(item), item.package.version, item.package.type) for item in items]
            parts.append("\n".join(f"    {row}" for row in table_lines(rows).split("\n")))
    return "\n".join(parts) or "no packages"


def changes_text(bill: Bill, changes: Sequence[Change]) -> str:
    """Return what differs, a line for each package."""
    if not changes:
        return "no differences"
    rows = []
    for change in changes:
        # what went has a layer in the other image
        line = "" if change.kind == "removed" else place(bill.origins[change.component.layer])
        rows.append((MARKS[change.kind], change.name, change.before or "-", change.after or "-", change.type, line))
    return table_lines([("", "NAME", "BEFORE", "AFTER", "TYPE", "LINE"), *rows])


def _cells(bill: Bill, item: Component) -> tuple[str, ...]:
    return (
        full_name(item),
        item.package.version,
        item.package.type,
        place(bill.origins[item.layer]),
    )


def full_name(item: Component) -> str:
    separator = ":" if item.package.type == "maven" else "/"
    return f"{item.package.namespace}{separator}{item.package.name}" if item.package.namespace else item.package.name


def place(origin: Origin) -> str:
    """Return where a package comes from, shortly."""
    if origin.lines:
        return f"{origin.lines[0]}" + (f" ({origin.base})" if origin.base else "")
    return origin.base or origin.diff_id.short


def write_text(text: str, output: str) -> None:
    """Write a text to a file, or print it for "" and "-". Raises UsageError."""
    from pathlib import Path

    from tiffin.builder.cli.output.console import print_result
    from tiffin.builder.errors import UsageError

    if output in ("", "-"):
        print_result(text)
        return
    try:
        Path(output).write_text(f"{text}\n", encoding="utf-8")
    except OSError as exc:
        raise UsageError(
            f"cannot write --output {output}: {exc.strerror}", remedy="name a file that can be made"
        ) from exc

"""Lists of targets and variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tiffin.builder.bake.definition import Config
from tiffin.builder.bake.entries import split_csv
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import print_table
from tiffin.builder.errors import UsageError


def show_list(config: Config, text: str) -> None:
    """Print targets or variables: --list=KIND, or --list=type=KIND,format=json. Raises UsageError."""
    kind, form = _parse_list(text)
    if kind == "variables":
        rows = [
            {
                "name": item.name,
                **({"description": item.description} if item.description else {}),
                **({"type": item.kind} if item.kind else {}),
                **({"value": item.value} if item.value is not None else {}),
            }
            for item in config.variables
        ]
        cells = [
            (item.name, item.kind, "<null>" if item.value is None else item.value, item.description)
            for item in config.variables
        ]
        _show(rows, ("VARIABLE", "TYPE", "VALUE", "DESCRIPTION"), cells, form)
        return
    listed: list[dict[str, object]] = []
    for name in sorted({*config.targets, *config.groups}):
        if name.startswith("_"):
            continue  # by custom, not for callers
        if name in config.targets:
            listed.append(_row(name, config.targets[name].get("description") or "", is_group=False))
        if name in config.groups:
            listed.append(_row(name, _members(config, name), is_group=True))
    _show(listed, ("TARGET", "DESCRIPTION"), [(row["name"], row.get("description", "")) for row in listed], form)


def _parse_list(text: str) -> tuple[str, str]:
    fields = dict(part.partition("=")[::2] for part in split_csv(text)) if "=" in text else {"type": text}
    kind, form = fields.pop("type", ""), fields.pop("format", "table")
    if kind not in ("targets", "variables"):
        raise UsageError(f'invalid list type "{kind}"', remedy="use --list=targets or --list=variables")
    if form not in ("table", "json") or fields:
        raise UsageError(f'--list "{text}": the format is neither table nor json', remedy="use format=json")
    return kind, form


def _row(name: str, description: str, *, is_group: bool) -> dict[str, object]:
    row: dict[str, object] = {"name": name}
    if description:
        row["description"] = description
    return {**row, "group": True} if is_group else row


def _members(config: Config, name: str) -> str:
    group = config.groups[name]
    names = ", ".join(sorted(group.targets))
    return f"{group.description} ({names})" if group.description and names else group.description or names


def _show(
    rows: Sequence[Mapping[str, object]], titles: Sequence[str], cells: Sequence[Sequence[object]], form: str
) -> None:
    if form == "json":
        print_result(json.dumps(rows, indent=2))
        return
    print_table([titles, *([str(cell) for cell in row] for row in cells)])

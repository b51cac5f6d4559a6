"""What docker prints of several things: lists (a table, JSON lines, a Go template for each row), filters, documents."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.cli.output.console import each, print_result
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.plain_text import duration_text
from tiffin.builder.version import called_name

TABLE, JSON = "table", "json"
EXIT_FILTER = 1  # docker's: its daemon says what is wrong with a filter
MIN_WIDTH, PADDING = 10, 3  # of columns, docker's
Row = Mapping[str, object]  # by the names docker gives templates


def show_rows(rows: Sequence[Row], form: str, columns: Sequence[str], headings: Mapping[str, str]) -> None:
    """Print rows in the form of --format: table, json, a template, or `table` and a template. Raises UsageError."""
    if form == TABLE:
        print_table([[headings[name] for name in columns], *([str(row[name]) for name in columns] for row in rows)])
        return
    from tiffin.builder.cli.output.template import Template
    from tiffin.builder.cli.output.template_values import to_json

    if form == JSON:
        for row in rows:
            print_result(to_json(dict(sorted(row.items()))))
        return
    text = form.replace("\\t", "\t").replace("\\n", "\n")
    in_table = text.startswith(f"{TABLE} ")
    template = Template(text.removeprefix(f"{TABLE} ").lstrip() if in_table else text)
    lines = [template.render(row) for row in rows]
    if in_table:
        names = dict.fromkeys({name for row in rows for name in row} | set(headings), "")
        print_table([line.split("\t") for line in (template.render({**names, **headings}), *lines)])
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def show_documents(
    names: Sequence[str],
    document: Callable[[str], Row],
    form: str,
    for_templates: Callable[[Row], Row] = lambda document: document,
) -> None:
    """Print the documents of docker's inspect, as a JSON array or a template for each.

    What was found is shown though another is not there: raises TiffinError then.
    """
    documents: list[Row] = []
    failure: TiffinError | None = None
    try:
        each(names, lambda name: documents.append(document(name)))
    except TiffinError as exc:
        failure = exc
    if form in ("", JSON):
        import json

        print_result(json.dumps(documents, indent=4))
    else:
        from tiffin.builder.cli.output.template import Template

        template = Template(form)
        for item in documents:
            print_result(template.render(for_templates(item)))
    if failure is not None:
        raise failure


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as they need to be."""
    print_result(table_lines(lines))


def table_lines(lines: Sequence[Sequence[str]]) -> str:
    """Return columns as wide as they need to be."""
    count = max(map(len, lines))
    widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(count)]
    rows = (zip(line, widths, strict=False) for line in lines)
    return "\n".join(
        "".join(cell.ljust(max(MIN_WIDTH, width + PADDING)) for cell, width in cells).rstrip() for cells in rows
    )


def is_podman() -> bool:
    """Whether the program was called by podman's name, so that lists in JSON are one array."""
    return called_name() == "podman"


def filters_of(texts: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """Parse --filter NAME=VALUE by name; raises UsageError for a name that is not in `known`."""
    result: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            wrong = UsageError(f'--filter "{text}" is not supported', remedy=f"use {'=, '.join(known)}=")
            wrong.ends_with(EXIT_FILTER)
            raise wrong
        result.setdefault(name, []).append(value)
    return result


def timestamp(created: str) -> float | None:
    """Return the seconds since 1970 of an RFC 3339 time, None for any other text."""
    from datetime import UTC, datetime

    try:
        return datetime.fromisoformat(created[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def age_text(created: str, now: Callable[[], float] = time.time) -> str:
    """Return the time since `created` in docker's words ("3 days ago"); `created` is an RFC 3339 time."""
    seconds = timestamp(created)
    return "N/A" if seconds is None else f"{duration_text(now() - seconds)} ago"


def created_text(created: str) -> str:
    """Return a time in the form of docker's CreatedAt."""
    from datetime import UTC, datetime

    seconds = timestamp(created)
    return "N/A" if seconds is None else f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} +0000 UTC"

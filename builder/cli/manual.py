"""The manual of all commands, from their own options: one page of Markdown, or man pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

from tiffin.builder.cli.options.click_command import FURTHER, is_further
from tiffin.builder.version import VERSION

WIDTH = 1000  # texts are not broken
_SECTIONS = (("Options", False), (FURTHER, True))


def commands(group: click.Group, path: Sequence[str] = ("tiffin",)) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words, groups before what they hold; other names of the same commands are left out."""
    context = click.Context(group, info_name=path[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def markdown(app: click.Group) -> str:
    """Return the reference of all commands as one page."""
    found = list(commands(app))
    lines = [
        "# Commands",
        "",
        "Made from the program's own options by `ci/reference`. Options of all commands stand before them:",
        "",
    ]
    lines += _table(options(app, ("tiffin",), further=False))
    lines += ["", *(f"- [{' '.join(path)}](#{'-'.join(path)}): {_about(command)[0]}" for path, command in found)]
    for path, command in found:
        lines += ["", f"## {' '.join(path)}", "", "```", usage(command, path), "```", "", "\n\n".join(_about(command))]
        for title, further in _SECTIONS:
            rows = options(command, path, further=further)
            if rows:
                lines += ["", *([f"{title}:", ""] if further else []), *_table(rows)]
        examples = getattr(command, "examples", ())
        if examples:
            lines += ["", "```sh", *examples, "```"]
    return "\n".join(lines) + "\n"


def man_page(command: click.Command, path: Sequence[str]) -> str:
    """Return the man page of a command, in the macros of man(7)."""
    name = "-".join(path)
    lines = [
        f'.TH "{name.upper()}" "1" "" "tiffin {VERSION}" "tiffin"',
        ".SH NAME", f"{_roff(name)} \\- {_roff(_about(command)[0])}",
        ".SH SYNOPSIS", f".B {_roff(usage(command, path))}",
        ".SH DESCRIPTION", "\n.PP\n".join(map(_roff, _about(command))),
    ]  # fmt: skip
    for title, further in _SECTIONS:
        rows = options(command, path, further=further)
        lines += [f".SH {_roff(title).upper()}"] if rows else []
        for names, text in rows:
            lines += [".TP", f".B {_roff(names)}", _roff(text)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            lines += [".TP", f".B {_roff(name)}", _roff(_about(found)[0]) if found is not None else ""]
    examples = getattr(command, "examples", ())
    if examples:
        lines += [".SH EXAMPLES", ".nf", *map(_roff, examples), ".fi"]
    return "\n".join(lines) + "\n"


def usage(command: click.Command, path: Sequence[str]) -> str:
    """Return how a line of the command looks."""
    return f"{' '.join(path)} {' '.join(command.collect_usage_pieces(_context(command, path)))}"


def options(command: click.Command, path: Sequence[str], *, further: bool) -> list[tuple[str, str]]:
    """Return the spellings of each option and what it does; those of docker's without effect where `further`."""
    context = _context(command, path)
    rows = [
        (record[0], re.sub(r"\s+", " ", record[1]))
        for param in command.params
        if isinstance(param, click.Option) and is_further(param) is further
        for record in [param.get_help_record(context)]
        if record is not None
    ]
    if not further:  # click keeps the one that it made first, whose names depend on who asked
        rows.append((", ".join(context.help_option_names), "Show this message and exit."))
    return rows


def _context(command: click.Command, path: Sequence[str]) -> click.Context:
    settings = {"help_option_names": ["-h", "--help"], **command.context_settings}
    return click.Context(command, info_name=path[-1], max_content_width=WIDTH, terminal_width=WIDTH, **settings)


def _about(command: click.Command) -> list[str]:
    """The paragraphs of what it does."""
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n") if part.strip()]


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    cells = ((names.replace("|", "\\|"), text.replace("|", "\\|").replace("<", "&lt;")) for names, text in rows)
    return ["| option | |", "|---|---|", *(f"| `{names}` | {text} |" for names, text in cells)]


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text

"""The manual of all commands, from their rows: one page of Markdown, or man pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiffin.builder.cli import tree
from tiffin.builder.cli.options.command import Command, Group, Row
from tiffin.builder.cli.options.option import DONE, FURTHER, REFUSED, WITHOUT_EFFECT, Arguments, Option
from tiffin.builder.cli.variables import GROUPS, VARIABLES
from tiffin.builder.version import VERSION

_SECTIONS = (("Options", False), (FURTHER, True))
_HELP = "Show this message and exit."
_EFFECTS = ((DONE, "Honoured"), (WITHOUT_EFFECT, "Taken, and without effect here"), (REFUSED, "Refused"))


def commands(group: tree.Path = ()) -> Iterator[tuple[tree.Path, Row]]:
    """Yield every command with its words, groups before what they hold; other names of the same commands are left
    out.
    """
    for name, row in tree.members(group).items():
        yield (*group, name), row
        if not isinstance(row, Command):
            yield from commands((*group, name))


def markdown() -> str:
    """Return the reference of all commands as one page."""
    found = list(commands())
    lines = [
        "# Commands",
        "",
        "Made from the rows of the commands by `ci/reference`. Options of all commands stand before them:",
        "",
    ]
    lines += _table(options(None, further=False))
    lines += ["", *(f"- [tiffin {' '.join(path)}](#tiffin-{'-'.join(path)}): {row.about}" for path, row in found)]
    for path, row in found:
        lines += ["", f"## tiffin {' '.join(path)}", "", "```", usage(path, row), "```", "", row.help]
        for title, further in _SECTIONS:
            rows = options(row, further=further)
            if rows:
                lines += ["", *([f"{title}:", ""] if further else []), *_table(rows)]
        if isinstance(row, Command) and row.examples:
            lines += ["", "```sh", *row.examples, "```"]
    return "\n".join(lines) + "\n"


def docker_options(names: Sequence[str]) -> str:
    """Return a page on the options of `docker run`, by what becomes of each in `run` and `create`."""
    row = tree.find(("run",))
    assert isinstance(row, Command)
    options = {name: option for option in row.arguments.rows for name in option.names}
    lines = [
        "# The options of docker run",
        "",
        f"All {len(names)} of docker 28 and what becomes of them in `tiffin run` and `tiffin create`. Made by",
        "`ci/reference`.",
    ]
    for effect, title in _EFFECTS:
        found = [name for name in names if name in options and options[name].effect == effect]
        lines += ["", f"## {title}", "", f"{len(found)} options.", ""]
        lines += _table([(options[name].spelling(), _effect(options[name])) for name in found])
    return "\n".join(lines) + "\n"


def variables() -> str:
    """Return a page on the variables that docker, buildx and BuildKit read, by whose they are."""
    lines = [
        "# Variables of the environment",
        "",
        "Those that jobs written for docker, buildx or BuildKit set, and what becomes of each. tiffin's own are on the",
        "pages of what they are about. Made by `ci/reference`.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group}", "", "| variable | | |", "|---|---|---|"]
        rows = [row for row in VARIABLES if row.group == group]
        lines += [f"| `{row.name}` | {row.effect} | {row.about} |" for row in rows]
    return "\n".join(lines) + "\n"


def _effect(option: Option) -> str:
    text = option.help.removeprefix("No effect: ").removeprefix("Refused: ")
    return text[:1].upper() + text[1:]


def man_page(path: tree.Path) -> str:
    """Return the man page of a command or a group, that of the program for no words, in the macros of man(7)."""
    row = tree.find(path) if path else None
    name = "-".join(("tiffin", *path))
    about, text = (row.about, row.help) if row else (tree.ABOUT, tree.ABOUT)
    lines = [
        f'.TH "{name.upper()}" "1" "" "tiffin {VERSION}" "tiffin"',
        ".SH NAME", f"{_roff(name)} \\- {_roff(about)}",
        ".SH SYNOPSIS", f".B {_roff(usage(path, row))}",
        ".SH DESCRIPTION", "\n.PP\n".join(map(_roff, text.split("\n\n"))),
    ]  # fmt: skip
    for title, further in _SECTIONS:
        rows = options(row, further=further)
        lines += [f".SH {_roff(title).upper()}"] if rows else []
        for names, told in rows:
            lines += [".TP", f".B {_roff(names)}", _roff(told)]
    if not isinstance(row, Command):
        lines.append(".SH COMMANDS")
        for word, member in tree.members(path).items():
            lines += [".TP", f".B {_roff(word)}", _roff(member.about)]
    elif row.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_roff, row.examples), ".fi"]
    return "\n".join(lines) + "\n"


def usage(path: tree.Path, row: Row | None) -> str:
    """Return how a line of the command looks."""
    if isinstance(row, Command):
        pieces = [option.metavar for option in row.arguments.rows if not option.names]
    else:
        pieces = ["COMMAND", "[ARGS]..."]
    return " ".join(["tiffin", *path, "[OPTIONS]", *pieces])


def options(row: Row | None, *, further: bool) -> list[tuple[str, str]]:
    """Return the spellings of each option and what it does; those of docker's without effect where `further`."""
    arguments: type[Arguments] = tree.ProgramArguments
    if row is not None:
        arguments = row.arguments if isinstance(row, (Command, Group)) else Arguments
    rows = [
        (option.spelling(), option.help)
        for option in arguments.rows
        if option.names and (option.effect != DONE) is further
    ]
    if not further:
        names = row.help_options() if isinstance(row, Command) else ["-h", "--help"]
        rows.append((", ".join(names), _HELP))
    return rows


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    cells = ((names.replace("|", "\\|"), text.replace("|", "\\|").replace("<", "&lt;")) for names, text in rows)
    return ["| option | |", "|---|---|", *(f"| `{names}` | {text} |" for names, text in cells)]


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text

"""Make builder/cli/options/fast_table.py from click's commands: python -m tests.unit.cli.fast_table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from tiffin.builder.cli.app import app

TARGET = Path(__file__).parents[3] / "builder/cli/options/fast_table.py"
COMMANDS = ("build", "run")
HEADER = '''"""What `fast_parser` knows of command lines. Made from click's commands by tests/unit/cli/fast_table.py; a test compares."""

from __future__ import annotations

from tiffin.builder.cli.options.fast_line import Line

LINES = {
'''


def made() -> str:
    """The module's text, formatted."""
    text = HEADER + "".join(f"    {name!r}: {_line(name)},\n" for name in COMMANDS) + "}\n"
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "-q", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def _line(name: str) -> str:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    argument, *further = (param for param in command.params if isinstance(param, click.Argument))
    assert argument.nargs == 1 and argument.name
    assert [param.nargs for param in further] in ([], [-1])
    flags: dict[str, tuple[str, bool]] = {}
    texts: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    variables: list[str] = []
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        variables += [option.envvar] if isinstance(option.envvar, str) else []
        name_of = option.name or ""
        if option.callback is not None or option.is_eager or not option.expose_value:
            continue
        if option.is_flag:
            flags |= dict.fromkeys(option.opts, (name_of, True))
            flags |= dict.fromkeys(option.secondary_opts, (name_of, False))
        elif type(option.type) is click.Choice:
            texts |= dict.fromkeys(option.opts, name_of)
            choices[name_of] = tuple(option.type.choices)
        elif option.type is click.STRING:
            texts |= dict.fromkeys(option.opts, name_of)
    given = {param.name: "x" if param.nargs == 1 else () for param in (argument, *further)}
    words = ["x"]
    defaults = command.make_context(name, words).params
    assert {key: defaults[key] for key in given} == given
    parts = (
        argument.name,
        further[0].name if further else None,
        dict(sorted(flags.items())),
        dict(sorted(texts.items())),
        dict(sorted(choices.items())),
        {key: value for key, value in sorted(defaults.items()) if key not in given},
        tuple(sorted(variables)),
    )
    return f"Line({', '.join(map(repr, parts))})"


if __name__ == "__main__":
    TARGET.write_text(made())

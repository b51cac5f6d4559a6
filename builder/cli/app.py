"""The program as click sees it, made of the rows of the commands. A command is looked for when it is called."""

from __future__ import annotations

from typing import Any

import click

from tiffin.builder.cli.groups import RowsGroup
from tiffin.builder.cli.options.click_command import parameter
from tiffin.builder.cli.tree import ABOUT, ProgramArguments
from tiffin.builder.version import version_text


@click.pass_context
def _begin(ctx: click.Context, /, root: str, **values: Any) -> None:
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.output.console import warn

    ProgramArguments(values).heed()
    make = ctx.obj or Session  # another kind of session: for tests
    ctx.obj = make(root or None, warn)


def _tell_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(version_text())
        ctx.exit()


def _parameters() -> list[click.Parameter]:
    made = {row.field: parameter(row) for row in ProgramArguments.rows}
    version = made["version"]
    version.callback, version.is_eager, version.expose_value = _tell_version, True, False
    return list(made.values())


app = RowsGroup((), "tiffin", help=ABOUT, callback=_begin, params=_parameters())

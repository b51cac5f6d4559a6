"""Options of `docker run` that scripts pass: the container id in a file, further groups, and those that change nothing here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tiffin.builder.cli.options.docker_words import field_of
from tiffin.builder.cli.options.run_values import WITHOUT_EFFECT


def docker_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options."""
    for name, (short, takes_value, reason) in reversed(list(WITHOUT_EFFECT.items())):
        command = click.option(
            f"--{name}",
            *([short] if short else []),
            field_of(name),
            is_flag=None if takes_value else True,
            multiple=takes_value,
            metavar="VALUE" if takes_value else None,
            help=f"No effect: {reason}." if reason else "No effect.",
        )(command)
    command = click.option("--cidfile", metavar="FILE", help="Write the container's id to FILE.")(command)
    return click.option("--group-add", "groups", multiple=True, metavar="GROUP", help="Further group; repeatable.")(
        command
    )

"""Options of `docker build` that scripts pass and that change nothing here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tiffin.builder.cli.options.docker_words import ALWAYS, ATTESTATIONS, WITHOUT_EFFECT, field_of


def docker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, which no help text lists."""
    for name, (short, _) in WITHOUT_EFFECT.items():
        spelling = [short] if short else []
        command = click.option(f"--{name}", *spelling, field_of(name), multiple=True, hidden=True)(command)
    for name in ALWAYS:
        command = click.option(f"--{name}/--no-{name}", field_of(name), default=None, hidden=True)(command)
    for name in (*ATTESTATIONS, "attest", "policy"):
        command = click.option(f"--{name}", field_of(name), multiple=True, hidden=True)(command)
    return command

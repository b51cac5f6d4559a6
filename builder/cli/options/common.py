"""Options of several commands: registries and progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.renderer import PROGRESS_ALIASES

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _take_mirrors(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    if value and isinstance(ctx.obj, Session):
        ctx.obj.registry_mirrors = value


def registry_options(command: _Command) -> _Command:
    """The options of every command that talks to registries."""
    for option in (
        click.option(
            "--registry-mirror",
            "registry_mirrors",
            multiple=True,
            metavar="URL",
            expose_value=False,
            callback=_take_mirrors,
            help="Mirror of docker.io, asked before it; repeatable.",
        ),
        click.option(
            "--registry-cert",
            "cert",
            type=click.Path(exists=True, dir_okay=False),
            help="PEM file of certificates to trust as well.",
        ),
        click.option(
            "--insecure-registry",
            "insecure",
            multiple=True,
            metavar="HOST",
            help="Plain http, or any certificate, will do for HOST.",
        ),
    ):
        command = option(command)
    return command


def progress_option(command: _Command) -> _Command:
    """--progress, for commands that take time."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "tty", "plain", "json", "quiet", *PROGRESS_ALIASES]),
        default="auto",
        envvar="BUILDKIT_PROGRESS",
        help="How to show progress.",
    )(command)

"""Options of several commands: registries and progress."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from tiffin.builder.cli.options.registry_values import NAMES, registry_access
from tiffin.builder.cli.output.renderer import PROGRESS_ALIASES

_Command = TypeVar("_Command", bound=Callable[..., Any])
REGISTRY_OPTIONS = (
    click.option(
        "--registry-mirror",
        "registry_mirrors",
        multiple=True,
        metavar="URL",
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
)


def registry_options(command: _Command) -> _Command:
    """The options of every command that talks to registries; it gets them as one value, `registry`."""

    @wraps(command)
    def called(*args: object, **given: object) -> object:
        registry = registry_access({name: given.pop(name) for name in NAMES})
        return command(*args, registry=registry, **given)

    for option in REGISTRY_OPTIONS:
        called = option(called)
    return cast(_Command, called)


def raw_registry_options(command: _Command) -> _Command:
    """The same options, each by its own name."""
    for option in REGISTRY_OPTIONS:
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

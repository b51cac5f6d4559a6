"""Options of `docker run` that scripts pass: the container id in a file, further groups, and those that change nothing here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import click

from builder.errors import UsageError
from cache.files import disk_errors

NO_HEALTH_CHECKS = "no health check is run"
NO_LOG = "what the command prints goes where this command prints, and is kept nowhere"
# name: (further spelling, whether it takes a value, why it has no effect; "" where nothing needs to be said)
WITHOUT_EFFECT: Mapping[str, tuple[str, bool, str]] = {
    "attach": ("-a", True, ""),  # stdout and stderr are attached, stdin is with -i
    "disable-content-trust": ("", False, ""),
    "domainname": ("", True, "the host name stands alone"),
    "expose": ("", True, ""),
    "health-cmd": ("", True, NO_HEALTH_CHECKS),
    "health-interval": ("", True, NO_HEALTH_CHECKS),
    "health-retries": ("", True, NO_HEALTH_CHECKS),
    "health-start-period": ("", True, NO_HEALTH_CHECKS),
    "health-timeout": ("", True, NO_HEALTH_CHECKS),
    "log-driver": ("", True, NO_LOG),
    "log-opt": ("", True, NO_LOG),
    "no-healthcheck": ("", False, ""),
    "oom-kill-disable": ("", False, "the kernel decides whom it ends"),
    "oom-score-adj": ("", True, "the kernel decides whom it ends"),
    "stop-timeout": ("", True, ""),
}


def docker_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options."""
    for name, (short, takes_value, _) in WITHOUT_EFFECT.items():
        command = click.option(
            f"--{name}",
            *([short] if short else []),
            _field(name),
            is_flag=not takes_value,
            multiple=takes_value,
            hidden=True,
        )(command)
    command = click.option("--cidfile", metavar="FILE", help="Write the container's id to FILE.")(command)
    return click.option("--group-add", "groups", multiple=True, metavar="GROUP", help="Further group; repeatable.")(
        command
    )


def _field(name: str) -> str:
    return "docker_" + name.replace("-", "_")


def remarks(given: Mapping[str, object]) -> list[str]:
    """What to say of options without effect."""
    return [
        f"--{name} has no effect: {reason}"
        for name, (_, _, reason) in WITHOUT_EFFECT.items()
        if reason and given.get(_field(name))
    ]


def write_id(given: Mapping[str, object], identity: str) -> None:
    """--cidfile: a file that must not be there yet; raises UsageError, StoreError."""
    path = cast("str | None", given["cidfile"])
    if path is None:
        return
    with disk_errors(Path(path)):
        try:
            with Path(path).open("x") as stream:
                stream.write(identity)
        except FileExistsError as exc:
            raise UsageError(f"--cidfile {path} exists", remedy="remove it, or name another") from exc

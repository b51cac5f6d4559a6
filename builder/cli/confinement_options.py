"""Options of `tiffin run` about its walls: network and ports, privileges, limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import click

from builder.cli.security_options import parse_security

_Decorated = Callable[..., Any]
_OPTIONS = (
    click.option(
        "--network", "--net", "network", metavar="host|none|private", help="Network (default: host; private with -p)."
    ),
    click.option(
        "-p", "--publish", "publish", multiple=True, metavar="[IP:]HOST:PORT[/udp]", help="Publish a port; repeatable."
    ),
    click.option("-P", "--publish-all", "publish_all", is_flag=True, help="Publish every port the image exposes."),
    click.option("--cap-add", "cap_add", multiple=True, metavar="NAME", help="Add a capability; repeatable."),
    click.option("--cap-drop", "cap_drop", multiple=True, metavar="NAME", help="Drop a capability; repeatable."),
    click.option(
        "--security-opt",
        "security",
        multiple=True,
        metavar="OPTION",
        help="seccomp=FILE|unconfined, no-new-privileges.",
    ),
    click.option(
        "--privileged", is_flag=True, help="All that the user has: every capability, no filter, all of /proc."
    ),
    click.option("-m", "--memory", default="", metavar="SIZE", help="Memory it may use."),
    click.option(
        "--memory-swap", "swap", default="", metavar="SIZE", help="Memory and swap together; -1 for no limit."
    ),
    click.option("--cpus", default="", metavar="NUMBER", help="Processors it may use, such as 1.5."),
    click.option(
        "--pids-limit", "pids", type=int, default=0, metavar="NUMBER", help="Processes and threads it may have."
    ),
    click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]", help="Limit; repeatable."),
)


def confinement_options(command: _Decorated) -> _Decorated:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def confinement(options: Mapping[str, object]) -> dict[str, Any]:
    """The members of Wishes that these options decide. Raises UsageError."""
    from builder.cli.build_options import ulimits
    from builder.containers.limits import parse_limits
    from builder.containers.run import choose_capabilities
    from builder.sandbox.seccomp import UNCONFINED

    security = parse_security(_many(options, "security"), Path.cwd())
    privileged = bool(options["privileged"])
    added = (*_many(options, "cap_add"), *(("ALL",) if privileged else ()))
    return {
        **_network(options),
        "capabilities": choose_capabilities(added, _many(options, "cap_drop")),
        "privileged": privileged,
        "no_new_privs": security.no_new_privs,
        "seccomp": UNCONFINED if privileged else security.seccomp,
        "unmasked": privileged or security.unmasked,
        "ulimits": ulimits(_many(options, "ulimits")),
        "limits": parse_limits(
            memory=str(options["memory"]),
            swap=str(options["swap"]),
            cpus=str(options["cpus"]),
            pids=cast("int", options["pids"]),
        ),
    }


def _network(options: Mapping[str, object]) -> dict[str, Any]:
    text, publish = cast("str | None", options["network"]), _many(options, "publish")
    everything = bool(options["publish_all"])
    if text in (None, "host", "none") and not publish and not everything:
        return {"network": text or "host"}
    from builder.containers.networks import choose_kind
    from builder.containers.ports import parse_ports

    ports = parse_ports(publish)
    kind, tool = choose_kind(text, publishes=bool(ports) or everything)
    return {"network": kind, "network_tool": tool, "ports": ports, "publish_all": everything}


def _many(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", options[name])

"""Options of `tiffin run` about its walls: network and ports, privileges, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_Decorated = Callable[..., Any]
_OPTIONS = (
    click.option(
        "--network", "--net", "network", metavar="host|none|private", help="Network (default: host; private with -p)."
    ),
    click.option(
        "-p", "--publish", "publish", multiple=True, metavar="[IP:]HOST:PORT[/udp]", help="Publish a port; repeatable."
    ),
    click.option("-P", "--publish-all", "publish_all", is_flag=True, help="Publish every port the image exposes."),
    click.option("--dns", "dns", multiple=True, metavar="ADDRESS", help="Name server; repeatable."),
    click.option("--dns-search", "dns_search", multiple=True, metavar="DOMAIN", help="Search domain; repeatable."),
    click.option(
        "--dns-option", "--dns-opt", "dns_options", multiple=True, metavar="OPTION", help="Of resolv.conf; repeatable."
    ),
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

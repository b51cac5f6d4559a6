"""The line of `compose run`, and what it makes of a service."""

from __future__ import annotations

import os

from tiffin.builder.cli.compose.arguments import OnProject
from tiffin.builder.cli.options.option import Flag, Many, Maybe, Text, Word, Words
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tiffin.builder.compose.model.values import Service


class RunArguments(OnProject):
    """What may stand on the line."""

    ends_options = True
    service = Word("SERVICE")
    words = Words("[COMMAND]...")
    detach = Flag("-d", "--detach", help="Run it in the background; print the container's name.")
    remove = Flag("--rm", help="Remove the container when it ends.")
    no_tty = Flag("-T", "--no-TTY", help="No terminal (default: one where stdin and stdout are one).")
    interactive = Flag("-i", "--interactive", off="--no-interactive", default=True, help="Pass stdin on.")
    tty = Flag("-t", "--tty", help="A terminal, as is the default.")
    name = Text("--name", metavar="NAME", help="Name of the container.")
    env = Many("-e", "--env", metavar="K[=V]", help="Environment variable; repeatable.")
    env_files = Many("--env-from-file", metavar="FILE", help="File of K=V lines; repeatable.")
    labels = Many("-l", "--label", "--labels", metavar="K=V", help="Label; repeatable.")
    user = Text("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
    workdir = Text("-w", "--workdir", metavar="DIR", help="Working directory.")
    entrypoint = Maybe("--entrypoint", metavar="PROGRAM", help="Replace the entrypoint.")
    volumes = Many("-v", "--volume", "--volumes", metavar="HOST|NAME:PATH[:ro]", help="Mount; repeatable.")
    publish = Many("-p", "--publish", metavar="[IP:]HOST:PORT", help="Publish a port; repeatable.")
    service_ports = Flag("-P", "--service-ports", help="Publish the ports of the service.")
    use_aliases = Flag("--use-aliases", help="With the names that the service has on its networks.")
    cap_add = Many("--cap-add", metavar="NAME", help="Add a capability; repeatable.")
    cap_drop = Many("--cap-drop", metavar="NAME", help="Drop a capability; repeatable.")
    no_deps = Flag("--no-deps", help="Do not start what the service depends on.")
    build = Flag("--build", help="Build the image first.")
    pull = Text("--pull", choices=("always", "missing", "never", "policy"), default="policy", help="When to pull.")
    quiet_pull = Flag("--quiet-pull", help="Do not show the progress of pulls.")
    quiet_build = Flag("--quiet-build", help="Do not show the progress of builds.")
    quiet = Flag("-q", "--quiet", help="Print nothing of what happens to containers.")
    remove_orphans = Flag("--remove-orphans", help="Remove containers of services that the files no longer have.")


def is_on_terminal() -> bool:
    """Whether stdin and stdout are a terminal."""
    return os.isatty(0) and os.isatty(1)


def named_variables(texts: Sequence[str], files: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of -e and of files; a name alone that `environment` does not have changes nothing, other
    than with docker. Raises UsageError.
    """
    from tiffin.builder.containers.environment import parse_variables

    found = parse_variables(texts, files, environment)
    return {name: value for name, value in found if value is not None}


def published(service: Service, line: RunArguments) -> tuple[str, ...]:
    """Return the ports of the container: those of the line, and those of the service where the line asks for them."""
    from tiffin.builder.cli.compose.service_lines import published_port

    return (*(published_port(port, 1) for port in service.ports), *line.publish)


def one_off_changes(service: Service, line: RunArguments, environment: Mapping[str, str]) -> Service:
    """Return a service as `compose run` has it: the options of the line stand above, its ports are not published.

    `environment` has the values of variables that the line names alone. Raises UsageError.
    """
    from tiffin.builder.compose.model.values import ServiceNetwork
    from tiffin.builder.containers.mounts import parse_volume
    from tiffin.cache.foundation.frozen import replace

    variables = named_variables(line.env, line.env_files, environment)
    mounted = {parse_volume(text, directory=".").path for text in line.volumes}
    changes: dict[str, Any] = {
        "environment": {**service.environment, **variables},
        "container_name": "",
        "restart": "no",
        "mounts": tuple(mount for mount in service.mounts if mount.target not in mounted),
        "ports": service.ports if line.service_ports else (),
        "tty": not line.no_tty and not line.detach and is_on_terminal(),
        "stdin_open": line.interactive,
        "cap_add": (*service.cap_add, *line.cap_add),
        "cap_drop": (*service.cap_drop, *line.cap_drop),
        "user": line.user or service.user,
        "workdir": line.workdir or service.workdir,
    }
    if line.words:
        changes["command"] = line.words
    if line.entrypoint is not None:
        changes["entrypoint"] = (line.entrypoint,) if line.entrypoint else ()
        changes["command"] = line.words
    if line.no_deps:
        changes["links"] = ()  # to what need not run
    if not line.use_aliases:
        changes["networks"] = {key: ServiceNetwork() for key in service.networks}
    return replace(service, **changes)

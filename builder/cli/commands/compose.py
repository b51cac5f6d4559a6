"""tiffin compose: what a project is, without running anything."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.cli.compose.arguments import ComposeArguments, OnServices
from tiffin.builder.cli.options.command import CONTAINERS, Command, Group
from tiffin.builder.cli.options.option import Arguments, Flag, Maybe, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.compose.model.values import Project


class ConfigArguments(OnServices):
    """What may stand on the line."""

    form = Text("--format", choices=("yaml", "json"), default="yaml", help="How to write it.")
    quiet = Flag("-q", "--quiet", help="Check only.")
    list_services = Flag("--services", help="Print the names of the services.")
    list_volumes = Flag("--volumes", help="Print the names of the volumes.")
    list_networks = Flag("--networks", help="Print the names of the networks.")
    list_images = Flag("--images", help="Print the names of the images.")
    list_profiles = Flag("--profiles", help="Print the names of the profiles.")
    list_variables = Flag("--environment", help="Print the variables that fill in the files.")
    hashes = Maybe("--hash", metavar="SERVICE|*", help="Print what a service's configuration hashes to.")
    no_interpolate = Flag("--no-interpolate", help="Leave variables as they are.")
    no_env_resolution = Flag("--no-env-resolution", help="Leave what env_file names unread.")
    no_consistency = Flag("--no-consistency", help="Do not check that what services name is there.")
    output = Text("-o", "--output", metavar="FILE", help="File to write.")


def config(session: Session, line: ConfigArguments) -> None:
    """Print the project in one file, every value in its long form. Raises ComposeError."""
    hashed = tuple(line.hashes.split(",")) if line.hashes and line.hashes != "*" else ()
    project = line.load(
        line.services or hashed,
        interpolates=not line.no_interpolate,
        reads_env_files=not line.no_env_resolution,
        checks=not line.no_consistency,
    )
    if line.quiet:
        return
    text = _shown(project, line)
    if line.output:
        Path(line.output).write_text(text + "\n")
    elif text:
        print_result(text)


def _shown(project: Project, line: ConfigArguments) -> str:
    from tiffin.builder.api.compose.document import document_text
    from tiffin.builder.api.compose.naming import config_hash, image_of

    services = {name: one for name, one in project.services.items() if name in (line.services or project.services)}
    if line.list_services:
        return "\n".join(services)
    if line.list_volumes:
        return "\n".join(project.volumes)
    if line.list_networks:
        return "\n".join(project.networks)
    if line.list_images:
        return "\n".join(image_of(project, service) for service in services.values())
    if line.list_profiles:
        everything = [*project.services.values(), *project.disabled.values()]
        return "\n".join(sorted({profile for service in everything for profile in service.profiles}))
    if line.list_variables:
        return "\n".join(f"{name}={value}" for name, value in sorted(project.environment.items()))
    if line.hashes is not None:
        wanted = services if line.hashes == "*" else line.hashes.split(",")
        return "\n".join(f"{name} {config_hash(project, project.services[name])}" for name in wanted)
    return document_text(project, services, as_json=line.form == "json", escapes=not line.no_interpolate)


class VersionArguments(Arguments):
    """What may stand on the line."""

    form = Text("-f", "--format", metavar="pretty|json", default="pretty", help="How to write it.")
    short = Flag("--short", help="The number alone.")


def version(session: Session, line: VersionArguments) -> None:
    """Print which version of docker compose is spoken here."""
    import json

    from tiffin.builder.api.compose.naming import COMPOSE_VERSION

    if line.form == "json":
        print_result(json.dumps({"version": COMPOSE_VERSION}, separators=(",", ":")))
    else:
        print_result(COMPOSE_VERSION if line.short else f"Docker Compose version v{COMPOSE_VERSION} (tiffin)")


COMMANDS = (
    Group(
        "compose", about="Run several services as compose files say.", section=CONTAINERS, arguments=ComposeArguments
    ),
    Command(
        "compose config",
        ConfigArguments,
        config,
        about="Check compose files, and show them as one.",
        section=CONTAINERS,
        examples=("tiffin compose config --format json", "tiffin compose config --services"),
        aliases=("compose convert",),
    ),
    Command(
        "compose version",
        VersionArguments,
        version,
        about="Show which version of docker compose is spoken.",
        section=CONTAINERS,
        examples=("tiffin compose version --short",),
    ),
)

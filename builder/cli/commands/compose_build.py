"""tiffin compose build, pull, push."""

from __future__ import annotations

from tiffin.builder.cli.compose.arguments import OnServices
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.common import EgressArguments, LockArguments
from tiffin.builder.cli.options.option import Flag, Many, Text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.compose.images import Images
    from tiffin.builder.api.session import Session
    from tiffin.builder.compose.model.values import Project, Service


class BuildArguments(OnServices, LockArguments, EgressArguments):
    """What may stand on the line."""

    build_args = Many("--build-arg", metavar="K[=V]", help="Value of an ARG; repeatable.")
    no_cache = Flag("--no-cache", help="Run all steps again.")
    pull = Flag("--pull", help="Ask the registry for newer base images.")
    push = Flag("--push", help="Push the images.")
    quiet = Flag("-q", "--quiet", help="Show no progress.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable.")
    with_dependencies = Flag("--with-dependencies", help="Also what the services depend on.")
    progress = Text(
        "--progress", choices=("auto", "tty", "plain", "json", "quiet"), default="auto", help="As before build."
    )


class PullArguments(OnServices):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Show no progress.")
    ignore_failures = Flag("--ignore-pull-failures", help="Warn of images that cannot be pulled.")
    ignore_buildable = Flag("--ignore-buildable", help="Leave out images that can be built.")
    include_deps = Flag("--include-deps", help="Also what the services depend on.")
    policy = Text("--policy", choices=("missing", "always"), default="always", help="Pull again, or what is missing.")


class PushArguments(OnServices):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Show no progress.")
    ignore_failures = Flag("--ignore-push-failures", help="Warn of images that cannot be pushed.")
    include_deps = Flag("--include-deps", help="Also what the services depend on.")


def _images(
    session: Session, line: OnServices, *, quiet: bool, dependencies: bool, build: dict[str, Any] | None = None
) -> tuple[Images, list[Service]]:
    from tiffin.builder.api.compose.images import Images
    from tiffin.builder.cli.compose.service_lines import ServiceLines
    from tiffin.builder.compose.model.order import chosen

    project: Project = line.load(line.services)
    services = chosen(project, line.services, with_dependencies=dependencies)
    lines = ServiceLines(project, session, "quiet" if quiet else line.project.progress, build=build or {})
    session.state  # made before there are children  # noqa: B018
    return Images(project, session, line.sink(), lines), list(services.values())


def build(session: Session, line: BuildArguments) -> None:
    """Build the images of services. Raises TiffinError."""
    more: dict[str, Any] = {"build_args": line.build_args, **line.lock_values()}
    more |= {"egress": line.egress} if line.egress else {}
    more |= {"no_cache": True} if line.no_cache else {}
    more |= {"pull": "always"} if line.pull else {}
    more |= {"ssh": line.ssh} if line.ssh else {}
    images, services = _images(session, line, quiet=line.quiet, dependencies=line.with_dependencies, build=more)
    images.build(services, pushes=line.push)


def pull(session: Session, line: PullArguments) -> None:
    """Pull the images of services. Raises TiffinError."""
    images, services = _images(session, line, quiet=line.quiet, dependencies=line.include_deps)
    images.pull(services, policy=line.policy, ignores=line.ignore_failures, skips=line.ignore_buildable)


def push(session: Session, line: PushArguments) -> None:
    """Push the images of services that are built. Raises TiffinError."""
    images, services = _images(session, line, quiet=line.quiet, dependencies=line.include_deps)
    images.push(services, ignores=line.ignore_failures)


COMMANDS = (
    Command("compose build", BuildArguments, build, about="Build the images of services.", section=CONTAINERS,
            examples=("tiffin compose build --pull web",)),
    Command("compose pull", PullArguments, pull, about="Pull the images of services.", section=CONTAINERS,
            examples=("tiffin compose pull --ignore-buildable",)),
    Command("compose push", PushArguments, push, about="Push the images of services that are built.",
            section=CONTAINERS, examples=("tiffin compose push",)),
)  # fmt: skip

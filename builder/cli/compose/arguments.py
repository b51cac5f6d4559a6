"""What may stand before the word of a command of compose, and what several of them share."""

from __future__ import annotations

import os

from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Maybe, Text, Words
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.cli.compose.printing import ChangeSink
    from tiffin.builder.compose.model.values import Project
    from tiffin.builder.compose.project import ProjectOptions


class ComposeArguments(Arguments):
    """Of the project."""

    files = Many("-f", "--file", metavar="FILE", help="Compose file, - for stdin; repeatable (default: compose.yaml).")
    name = Text("-p", "--project-name", metavar="NAME", help="Name of the project (default: of its directory).")
    profiles = Many("--profile", metavar="NAME", help="Profile to enable; repeatable.")
    env_files = Many("--env-file", metavar="FILE", help="File of variables in the place of .env; repeatable.")
    directory = Text("--project-directory", metavar="DIR", help="Where relative paths begin.")
    ansi = Text("--ansi", choices=("auto", "never", "always"), default="auto", variable="COMPOSE_ANSI", help="Colours.")
    progress = Text(
        "--progress",
        choices=("auto", "tty", "plain", "json", "quiet"),
        default="auto",
        variable="COMPOSE_PROGRESS",
        help="How to show progress.",
    )
    parallel = Text(
        "--parallel",
        metavar="N",
        default="-1",
        variable="COMPOSE_PARALLEL_LIMIT",
        help="How much is done at once (-1: all).",
    )
    compatibility = Flag(
        "--compatibility",
        variable="COMPOSE_COMPATIBILITY",
        help="Names with underscores, as docker-compose 1 has them.",
    )
    all_resources = Flag("--all-resources", help="Make networks and volumes that no service uses, too.")
    verbose = Flag("--verbose", why="there is no more to tell", effect=WITHOUT_EFFECT)


class OnProject(Arguments):
    """A command of compose."""

    @property
    def project(self) -> ComposeArguments:
        """Return what stands before its word."""
        return ComposeArguments(self.outer)

    def options(self) -> ProjectOptions:
        """Return what the line says of the project."""
        from tiffin.builder.compose.project import ProjectOptions

        given = self.project
        return ProjectOptions(
            files=given.files,
            name=given.name,
            profiles=given.profiles,
            env_files=given.env_files,
            directory=given.directory,
            separator="_" if given.compatibility else "-",
        )

    def load(
        self,
        services: Sequence[str] = (),
        *,
        interpolates: bool = True,
        reads_env_files: bool = True,
        checks: bool = True,
    ) -> Project:
        """Return the project. Raises ComposeError, UsageError."""
        from pathlib import Path

        from tiffin.builder.cli.output.console import warn
        from tiffin.builder.compose.project import load_project

        return load_project(
            self.options(),
            os.environ,
            str(Path.cwd()),
            warn,
            services=services,
            interpolates=interpolates,
            reads_env_files=reads_env_files,
            checks=checks,
        )

    def known(self, services: Sequence[str] = ()) -> tuple[str, Project | None]:
        """Return the name of the project, and the project where it has files, with `services` whatever their profiles;
        what env_file names is not read, as nothing is made of it. Raises ComposeError, UsageError.
        """
        from pathlib import Path

        from tiffin.builder.cli.output.console import warn
        from tiffin.builder.compose.finding import find
        from tiffin.builder.compose.project import load_name, load_project

        options, cwd = self.options(), str(Path.cwd())
        if not find(options, os.environ, cwd, lambda _: None).files:
            return load_name(options, os.environ, cwd, warn), None
        project = load_project(options, os.environ, cwd, warn, services=services, reads_env_files=False)
        return project.name, project

    def sink(self) -> ChangeSink:
        """Return what prints what happens."""
        from tiffin.builder.cli.compose.printing import ChangeSink

        return ChangeSink(self.project.progress)


def whole_number(option: str, text: str) -> int:
    """Return the number that an option has. Raises UsageError."""
    try:
        return int(text)
    except ValueError as exc:
        from tiffin.builder.errors import UsageError

        raise UsageError(f'{option} "{text}" is not a whole number', remedy=f"write {option} 10") from exc


class PatienceArguments(Arguments):
    """Of commands that stop containers."""

    timeout = Maybe("-t", "--timeout", metavar="SECONDS", help="Patience before a container is killed.")

    def patience(self) -> int | None:
        """Return the seconds, None where none were given. Raises UsageError."""
        return whole_number("--timeout", self.timeout) if self.timeout is not None else None


class OnServices(OnProject):
    """A command of compose that takes services, all where none is named."""

    services = Words("[SERVICE...]")

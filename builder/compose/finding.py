"""Which files a command means, which variables they see, and what the project is called."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.compose.dotenv import read_env_file
from tiffin.builder.compose.loading import STDIN
from tiffin.builder.compose.places import Map, wrong
from tiffin.builder.compose.variables import Substitution
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_NAMES = tuple(name.replace(".", ".override.", 1) for name in FILE_NAMES)
NAME = r"[a-z0-9][a-z0-9_-]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
    """What a line says of the project; empty members leave it to variables and to files."""

    files: tuple[str, ...] = ()
    name: str = ""
    directory: str = ""
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    separator: str = "-"  # between the words of a container's or an image's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files, the directory of relative paths, the variables, and the profiles that are active."""

    files: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    profiles: tuple[str, ...]


def find(options: ProjectOptions, environ: Mapping[str, str], cwd: str, warn: Callable[[str], None]) -> Found:
    """Look for all of that. Raises UsageError, ComposeError."""
    files = [_absolute(cwd, path) for path in options.files]
    named = bool(files)
    beside = os.path.dirname(next((path for path in files if path != STDIN), "")) or cwd  # noqa: PTH120
    if not named and not environ.get("COMPOSE_FILE"):
        files = _usual_files(cwd, warn)
        beside = os.path.dirname(files[0]) if files else cwd  # noqa: PTH120
    directory = _absolute(cwd, options.directory) if options.directory else beside
    environment = _with_env_files(options, environ, cwd, directory, warn)
    if not named and environment.get("COMPOSE_FILE"):
        separator = environment.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        files = [_absolute(cwd, path) for path in environment["COMPOSE_FILE"].split(separator) if path]
        if files and not options.directory and files[0] != STDIN:
            directory = os.path.dirname(files[0])  # noqa: PTH120
    profiles = options.profiles or tuple(filter(None, environment.get("COMPOSE_PROFILES", "").split(",")))
    return Found(files=tuple(files), directory=directory, environment=environment, profiles=profiles)


def _absolute(cwd: str, path: str) -> str:
    return path if path == STDIN else os.path.normpath(os.path.join(cwd, os.path.expanduser(path)))  # noqa: PTH111, PTH118


def _usual_files(cwd: str, warn: Callable[[str], None]) -> list[str]:
    """Return the compose file of a directory, or of the next one above that has one, and what stands over it."""
    for folder in (Path(cwd), *Path(cwd).parents):
        found = [folder / name for name in FILE_NAMES if (folder / name).exists()]
        over = [folder / name for name in OVERRIDE_NAMES if (folder / name).exists()]
        if found:
            for several in (found, over):
                if len(several) > 1:
                    warn(f"found several files ({', '.join(map(str, several))}); using {several[0]}")
            return [str(path) for path in (found[0], *over[:1])]
    return []


def _with_env_files(
    options: ProjectOptions, environ: Mapping[str, str], cwd: str, directory: str, warn: Callable[[str], None]
) -> dict[str, str]:
    """Return the environment and below it the variables of .env, or of the files that stand in its place."""
    if options.env_files:
        files = [_absolute(cwd, path) for path in options.env_files]
    elif environ.get("COMPOSE_ENV_FILES"):
        files = [_absolute(cwd, path) for path in environ["COMPOSE_ENV_FILES"].split(",")]
    elif environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "true"):
        files = []
    else:
        files = [path for path in (os.path.join(directory, ".env"),) if os.path.isfile(path)]  # noqa: PTH113, PTH118
    variables: dict[str, str] = {}
    for file in files:
        variables |= read_env_file(Path(file), {**variables, **environ}, warn)
    return {**variables, **environ}


def project_name(options: ProjectOptions, found: Found, documents: Sequence[Map]) -> str:
    """Return what a project is called: as the line or a variable says, a file, or its directory. Raises UsageError."""
    for text, whose in (
        (options.name, "--project-name"),
        (found.environment.get("COMPOSE_PROJECT_NAME", ""), "COMPOSE_PROJECT_NAME"),
    ):
        if text:
            return _checked(text, whose)
    name = name_in(documents, found.environment) or _made_name(Path(found.directory).name)
    if not name:
        raise UsageError(f"the project in {found.directory} has no name", remedy="give one with -p")
    return name


def name_in(documents: Sequence[Map], environment: Mapping[str, str]) -> str:
    """Return the name that the last document with one gives its project, "" for none. Raises ComposeError."""
    named = [(document["name"], document.place("name")) for document in documents if document.get("name")]
    if not named:
        return ""
    text, place = named[-1]
    try:
        return _made_name(Substitution(environment).fill(str(text)))
    except ValueError as exc:
        raise wrong(f"name: {exc}", place, remedy="set the variable") from exc


def _made_name(text: str) -> str:
    """Return what of a text can be the name of a project."""
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")


def _checked(text: str, whose: str) -> str:
    if not re.fullmatch(NAME, text):
        raise UsageError(
            f'invalid project name "{text}" ({whose})',
            remedy="use lowercase letters, digits, hyphens and underscores, with a letter or a digit first",
        )
    return text

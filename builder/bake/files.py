"""Texts of bake files, and what they are read with."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.cache.foundation.frozen import dataclass

DEFAULT_FILES = (
    "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "docker-bake.json", "docker-bake.hcl",
    "docker-bake.override.json", "docker-bake.override.hcl",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file's name and text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What files are read with: variables that nothing changes, those of --var and of the environment (none where it
    may not be read), and whether paths of contexts begin where their file is.
    """

    builtins: Mapping[str, str]
    given: Mapping[str, str]
    environ: Mapping[str, str]
    directory: str  # where the caller is
    is_relative: bool = False

    def look_up(self, name: str) -> str | None:
        """Return what the caller gives a variable."""
        return self.given.get(name, self.environ.get(name))

"""What a case of the cache table changes between the builder that fills a cache and the one that asks it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A build that fills the caches: a Dockerfile, its files, and options.

    In all texts `{base}`, `{http}` and `{folder}` stand for a base image, a file server, and the folder of the context.
    `tags`: the last word of each step's text, in order.
    """

    name: str
    dockerfile: str
    files: Mapping[str, str] = field(default_factory=dict)
    words: Sequence[str] = ()
    prepare: Callable[[Workspace], object] = lambda workspace: None
    tags: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`change` is made, then a builder with nothing asks.

    `runs`: the tags of the steps that must run; "/x+" is that one and all after it; "" that nothing may. `foreseen`:
    what `cache explain` says, where that is less than a build finds out.
    """

    name: str
    change: Callable[[Workspace], object]
    runs: str = ""
    forecast: str | None = None


@dataclass(slots=True)
class Workspace:
    """A build context, and how it is built."""

    folder: Path
    texts: Mapping[str, str]
    web: dict[str, Answer]
    words: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    context: str = ""  # in place of the folder
    stdin: bytes = b""
    cwd: Path = Path("/")

    def path(self, name: str) -> Path:
        return self.folder / name

    def filled(self, text: str) -> str:
        for name, value in {**self.texts, "folder": str(self.folder)}.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def options(self, *words: str) -> None:
        self.words += [self.filled(word) for word in words]

    def write(self, name: str, text: str, mode: int | None = None) -> None:
        """A new file, or new content in an old one."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.filled(text))
        if mode is not None:
            path.chmod(mode)

    def edit(self, before: str, after: str, name: str = "Dockerfile") -> None:
        """Replace a part of a file that is there once."""
        text = self.path(name).read_text()
        before = self.filled(before)
        assert text.count(before) == 1, f"{before!r} is there {text.count(before)} times"
        self.path(name).write_text(text.replace(before, self.filled(after)))

    def add(self, text: str) -> None:
        """A line at the end of the Dockerfile."""
        self.path("Dockerfile").write_text(self.path("Dockerfile").read_text() + self.filled(text) + "\n")

    def remove(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def rename(self, name: str, other: str) -> None:
        self.path(other).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).rename(self.path(other))

    def link(self, name: str, target: str) -> None:
        """A symbolic link in place of whatever is there."""
        if os.path.lexists(self.path(name)):
            self.remove(name)
        os.symlink(target, self.path(name))  # as written: pathlib would tidy it

    def touch(self, name: str, seconds: int = 1) -> None:
        os.utime(self.path(name), (seconds, seconds), follow_symlinks=False)

    def move(self, name: str) -> None:
        """The whole context to another place."""
        target = self.folder.parent / name
        self.folder.rename(target)
        self.folder = target


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the file server says of a path."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def steps(scenario: Scenario, runs: str) -> set[str]:
    """The tags that `runs` means."""
    found: set[str] = set()
    for word in runs.split():
        if word.endswith("+"):
            found |= set(scenario.tags[scenario.tags.index(word[:-1]) :])
        else:
            found.add(word)
    return found

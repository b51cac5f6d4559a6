"""The files of a rule of develop.watch, and what changed of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.compose.model.values import Build, Service, Watch
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError
from tiffin.builder.sources.context import ignore_files, read_ignore_rules
from tiffin.builder.sources.watch import WatchedDirectory
from tiffin.cache.foundation.frozen import dataclass

ALWAYS_IGNORED = (
    "**/.git",
    # what editors write beside a file while it is edited, as docker compose leaves it out
    "**/.idea", "**/*___jb_tmp___", "**/*___jb_old___", "**/.#*", "**/#*#", "**/4913", "**/*~", "**/.*.sw[opx]",
    "**/.*.swpx", "**/.*.kate-swp",
)  # fmt: skip
DEFAULT_DOCKERFILE = "Dockerfile"
Stamp = tuple[int, int, int]  # of a file: time, size, mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became different below the path of a rule, by relative paths; "" is the path itself, where it is a file."""

    written: tuple[str, ...]
    gone: tuple[str, ...]


class WatchedFiles:
    """The files of one rule of a service."""

    def __init__(self, service: Service, rule: Watch) -> None:
        self.service = service
        self.rule = rule
        self._path = Path(rule.path)
        self._ignored = IgnoreRules.of_patterns((*ALWAYS_IGNORED, *rule.ignore), "ignore")
        self._included = IgnoreRules.of_patterns(rule.include, "include") if rule.include else None
        self._context = Path(os.path.normpath(service.build.context)) if service.build is not None else None
        self._context_rules = _rules_of(service.build)
        self._known = dict(self._look())

    @property
    def everything(self) -> tuple[str, ...]:
        """All files that there are now."""
        return tuple(self._known)

    @property
    def place(self) -> WatchedDirectory | Path:
        """What is to be watched: a directory, or the name of a file, which need not be there."""
        return WatchedDirectory(root=self._path, rules=self._ignored) if self._path.is_dir() else self._path

    def change(self) -> Change | None:
        """Return what changed since the last call; None for nothing."""
        now = dict(self._look())
        written = {path for path, stamp in now.items() if self._known.get(path) != stamp}
        gone = self._known.keys() - now.keys()
        above = {place for path in gone for place in _above(path)}
        self._known = now
        if not written and not gone:
            return None
        return Change(written=tuple(sorted(written)), gone=tuple(sorted(gone | (written & above))))

    def _look(self) -> Iterator[tuple[str, Stamp]]:
        if not self._path.is_dir():
            if os.path.lexists(self._path):
                yield "", _stamp(self._path)
            return
        for folder, folders, files in os.walk(self._path):
            base = os.path.relpath(folder, self._path)
            prefix = "" if base == "." else f"{base}/"
            links = [name for name in folders if Path(folder, name).is_symlink()]
            folders[:] = [name for name in folders if self._may_descend(f"{prefix}{name}")]
            for name in (*files, *links):
                path = f"{prefix}{name}"
                if self._is_left_out(path):
                    continue
                try:
                    yield path, _stamp(Path(folder) / name)
                except FileNotFoundError:
                    continue

    def _may_descend(self, path: str) -> bool:
        inside = self._in_context(path)
        rules = self._context_rules
        return self._ignored.may_descend(path) and not (inside and rules and not rules.may_descend(inside))

    def _is_left_out(self, path: str) -> bool:
        if self._ignored.matches(path) or (self._included is not None and not self._included.matches(path)):
            return True
        inside = self._in_context(path)
        return bool(inside and self._context_rules is not None and self._context_rules.matches(inside))

    def _in_context(self, path: str) -> str:
        """Return a path relative to the context of the service's build, "" where it is not in it."""
        place = os.path.normpath(self._path / path)
        if self._context is None or not place.startswith(f"{self._context}/"):
            return ""
        return os.path.relpath(place, self._context)


def _rules_of(build: Build | None) -> IgnoreRules | None:
    """Return the ignore rules of a build from a directory; none for what cannot be read, which a build tells."""
    if build is None or not Path(build.context).is_dir():
        return None
    try:
        context = Path(build.context)
        return read_ignore_rules(ignore_files(context, context / (build.dockerfile or DEFAULT_DOCKERFILE)))
    except ContextError:
        return None


def _stamp(path: Path) -> Stamp:
    found = path.lstat()
    return found.st_mtime_ns, found.st_size, found.st_mode


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path

"""The files on this machine that a build reads, to be watched."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.inputs.context import DOCKERFILE_NAMES, STDIN
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError, UsageError
from tiffin.builder.sources.context import ignore_files, read_ignore_rules
from tiffin.builder.sources.watch import FileWatch, WatchedDirectory


class BuildWatch:
    """Watches what a build reads: its contexts, as their ignore files have them, its Dockerfile, and those files.

    `state` is tiffin's own directory; `written` are other files that the build writes: these do not count. Raises
    UsageError for a build that reads none, or writes over what it reads.
    """

    def __init__(self, options: BuildOptions, watch: FileWatch, *, state: Path, written: Collection[Path] = ()) -> None:
        if options.context == STDIN or options.file == STDIN or not Path(options.context).is_dir():
            raise UsageError(
                f"the build context {options.context} cannot be watched: it is not a directory of this machine",
                remedy="build a directory, or leave --watch out",
            )
        self._options = options
        self._watch = watch
        outputs = (Path(spec.dest) for spec in options.outputs if spec.dest and spec.dest != STDIN)
        caches = (Path(spec.place) for spec in options.caches if spec.kind == "local" and spec.writes)
        self._left_out = frozenset(path.resolve() for path in (state, *written, *outputs, *caches))
        for root in self._roots():
            over = next((path for path in self._left_out if root.resolve().is_relative_to(path)), None)
            if over is not None:
                raise UsageError(f"{root} cannot be watched: the build writes to {over}", remedy="write elsewhere")

    def begin(self) -> None:
        """Watch from now on: what changed before does not count any more, as a build that begins now has it."""
        dockerfiles = self._dockerfiles()
        directories, files = [], set(dockerfiles)
        dockerfile: Path | None = next(filter(Path.exists, dockerfiles), dockerfiles[0])
        for root in self._roots():
            ignoring = ignore_files(root.resolve(), dockerfile)
            dockerfile = None  # it is the main context's
            files.update(ignoring)
            rules: IgnoreRules | None = None
            with contextlib.suppress(ContextError):  # the build tells
                rules = read_ignore_rules(ignoring)
            directories.append(WatchedDirectory(root=root.resolve(), rules=rules, left_out=self._left_out))
        self._watch.begin(directories, files)

    def wait(self, seconds: float | None = None) -> Collection[str] | None:
        """Wait for a change, as `FileWatch.wait`."""
        return self._watch.wait(seconds)

    def _roots(self) -> Iterator[Path]:
        yield Path(self._options.context)
        yield from (Path(text) for text in self._options.contexts.values() if Path(text).is_dir())

    def _dockerfiles(self) -> list[Path]:
        """Return where the Dockerfile may be."""
        if self._options.file:
            return [Path(self._options.file)]
        return [Path(self._options.context) / name for name in DOCKERFILE_NAMES]

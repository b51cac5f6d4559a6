"""The local directories a build reads: the context, the named ones, and the ignore file of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.dockerfile.ignore import IgnoreRules
from builder.errors import ContextError
from builder.solver.trees import DirectoryTree
from cache.filestat import StatTable
from cache.local import Table

IGNORE_NAME = ".dockerignore"
MAX_IGNORE_BYTES = 1 << 20  # a list of patterns; more is a mistake


class Contexts:
    """Opens each directory once, on first use; `save` keeps the digests learned for the next build."""

    def __init__(self, main: Path | None, named: Mapping[str, Path], *, dockerfile: Path | None, table: Table) -> None:
        self._roots: dict[str, Path | None] = {"": main, **named}
        self._dockerfile = dockerfile
        self._table = table
        self._trees: dict[str, DirectoryTree] = {}
        self._stats: list[StatTable] = []

    def tree(self, name: str) -> DirectoryTree:
        """The tree of the context called `name` ("" is the main one); raises ContextError."""
        if name not in self._trees:
            self._trees[name] = self._open(name)
        return self._trees[name]

    def save(self) -> None:
        """Write what was learned; losing it costs time only."""
        for stats in self._stats:
            stats.save()

    def _open(self, name: str) -> DirectoryTree:
        root = self._roots[name]
        what = f'build context "{name}"' if name else "build context"
        if root is None:
            raise ContextError("this build has no context to copy from", remedy="give a directory instead of -")
        if not root.is_dir():
            raise ContextError(f"{what} {root} is no directory", remedy="name an existing directory")
        resolved = root.resolve()
        stats = StatTable.load(self._table, str(resolved))
        self._stats.append(stats)
        return DirectoryTree(resolved, self._rules(name, resolved), stats, what=what)

    def _rules(self, name: str, root: Path) -> IgnoreRules | None:
        """`DOCKERFILE.dockerignore` beside the Dockerfile wins over `.dockerignore` in the context."""
        candidates = [root / IGNORE_NAME]
        if not name and self._dockerfile is not None:
            candidates.insert(0, self._dockerfile.with_name(self._dockerfile.name + IGNORE_NAME))
        for path in candidates:
            try:
                with path.open("rb") as stream:
                    data = stream.read(MAX_IGNORE_BYTES + 1)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise ContextError(f"cannot read {path}: {exc.strerror}", remedy="make it readable") from exc
            if len(data) > MAX_IGNORE_BYTES:
                raise ContextError(f"{path} is longer than {MAX_IGNORE_BYTES} bytes", remedy="use fewer patterns")
            return IgnoreRules.parse(data.decode("utf-8", "surrogateescape"), str(path))
        return None

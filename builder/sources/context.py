"""What a build reads from outside: the context, named directories (each with its ignore file), URLs, repositories."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError
from tiffin.builder.instructions.ops import ContextOrigin, GitOrigin, Origin, OutsideOrigin, UrlOrigin
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.trees import LayerTree, SourceTree
from tiffin.cache.store.filestat import StatTable
from tiffin.cache.store.local import Table

if TYPE_CHECKING:
    from tiffin.builder.sources.remote_sources import RemoteSources

IGNORE_NAME = ".dockerignore"
OTHER_IGNORE_NAME = ".containerignore"  # podman's and buildah's
MAX_IGNORE_BYTES = 1 << 20  # a list of patterns; more is a mistake


Root = Path | SourceTree | Callable[[], SourceTree]  # a directory, files already at hand, or how to get them


class Contexts:
    """Opens each directory once, on first use; `save` keeps the digests learned for the next build.

    `dockerfile`: whose own ignore file beside it wins, if `ignores` says that ignore files count in the main context.
    `state` is tiffin's own directory, which no context shows; `warn` is told where one would have.
    """

    def __init__(
        self,
        main: Root | None,
        named: Mapping[str, Root],
        *,
        dockerfile: Path | None,
        table: Table,
        remote: Callable[[], RemoteSources],
        ignores: bool = True,
        state: Path | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._make_remote = remote
        self._made_remote: RemoteSources | None = None
        self._roots: dict[str, Root | None] = {"": main, **named}
        self._dockerfile = dockerfile
        self._ignores = ignores
        self._state = state.resolve() if state is not None else None
        self._warn = warn
        self._table = table
        self._trees: dict[OutsideOrigin, SourceTree] = {}
        self._stats: list[StatTable] = []
        self._lock = threading.Lock()  # stages open trees side by side

    def tree(self, origin: OutsideOrigin) -> SourceTree:
        """Return the files of `origin`; raises ContextError, and for remote ones RegistryError and BuildError."""
        with self._lock:
            if origin not in self._trees:
                match origin:
                    case ContextOrigin(name=name):
                        self._trees[origin] = self._open(name)
                    case UrlOrigin():
                        self._trees[origin] = self._remote().file(origin)
                    case GitOrigin():
                        from tiffin.builder.sources.remote_sources import git_tree

                        self._trees[origin] = git_tree(self._remote(), origin)
            return self._trees[origin]

    def content(self, origin: OutsideOrigin) -> SourceTree:
        """Return the files of `origin` to read, where `tree` may only know what they are; raises likewise."""
        return self._remote().fetched(origin) if isinstance(origin, UrlOrigin) else self.tree(origin)

    def fresh(self, origin: Origin) -> SourceTree:
        """Return the tree of a local directory as it is now."""
        assert isinstance(origin, ContextOrigin), origin
        return self._open(origin.name)

    def commit(self, origin: GitOrigin) -> str:
        """Return the commit that stands for the content of a repository."""
        return self._remote().commit(origin)

    def pack(self, origin: GitOrigin) -> Path:
        """Return a file of git's with all that a repository's commit has. Raises BuildError."""
        return self._remote().pack(origin)

    def _remote(self) -> RemoteSources:
        if self._made_remote is None:
            self._made_remote = self._make_remote()
        return self._made_remote

    def save(self) -> None:
        """Write what was learned; losing it costs time only."""
        for stats in self._stats:
            stats.save()

    def _open(self, name: str) -> SourceTree:
        root = self._roots[name]
        what = f'build context "{name}"' if name else "build context"
        if root is None:
            raise ContextError("this build has no context to copy from", remedy="give a directory instead of -")
        if not isinstance(root, Path):
            return root() if callable(root) else root
        if not root.is_dir():
            raise ContextError(f"{what} {root} is not a directory", remedy="name an existing directory")
        resolved = root.resolve()
        stats = StatTable.load(self._table, str(resolved))
        self._stats.append(stats)
        rules = self._rules(name, resolved) if name or self._ignores else None
        return DirectoryTree(resolved, rules, stats, what=what, left_out=self._left_out(resolved, what))

    def _left_out(self, root: Path, what: str) -> str:
        """Return where tiffin's own directory lies in a context, "" if it does not."""
        if self._state is None or self._state == root or not self._state.is_relative_to(root):
            return ""
        self._warn(f"{what}: {self._state} is left out, as tiffin keeps its images and cache there")
        return self._state.relative_to(root).as_posix()

    def _rules(self, name: str, root: Path) -> IgnoreRules | None:
        return read_ignore_rules(ignore_files(root, None if name else self._dockerfile))


def ignore_files(root: Path, dockerfile: Path | None) -> list[Path]:
    """Return where the ignore file of a directory may be, the first that exists counts: `DOCKERFILE.dockerignore`
    beside its Dockerfile wins over `.dockerignore` in it, that over `.containerignore`.
    """
    own = [] if dockerfile is None else [dockerfile.with_name(dockerfile.name + IGNORE_NAME)]
    return [*own, root / IGNORE_NAME, root / OTHER_IGNORE_NAME]


def read_ignore_rules(files: Iterable[Path]) -> IgnoreRules | None:
    """Return the rules of the first file that exists, None where none does. Raises ContextError."""
    for path in files:
        try:
            # a fifo of that name would be waited for
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                data = stream.read(MAX_IGNORE_BYTES + 1) if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else b""
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise ContextError(f"cannot read {path}: {exc.strerror}", remedy="make it readable") from exc
        return _parsed(data, str(path))
    return None


def ignore_rules_in(tree: LayerTree, dockerfile: str) -> IgnoreRules | None:
    """Return the ignore rules that an archive has, by the same names. Raises ContextError."""
    for name in (dockerfile + IGNORE_NAME, IGNORE_NAME, OTHER_IGNORE_NAME):
        data = tree.read_file(name)
        if data is not None:
            return _parsed(data, name)
    return None


def _parsed(data: bytes, name: str) -> IgnoreRules:
    if len(data) > MAX_IGNORE_BYTES:
        raise ContextError(f"{name} is longer than {MAX_IGNORE_BYTES} bytes", remedy="use fewer patterns")
    return IgnoreRules.parse(data.decode("utf-8", "surrogateescape"), name)

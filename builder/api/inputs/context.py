"""What `tiffin build` is given to build from: the context in all its forms, the Dockerfile, and named contexts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from tiffin.builder.errors import ContextError, UsageError
from tiffin.builder.instructions.ops import UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.builder.plan.plan_options import (
    PREFIX_BUILT,
    PREFIX_LAYOUT,
    DirectoryContext,
    ImageContext,
    NamedContext,
    RemoteContext,
    StageContext,
)
from tiffin.cache.foundation.frozen import dataclass, field

if TYPE_CHECKING:
    from tiffin.builder.plan.plan_options import SourceRules
    from tiffin.builder.sources.context import Root
    from tiffin.builder.sources.remote_sources import RemoteSources
    from tiffin.builder.sources.trees import LayerTree, SourceTree

STDIN = "-"
MAX_DOCKERFILE_BYTES = 16 << 20
DOCKERFILE_NAMES = ("Dockerfile", "dockerfile", "Containerfile")  # the last is podman's and buildah's
PREFIX_S3 = "s3://"
PREFIX_IMAGE, PREFIX_STAGE = "docker-image://", "target:"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """The main context. `root` None: there is none (a Dockerfile alone); `beside` is where its ignore file may be."""

    root: Root | None
    dockerfile: bytes
    name: str  # of the Dockerfile, for errors
    beside: Path | None = None
    ignores: bool = False  # .dockerignore counts for local directories only


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedContexts:
    """--build-context: what the plan knows of them, and the directories behind some."""

    contexts: dict[str, NamedContext] = field(default_factory=dict)
    roots: dict[str, Root] = field(default_factory=dict)


class ContextOpener:
    """Opens contexts; `sources` reaches the network, `scratch` is a directory that lives as long as the build.

    `directory` and `reads_ignores` as in BuildOptions.
    """

    def __init__(
        self,
        sources: Callable[[], RemoteSources],
        scratch: Callable[[], Path],
        *,
        keep_git_dir: bool = False,
        directory: str = "",
        reads_ignores: bool = False,
    ) -> None:
        self._directory = directory.strip("/")
        self._reads_ignores = reads_ignores
        self._sources = sources
        self._scratch = scratch
        self._keep_git_dir = keep_git_dir

    def open(self, text: str, file: str, dockerfile: str | None = None) -> BuildContext:
        """Open the context `text` with the Dockerfile `file` ("" for the usual one), or one of the text `dockerfile`.

        Raises ContextError, UsageError."""
        if dockerfile is not None:
            if self._is_archive(text):
                return self._open_archive(text, "", dockerfile.encode())
            root, ignores = self._root(text)
            return BuildContext(root=root, dockerfile=dockerfile.encode(), name="Dockerfile", ignores=ignores)
        if file == STDIN:
            if text == STDIN:
                raise UsageError("context and Dockerfile cannot both come from stdin", remedy="give one as a path")
            data = _limited(sys.stdin.buffer, "stdin")
            root, ignores = self._root(text)
            return BuildContext(root=root, dockerfile=data, name="Dockerfile", ignores=ignores)
        if self._is_archive(text):
            return self._open_archive(text, file)
        if file and is_http(file):
            root, ignores = self._root(text)
            tree = self._sources().file(UrlOrigin(url=file, filename=filename_of(file)))
            with tree.opener(tree.children(".")[0])() as stream:
                return BuildContext(root=root, dockerfile=_limited(stream, file), name=file, ignores=ignores)
        root, ignores = self._root(text)
        assert isinstance(root, Path)
        path = Path(file) if file and ignores else _dockerfile_in(root, file, text, foreign=not ignores)
        return BuildContext(
            root=root, dockerfile=_read(path), name=file or path.name, beside=path if ignores else None, ignores=ignores
        )

    def named(self, given: Mapping[str, str], rules: SourceRules | None = None) -> NamedContexts:
        """Parse --build-context NAME=VALUE. Raises UsageError, ContextError, and what `rules` raise of archives."""
        result = NamedContexts()
        for name, value in given.items():
            if value.startswith(PREFIX_IMAGE):
                result.contexts[name] = ImageContext(reference=value.removeprefix(PREFIX_IMAGE))
            elif value.startswith((PREFIX_LAYOUT, PREFIX_BUILT)):
                result.contexts[name] = ImageContext(reference=value)
            elif value.startswith(PREFIX_STAGE):
                result.contexts[name] = StageContext(stage=value.removeprefix(PREFIX_STAGE))
            elif is_git(value, context=True):
                result.contexts[name] = RemoteContext(origin=parse_git(value))
            elif is_http(value):
                result.contexts[name] = DirectoryContext()
                result.roots[name] = self._archive_at(name, value, rules)
            elif not Path(value).is_dir():
                raise ContextError(f"--build-context {name}={value} is not a directory", remedy="name an existing one")
            else:
                result.contexts[name] = DirectoryContext()
                result.roots[name] = Path(value)
        return result

    def _root(self, text: str) -> tuple[Path, bool]:
        """Return the directory of a context, and whether ignore files count in it."""
        if is_git(text, context=True):
            origin = parse_git(text, keep_git_dir=self._keep_git_dir)
            place = self._sources().checkout(origin)
            if self._directory and not (place / self._directory).resolve().is_relative_to(place.resolve()):
                raise ContextError(f"{self._directory} leads out of {text}", remedy="name a directory of it")
            return place / self._directory, self._reads_ignores
        if is_http(text):
            raise UsageError(f"{text} cannot be combined with -f {STDIN}", remedy="put the Dockerfile into the archive")
        path = Path(text)
        path = path / self._directory
        if not path.is_dir():
            raise ContextError(f"build context {path} is not a directory", remedy="name an existing directory")
        return path, True

    def _is_archive(self, text: str) -> bool:
        if text == STDIN or text.startswith(PREFIX_S3):
            return True
        return (is_http(text) and not is_git(text, context=True)) or Path(text).is_file()

    def _open_archive(self, text: str, file: str, dockerfile: bytes | None = None) -> BuildContext:
        if text == STDIN:
            return self._from_stream(cast(BinaryIO, sys.stdin.buffer), file, "stdin", dockerfile)
        if is_http(text):
            tree = self._sources().file(UrlOrigin(url=text, filename=filename_of(text)))
            with tree.opener(tree.children(".")[0])() as stream:
                return self._from_stream(stream, file, text, dockerfile)
        if text.startswith(PREFIX_S3):
            from tiffin.cache.shared.protocol import UnavailableError
            from tiffin.cache.shared.stores.s3 import open_object

            try:
                with open_object(text, os.environ) as stream:
                    return self._from_stream(stream, file, text, dockerfile)
            except UnavailableError as exc:
                raise ContextError(f"build context {text}: {exc.message}", remedy=exc.remedy) from exc
        with Path(text).open("rb") as stream:
            return self._from_stream(stream, file, text, dockerfile)

    def _from_stream(self, stream: BinaryIO, file: str, what: str, dockerfile: bytes | None) -> BuildContext:
        """Take a tar (plain or compressed) as the context, anything else as a Dockerfile without one."""
        from tiffin.builder.sources.context import ignore_rules_in
        from tiffin.builder.sources.tar_context import is_tar, part_tree, spooled, tar_entries

        spool = spooled(stream, self._scratch() / "context")
        if not is_tar(spool):
            if file:
                raise UsageError(f"{what} is a Dockerfile, so -f {file} makes no sense", remedy="leave -f out")
            with spool.open("rb") as plain:
                return BuildContext(root=None, dockerfile=_limited(plain, what), name="Dockerfile")
        entries = tar_entries(spool, what)
        tree = part_tree(spool, entries, what, directory=self._directory)
        name, data = ("Dockerfile", dockerfile) if dockerfile is not None else _dockerfile_of(tree, file, what)
        rules = ignore_rules_in(tree, name) if self._reads_ignores else None
        if rules is not None:
            tree = part_tree(spool, entries, what, directory=self._directory, rules=rules)
        return BuildContext(root=tree, dockerfile=data, name=name)

    def _archive_at(self, name: str, url: str, rules: SourceRules | None) -> Root:
        origin = UrlOrigin(url=url, filename=filename_of(url))
        if rules is not None:
            decided = rules.source(origin, None)
            assert isinstance(decided, UrlOrigin)
            origin = decided

        def fetch() -> SourceTree:
            from tiffin.builder.sources.tar_context import is_tar, spooled, tar_tree

            tree = self._sources().fetched(origin)
            with tree.opener(tree.children(".")[0])() as stream:
                spool = spooled(stream, self._scratch() / f"context-{len(name)}-{name.encode().hex()}")
            if not is_tar(spool):
                raise ContextError(
                    f"--build-context {name}={url} is not a tar archive", remedy="use ADD for a single file"
                )
            return tar_tree(spool, url)

        return fetch


def _dockerfile_of(tree: LayerTree, file: str, what: str) -> tuple[str, bytes]:
    """Return the name and the text of the Dockerfile of an archive."""
    for name in (file,) if file else DOCKERFILE_NAMES:
        entry = tree.lookup(tree.resolve(name.removeprefix("./")))
        if entry is not None and entry.kind == "file":
            with tree.opener(entry)() as source:
                return name, _limited(source, name)
    raise ContextError(f"{what} has no {file or 'Dockerfile'}", remedy="add one to the archive, or name it with -f")


def _dockerfile_in(root: Path, file: str, shown: str, *, foreign: bool) -> Path:
    """Return the Dockerfile of a directory, never one a link leads out to where the directory is foreign."""
    for name in (file,) if file else DOCKERFILE_NAMES:
        if (root / name).exists():
            path = (root / name).resolve()
            if foreign and not path.is_relative_to(root.resolve()):
                raise ContextError(f"{name} leads out of {shown}", remedy="name a file of the repository")
            return root / name
    raise ContextError(f"{shown} has no {file or 'Dockerfile'}", remedy="create one, or name it with -f")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _limited(stream, str(path))
    except OSError as exc:
        raise ContextError(f"cannot read Dockerfile {path}: {exc.strerror}", remedy="name it with -f") from exc


def _limited(stream: BinaryIO, what: str) -> bytes:
    data = stream.read(MAX_DOCKERFILE_BYTES + 1)
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise ContextError(f"{what} is larger than {MAX_DOCKERFILE_BYTES} bytes", remedy="it is not a Dockerfile")
    return data

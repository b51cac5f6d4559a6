"""What steps read of a build context, for a worker that does not have it.

A recorder answers as the tree it stands before, and remembers what it was asked; the answers are sent, and a replayed
tree gives them again. So only what a step reads is sent, and it reads there what it would read here: a question that
was not foreseen is an error, never a guess. Content goes apart, by its digest.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import BinaryIO

from tiffin.builder.errors import ContextError
from tiffin.builder.farm.values import SentTree
from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import BindMount, GitOrigin, ImageOrigin, OutsideOrigin, RunOp, StageOrigin
from tiffin.builder.layer.index import Entry
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.selection import select_for, walk
from tiffin.builder.sources.trees import ROOT, Opener, SourceTree
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest, HashingWriter

OpenBlob = Callable[[Digest], BinaryIO]


class Recorder:
    """A tree that remembers what was asked of `inner`, and where the content of its files is to be had."""

    def __init__(self, inner: SourceTree) -> None:
        self._inner = inner
        self._entries: dict[str, Entry | None] = {}
        self._children: dict[str, tuple[str, ...]] = {}
        self._resolved: dict[tuple[str, bool], str] = {}
        self._groups: dict[str, Hashable] = {}
        self._read: dict[Digest, Entry] = {}

    def lookup(self, path: str) -> Entry | None:
        found = self._entries[path] = self._inner.lookup(path)
        self._note(found)
        return found

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        found = self._resolved[path, follow_last] = self._inner.resolve(path, follow_last=follow_last)
        return found

    def children(self, path: str) -> Sequence[Entry]:
        found = self._inner.children(path)
        self._children[path] = tuple(entry.path for entry in found)
        for entry in found:
            self._entries[entry.path] = entry
            self._note(entry)
        return found

    def opener(self, entry: Entry) -> Opener:
        return self._inner.opener(entry)

    def link_group(self, entry: Entry) -> Hashable:
        return self._inner.link_group(entry)

    def _note(self, entry: Entry | None) -> None:
        if entry is not None and entry.kind == "file":
            group = self._inner.link_group(entry)
            if group is not None:
                self._groups[entry.path] = group

    def reads(self, entry: Entry) -> None:
        """Note that the content of a file is read. Raises ContextError where its digest is not known."""
        if entry.kind != "file" or not entry.size:
            return
        if not entry.digest:
            raise ContextError(
                f'"{entry.path}" cannot be sent to a farm: its digest is not known', remedy="build without --farm"
            )
        self._read[Digest("sha256", entry.digest)] = entry

    @property
    def files(self) -> dict[Digest, Entry]:
        """A file of each content that is read, empty ones left out."""
        return self._read

    def sent(self) -> SentTree:
        """Return the answers."""
        numbers: dict[Hashable, int] = {}
        return SentTree(
            entries={path: None if entry is None else tuple(entry) for path, entry in self._entries.items()},
            children=dict(self._children),
            resolved=dict(self._resolved),
            groups={path: numbers.setdefault(group, len(numbers)) for path, group in self._groups.items()},
        )


def record(contexts: Contexts, steps: Iterable[Step]) -> dict[OutsideOrigin, Recorder]:
    """Return what `steps` read of the sources outside the build. Raises ContextError, BuildError, RegistryError."""
    found: dict[OutsideOrigin, Recorder] = {}
    for step in steps:
        for item in step.op.inputs():
            if isinstance(item.origin, (StageOrigin, ImageOrigin)):
                continue
            if item.origin not in found:
                found[item.origin] = Recorder(contexts.content(item.origin))
            tree = found[item.origin]
            for chosen in select_for(tree, step, item):
                for _, entry in walk(tree, chosen):
                    tree.reads(entry)
        if isinstance(step.op, RunOp):
            _record_mounts(step.op, found)
    return found


def _record_mounts(op: RunOp, found: dict[OutsideOrigin, Recorder]) -> None:
    """Ask as the preparation of mounts does, which writes sources otherwise than COPY."""
    for mount in op.mounts:
        if isinstance(mount, BindMount) and not isinstance(mount.origin, (StageOrigin, ImageOrigin)):
            tree = found[mount.origin]
            path = tree.resolve(mount.source.strip("/") or ROOT)
            if path != ROOT:
                tree.lookup(path)


class ReplayedTree:
    """A tree of answers; `open_blob` opens the content of a file by its digest."""

    def __init__(self, sent: SentTree, open_blob: OpenBlob) -> None:
        self._sent = sent
        self._open_blob = open_blob
        self._entries = {path: None if fields is None else Entry._make(fields) for path, fields in sent.entries.items()}

    def lookup(self, path: str) -> Entry | None:
        if path in self._entries:
            return self._entries[path]
        if (path.rpartition("/")[0] or ROOT) in self._sent.children:
            return None  # everything in that directory is known
        raise _unforeseen(path)

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        try:
            return self._sent.resolved[path, follow_last]
        except KeyError:
            raise _unforeseen(path) from None

    def children(self, path: str) -> Sequence[Entry]:
        if path not in self._sent.children:
            raise _unforeseen(path)
        found = [self._entries[child] for child in self._sent.children[path]]
        return [entry for entry in found if entry is not None]

    def opener(self, entry: Entry) -> Opener:
        if not entry.size:
            return io.BytesIO
        return lambda: self._open_blob(Digest("sha256", entry.digest))

    def link_group(self, entry: Entry) -> Hashable:
        return self._sent.groups.get(entry.path)


def _unforeseen(path: str) -> ContextError:
    return ContextError(
        f'a step read "{path}" of its context, which was not foreseen and so not sent to the farm',
        remedy="build without --farm, and report it",
    )


class SentContexts(Contexts):
    """The sources of a unit, as they were sent."""

    def __init__(self, trees: dict[OutsideOrigin, SourceTree]) -> None:
        self._sent = trees

    def tree(self, origin: OutsideOrigin) -> SourceTree:
        """Return the files of an origin. Raises ContextError for one that was not sent."""
        if origin not in self._sent:
            raise ContextError(f"{origin} was not sent to the farm", remedy="build without --farm, and report it")
        return self._sent[origin]

    def content(self, origin: OutsideOrigin) -> SourceTree:
        """Return the same."""
        return self.tree(origin)

    def commit(self, origin: GitOrigin) -> str:
        """Raise ContextError: keys were computed before."""
        raise ContextError(f"{origin} is not asked on a farm", remedy="build without --farm, and report it")

    def save(self) -> None:
        """Do nothing: nothing was learned."""


def content(tree: SourceTree, entry: Entry, digest: Digest) -> Iterator[bytes]:
    """Yield the content of a file. Raises ContextError at its end where it is not what its key was made of."""
    hashed = HashingWriter(algorithm=digest.algorithm)
    with tree.opener(entry)() as stream:
        while data := stream.read(COPY_CHUNK_BYTES):
            hashed.write(data)
            yield data
    if hashed.digest != digest:
        raise ContextError(f'"{entry.path}" changed while it was read', remedy="build again when it is at rest")

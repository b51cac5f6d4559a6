"""Find out what a RUN reads of the layers that COPY and ADD made.

A record by reads holds over other layers than those it was made on where these have the same shape (all of a table but
the content of files, and times, which no key counts), and every file that the step looked up has the same content. What
the base and other RUN steps made counts as a whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.execute.steps import LayerReads, StepTask, Surroundings
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.sandbox.child.reading.question import answer_path, read_answer, written
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

NO_CONTENT = hashlib.sha256().hexdigest()


class ReadsOfLayers(LayerReads):
    """Reads tables of contents."""

    def __init__(self, layers: LayerStore) -> None:
        self._layers = layers

    def surroundings(self, task: StepTask) -> Surroundings | None:
        hasher = hashlib.sha256(b"tiffin shape 1\n")
        contents: dict[str, str] = {}
        for number, layer in enumerate(task.chain):
            if number not in task.watched:
                hasher.update(b"layer %s\n" % str(layer.diff_id).encode())
                continue
            table = self._layers.ensure_index(layer.diff_id, layer.blob)
            hasher.update(b"table %d\n" % len(table.entries))
            for entry in table.entries:
                hasher.update(_shape(entry, table.implied))
            if not _note_contents(table, contents):
                return None
        layers = tuple(task.chain[number].diff_id for number in sorted(task.watched))
        return Surroundings(shape=Digest("sha256", hasher.hexdigest()), contents=contents, layers=layers)

    def contents(self, layers: Sequence[Digest]) -> Mapping[str, str] | None:
        contents: dict[str, str] = {}
        for diff_id in layers:
            if not self._layers.has(diff_id):
                return None
            _note_contents(self._layers.ensure_index(diff_id, None), contents)
        return contents

    def different(self, before: Digest, after: Digest) -> Sequence[str]:
        ours, theirs = (_without_times(self._layers.ensure_index(diff_id, None)) for diff_id in (before, after))
        return sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))


class ReadsWatch:
    """Watches one run of a command."""

    def __init__(self, surroundings: Surroundings, scratch: Path) -> None:
        self._contents = surroundings.contents
        self._question = scratch / "watched"

    def ask(self, spec: SandboxSpec) -> SandboxSpec:
        """Return the sandbox of the command as one that tells what is looked up."""
        self._question.write_bytes(written(self._contents))
        return replace(spec, watched=os.fspath(self._question))

    def reads(self, changes: Iterable[Change]) -> Mapping[str, str] | None:
        """Return the digests of the files that were read, None where that is not certain; `changes`: all that the
        upper directory holds.
        """
        try:
            found = read_answer(Path(answer_path(os.fspath(self._question))).read_bytes())
        except OSError:
            return None
        if found is None:
            return None
        return {path: self._contents[path] for path in sorted({*found, *_touched(changes, self._contents)})}


def _touched(changes: Iterable[Change], contents: Mapping[str, str]) -> set[str]:
    """Return the watched files that changes are about: the kernel forgets names that were removed."""
    result = set()
    whole = set()  # what hides all that is below it
    for change in changes:
        entry = change.entry
        if entry.path in contents:
            result.add(entry.path)
        if entry.opaque or entry.kind != "dir":
            whole.add(entry.path)
    if ROOT in whole:
        return set(contents)
    return result | {path for path in contents if any(parent in whole for parent in _parents(path))}


def _parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _shape(entry: Entry, implied: Collection[str]) -> bytes:
    """Return all of an entry but what it holds, how much, and since when."""
    shape = (*entry[:5], entry.link, entry.xattrs, entry.major, entry.minor, entry.opaque, entry.path in implied)
    return repr(shape).encode("utf-8", "surrogateescape") + b"\n"


def _note_contents(table: LayerIndex, contents: dict[str, str]) -> bool:
    """Note what the paths of a layer hold; False where that is not known of one."""
    for entry in table.entries:
        file = table.get(entry.link) if entry.kind == "hardlink" else entry
        if file is None:
            return False
        if file.kind == "file":
            contents[entry.path] = file.digest or ("" if file.size else NO_CONTENT)
            if not contents[entry.path]:
                return False
        else:
            contents.pop(entry.path, None)
    return True


def _without_times(table: LayerIndex) -> dict[str, Entry]:
    return {entry.path: entry._replace(mtime_ns=0, offset=-1) for entry in table.entries}

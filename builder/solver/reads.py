"""Records by reads: a RUN is found again where no file changed that it looked up.

They are found by the shape of what the step stands on, and name each file that it read with its content. They hold over
every chain of layers of that shape with this content in these files: in the place of a ChainID `parent_chain` has the
shape, so that nobody who looks for another kind of record takes one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.execute.steps import LayerReads, StepTask, Surroundings
from tiffin.builder.instructions.ops import RunOp
from tiffin.builder.solver.results import ReadsHit, below
from tiffin.builder.solver.step_keys import READS, StepLook, by_reads_key
from tiffin.cache.backend import MAX_PART_CHARACTERS, StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.keys import KeyPart, step_key

VERSION = "1"  # of what is watched, and how
READ, OVER = "read", "over"  # parts of a record: one file, a watched layer below
MAX_READ_BYTES = 2 << 20  # of paths and digests; a step that reads more has no such record


class ReadsLook:
    """Looks one step up by its reads, and records them. `changed`: read files that kept a record from being used."""

    def __init__(
        self,
        task: StepTask,
        look: StepLook,
        copied: Mapping[str, str],
        cache: Tiered,
        layer_reads: LayerReads,
        surroundings: Surroundings,
    ) -> None:
        self._task = task
        self._look = look
        self._cache = cache
        self._layer_reads = layer_reads
        self._surroundings = surroundings
        self._key = step_key(
            (
                KeyPart(READS, VERSION),
                KeyPart("shape", str(surroundings.shape)),
                *look.content_parts,
                *(KeyPart(*item) for item in copied.items()),
            )
        )
        self.task = replace(task, surroundings=surroundings)  # as it is executed
        self.changed: tuple[str, ...] = ()
        self._found: tuple[Digest, StepRecord] | None = None

    def find(self, has: Callable[[Digest], bool]) -> StepRecord | None:
        """Return what running the step would give, as a record that holds over the layers there are now."""
        newest = self._valid(self._key, has)
        if newest is None:
            return None
        now = self._now(newest[1])
        if now == newest[1]:
            return self._taken(self._key, newest[0])
        # the same files may have had this content before
        key = self._exact_key(_lines(now))
        known = self._valid(key, has)
        if known is not None and self._now(known[1]) == known[1]:
            return self._taken(key, known[0])
        self.changed = tuple(path for path, digest in newest[1].items() if now[path] != digest)
        return None

    def wants_proof(self) -> bool:
        """Whether what was found is to be compared with what running gives, as chance and --verify-reads say."""
        op = self._task.stage.steps[self._task.number].op
        return isinstance(op, RunOp) and random.random() * 100 < op.run_defaults.verify_reads_percent

    def hit(self) -> ReadsHit:
        """Return what is told of the record that was found."""
        assert self._found is not None
        record = self._found[1]
        reads = reads_of(record) or {}
        before = self._layer_reads.contents([Digest.parse(part.value) for part in record.parts if part.name == OVER])
        changed = None
        if before is not None:
            now = self._surroundings.contents
            changed = sum(1 for path, digest in now.items() if path not in reads and before.get(path) != digest)
        return ReadsHit(read=len(reads), changed=changed)

    def source(self) -> str:
        """Return the name of the cache that had the record."""
        assert self._found is not None
        return self._cache.source(self._found[0])

    def records_of_hit(self, record: StepRecord) -> dict[Digest, StepRecord]:
        """Return the records to keep, by key, where `record` was found: a build of the same files finds it at once."""
        assert self._found is not None
        return {by_reads_key(self._look.key): record, self._found[0]: self._found[1]}

    def records(self, record: StepRecord, reads: Mapping[str, str] | None) -> dict[Digest, StepRecord]:
        """Return the records to keep, by key, of a step that ran and read this; none where that is not certain."""
        if reads is None:
            return {}
        lines = _lines(reads)
        if sum(map(len, lines)) > MAX_READ_BYTES or max(map(len, lines), default=0) > MAX_PART_CHARACTERS:
            return {}
        parts = (
            KeyPart(READS, _summary(lines)),
            *(KeyPart(OVER, str(diff_id)) for diff_id in self._surroundings.layers),
            *(KeyPart(READ, line) for line in lines),
        )
        found = replace(record, parent_chain=self._surroundings.shape, parts=parts)
        return {self._key: found, self._exact_key(lines): found}

    def _valid(self, key: Digest, has: Callable[[Digest], bool]) -> tuple[StepRecord, dict[str, str]] | None:
        record = self._cache.get_many([key]).get(key)
        if record is None or record.parent_chain != self._surroundings.shape or not has(record.diff_id):
            return None
        reads = reads_of(record)
        return None if reads is None else (record, reads)

    def _now(self, reads: Mapping[str, str]) -> dict[str, str]:
        """Return the digests that these files have now, "" for none."""
        return {path: self._surroundings.contents.get(path, "") for path in reads}

    def _exact_key(self, lines: Sequence[str]) -> Digest:
        return step_key((KeyPart("by", str(self._key)), KeyPart(READS, _summary(lines))))

    def _taken(self, key: Digest, record: StepRecord) -> StepRecord:
        self._found = (key, record)
        step = self._task.stage.steps[self._task.number]
        return replace(record, parent_chain=below(step, self._task.chain), parts=self._look.parts)


def reads_of(record: StepRecord) -> dict[str, str] | None:
    """Return the digests of what a step read by path, None for a record that does not tell all of it."""
    lines = [part.value for part in record.parts if part.name == READ]
    if [part.value for part in record.parts if part.name == READS] != [_summary(lines)]:
        return None
    return {path: digest for digest, _, path in (line.partition(" ") for line in lines)}


def _lines(reads: Mapping[str, str]) -> list[str]:
    return [f"{digest} {path}" for path, digest in sorted(reads.items())]


def _summary(lines: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{len(lines)} {digest}"

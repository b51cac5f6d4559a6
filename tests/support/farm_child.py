"""In the place of the process that makes a unit: it answers by what the command of the first step says, and runs
nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import BinaryIO, cast

from tiffin.builder.errors import BuildError
from tiffin.builder.events import StepOutput, StepStarted
from tiffin.builder.farm.pipes import read_frame, write_frame
from tiffin.builder.farm.values import (
    AskAgent,
    AskBlob,
    AskRecord,
    Ended,
    Failure,
    Filling,
    Happened,
    Made,
    Records,
    Unit,
    failure_of,
)
from tiffin.builder.solver.results import StepMade, below
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef


def main() -> None:
    """Make one unit."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=0)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)

    def tell(value: object) -> None:
        write_frame(cast(BinaryIO, outgoing), encode(value))

    def asked(question: object) -> object:
        tell(question)
        return decode(read_frame(cast(BinaryIO, incoming)) or b"")

    data = read_frame(cast(BinaryIO, incoming))
    if data is None:
        return
    unit: Unit = decode(data)
    for task, look in zip(unit.tasks, unit.looks, strict=True):
        step = task.stage.steps[task.number]
        tell(Happened(unit=unit.name, event=StepStarted(step_id=task.step_id, name=step.text)))
        if "sleep" in step.text:
            time.sleep(600)
        if "late" in step.text:  # where it is begun for the first time
            with contextlib.suppress(FileExistsError):
                os.close(os.open(step.text.split()[-1], os.O_CREAT | os.O_EXCL))
                time.sleep(600)
        if "crash" in step.text:
            os._exit(3)
        if "fail" in step.text:
            tell(Ended(unit=unit.name, failure=failure_of(BuildError("it failed", span=step.span))))
            return
        if "full" in step.text:
            tell(Ended(unit=unit.name, failure=Failure(kind="machine", message="no space left")))
            return
        if "ask" in step.text:
            found = asked(AskRecord(unit=unit.name, keys=(look.key,)))
            assert isinstance(found, Records)
            answers: list[object] = [found]
            refs = [record.layer for record in found.records.values() if record.layer is not None]
            refs += [BlobRef(media_type="", digest=digest, size_bytes=-1) for digest in sorted(unit.holders)]
            refs.append(BlobRef(media_type="", digest=Digest.of(b"of the driver"), size_bytes=13))
            answers += [asked(AskBlob(unit=unit.name, ref=ref)) for ref in refs]
            answers += [asked(AskBlob(unit=unit.name, ref=refs[-1], last=True))]
            answers += [asked(AskAgent(unit=unit.name, number=7, agent=name, request=b"!")) for name in ("id", "no")]
            text = " ".join(map(repr, answers)).encode()
            tell(Happened(unit=unit.name, event=StepOutput(step_id=task.step_id, stream=1, data=text)))
        made = step.text.encode()
        record = StepRecord(
            diff_id=Digest.of(made),
            parent_chain=below(step, task.chain),
            created="2026-01-01T00:00:00Z",
            seconds=1.0,
            parts=look.parts,
            layer=BlobRef(media_type="application/vnd.oci.image.layer.v1.tar", digest=Digest.of(made), size_bytes=9),
            empty=False,
            description=step.text,
        )
        tell(Made(unit=unit.name, made=StepMade(record=record, keys=(look.key,), source=None)))
    last = unit.tasks[-1].stage.steps[unit.tasks[-1].number].text
    shared: tuple[Digest, ...] = ()
    if "fill" in last:  # until there is a file
        tell(Filling(unit=unit.name))
        while not os.path.exists(last.split()[-1]):
            time.sleep(0.05)
        shared = (Digest.of(last.encode()),)
    if "linger" in last:
        time.sleep(600)
    tell(Ended(unit=unit.name, shared=shared))


if __name__ == "__main__":
    main()
    sys.exit(0)

"""The process in which a worker makes a unit, as a fork of this one: it enters a namespace for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from tests.fakes.sink import RecordingSink
from tests.fakes.step_cache import MemoryCache
from tests.support.plans import FakeBuild
from tiffin.builder.api.farm import child
from tiffin.builder.errors import BuildError
from tiffin.builder.farm.executor import FarmBuild, FarmExecutor
from tiffin.builder.farm.jobs import Job
from tiffin.builder.farm.pipes import read_frame, write_frame
from tiffin.builder.farm.urgency import ranks_of
from tiffin.builder.farm.values import (
    AgentSaid,
    AskAgent,
    AskBlob,
    AskRecord,
    Brought,
    Ended,
    Happened,
    Made,
    Records,
    error_of,
)
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.sharing.options import CacheSpec
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.backend import Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import Snapshots
from tiffin.cache.store.statedir import StateDir

pytestmark = pytest.mark.userns
GZIP = Compression(kind="gzip")


class ForkFarm:
    """A farm whose one worker is forks of this process, with a state directory of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.blobs = BlobStore(StateDir.open(root))
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        for digest in job.files:
            self.blobs.put(b"".join(job.source.pieces(digest)))
        to_child, from_child = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.environ["TIFFIN_ROOT"] = str(self._root)
                os.dup2(to_child[0], 0)
                os.dup2(from_child[1], 1)
                os.closerange(3, max(*to_child, *from_child) + 1)
                child.make_unit(child.Ready())
            finally:
                os._exit(9)
        os.close(to_child[0])
        os.close(from_child[1])
        threading.Thread(target=self._serve, args=(job, pid, to_child[1], from_child[0])).start()

    def _serve(self, job: Job, pid: int, outgoing: int, incoming: int) -> None:
        ended: Ended | None = None
        with os.fdopen(outgoing, "wb", buffering=0) as sink, os.fdopen(incoming, "rb", buffering=0) as source:
            write_frame(cast(BinaryIO, sink), encode(job.left(lambda digest: ())))
            while (data := read_frame(cast(BinaryIO, source))) is not None:
                match decode(data):
                    case Made(made=made):
                        job.made(made)
                    case Happened(event=event):
                        job.source.sink.emit(event)
                    case AskRecord(unit=unit, keys=keys):
                        write_frame(cast(BinaryIO, sink), encode(Records(unit=unit, records=job.source.records(keys))))
                    case AskBlob(unit=unit, ref=ref):
                        answer = Brought(unit=unit, digest=ref.digest, is_here=False, reason="nobody has it")
                        write_frame(cast(BinaryIO, sink), encode(answer))
                    case AskAgent(unit=unit, number=number, agent=agent, request=request):
                        said = AgentSaid(unit=unit, number=number, answer=job.source.agent(agent, request))
                        write_frame(cast(BinaryIO, sink), encode(said))
                    case Ended() as found:
                        ended = found
        os.waitpid(pid, 0)
        assert ended is not None
        job.filled(ended.shared)
        job.end(error_of(ended.failure) if ended.failure is not None else None)

    def cancel(self, jobs: object) -> None:
        raise AssertionError("nothing is canceled here")

    def new_name(self, text: str) -> str:
        return f"{text} {len(self.jobs)}"

    def expect(self, build: object, seconds: float) -> None:
        pass

    def fetch(self, ref: object, blobs: object) -> bool:
        return False


Built = Callable[..., tuple[list[Digest], ForkFarm, RecordingSink]]


@pytest.fixture
def built(tmp_path: Path) -> Built:
    build = FakeBuild.at(tmp_path)
    build.files.update({"data/file": "content", "data/other": "", "more": "words"})
    farm = ForkFarm(tmp_path / "worker")

    def made(text: str, **more: object) -> tuple[list[Digest], ForkFarm, RecordingSink]:
        blobs, sink = BlobStore(build.state), RecordingSink()
        build.cache = MemoryCache()  # of a driver that knows nothing
        parts = FarmBuild(
            contexts=build.contexts(),
            layers=LayerStore(build.state, blobs, Snapshots(build.state), lambda ref, _: None),
            blobs=blobs,
            cache=Tiered([build.cache]),
            sink=sink,
            origins=lambda digest: (),
            expect=lambda ref, diff_id: None,
            shared=lambda ref, for_target: None,
            **more,  # type: ignore[arg-type]
        )
        executor = FarmExecutor(lambda: farm, parts, ranks_of(build.plan(text)), (), GZIP, 1_700_000_000)
        executor.takes = lambda tasks: True  # type: ignore[method-assign]
        chain = build.solver(text).solve(build.executor, executor)
        return [layer.diff_id for layer in chain], farm, sink

    return made


def test_copies_are_made_from_what_was_sent(built: Built, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY data /data/\nWORKDIR /work\nCOPY --chmod=600 more* ./\n"
    chain, farm, _ = built(text)
    assert len(chain) == 3 and all(job.is_complete for job in farm.jobs)
    assert all(farm.blobs.has(made.record.layer.digest) for made in farm.jobs[0]._made)  # type: ignore[union-attr]
    again, _, sink = built(text)
    assert again == chain and [source for _, source in sink.cached()] == ["local"] * 3


def test_layers_go_up_to_the_shared_cache(built: Built, tmp_path: Path) -> None:
    cache = CacheSpec(kind="dir", place=str(tmp_path / "shared"), reads=True, writes=True, mode="max")
    _, farm, _ = built("FROM scratch\nCOPY more /\n", caches=(cache,))
    kept = {path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    layer = farm.jobs[0]._made[0].record.layer
    assert layer is not None and layer.digest.hex in kept
    assert list(farm.jobs[0].shared_layers()) == [(layer, True)]


def test_a_command_that_fails_is_told(built: Built) -> None:
    with pytest.raises(BuildError):
        built('FROM scratch\nCOPY more /\nRUN ["/nothing"]\n')


def test_a_base_that_nobody_has_is_told(built: Built) -> None:
    with pytest.raises(Exception, match="nobody has it"):
        built("FROM base\nCOPY more /x/\n")


def test_a_machine_says_what_it_can(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tiffin.builder.api.farm.child", ""]
    done = subprocess.run(
        argv, env={**os.environ, "TIFFIN_ROOT": str(tmp_path / "state")}, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["native"] and found["cores"] > 0 and found["tier"]
    assert not set(found["native"]) & set(found["emulated"])

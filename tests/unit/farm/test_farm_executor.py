"""What a build gives to a farm, and takes from it; the farm is a thread that makes what a fake executor makes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.sink import RecordingSink
from tests.support.plans import FakeBuild
from tiffin.builder.errors import BuildError, CanceledError, StoreError
from tiffin.builder.execute.ssh_agents import Agents
from tiffin.builder.farm.executor import UNCOMPRESSED, FarmBuild, FarmExecutor
from tiffin.builder.farm.jobs import Job, layers_of
from tiffin.builder.farm.urgency import ranks_of
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.sharing.options import CacheSpec
from tiffin.builder.solver.results import layer_of
from tiffin.builder.solver.step_runner import StepRunner
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.backend import Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace as changed
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef, Snapshots

GZIP = Compression(kind="gzip")
TEXT = """\
FROM base AS one
RUN first
RUN second
FROM base AS two
COPY file /file
RUN --mount=type=secret,id=word third
FROM base
COPY --from=one /x /x
COPY --from=two /y /y
RUN last
"""


class FakeFarm:
    """Makes units with the executor of a FakeBuild, each in a thread; `fails` ends one by its name."""

    def __init__(self, build: FakeBuild) -> None:
        self._build = build
        self.jobs: list[Job] = []
        self.canceled: list[Job] = []
        self.expected: list[float] = []
        self.fails: dict[str, BaseException] = {}
        self.hangs: set[str] = set()
        self.fills: threading.Event | None = None  # whether shared caches are filled, until it is set
        self.is_filled = False
        self.shared: list[tuple[Digest, bool]] = []  # what the build was told

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        threading.Thread(target=self._make, args=(job,), daemon=True).start()

    def _make(self, job: Job) -> None:
        unit = decode(encode(job.left(lambda digest: ())))
        runner = StepRunner(cache=Tiered([self._build.cache]), state=self._build.state, sink=RecordingSink())
        label = job.label()
        if any(text in label for text in self.hangs):
            return
        for text, error in self.fails.items():
            if text in label:
                while len(self.jobs) < 2:  # the other stage has begun, too
                    time.sleep(0.01)
                job.end(error)
                return
        chain = unit.tasks[0].chain
        for task, look in zip(unit.tasks, unit.looks, strict=True):
            made = runner.run(changed(task, chain=chain), look, self._build.executor)
            job.made(made)
            chain = (*chain, layer_of(made.record))
        if not self.fills:
            job.end()
            return
        job.fills()
        job.end()
        self.fills.wait()
        self.is_filled = True
        job.filled([made.record.layer.digest for made in job._made[:1] if made.record.layer is not None])

    def cancel(self, jobs: Sequence[Job]) -> None:
        self.canceled += jobs
        for job in jobs:
            job.end(CanceledError())

    def new_name(self, text: str) -> str:
        return f"{text} {len(self.jobs)} {threading.get_ident()}"

    def expect(self, build: object, seconds: float) -> None:
        self.expected.append(seconds)

    def fetch(self, ref: BlobRef, blobs: BlobStore) -> bool:
        return False


Make = Callable[..., tuple[FarmExecutor, FakeFarm, FakeBuild]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    build = FakeBuild.at(tmp_path)
    build.files["file"] = "content"
    farm = FakeFarm(build)

    def made(
        text: str = TEXT, compression: Compression | None = GZIP, **more: object
    ) -> tuple[FarmExecutor, FakeFarm, FakeBuild]:
        blobs, kept = BlobStore(build.state), list[Digest]()
        layers = LayerStore(build.state, blobs, Snapshots(build.state), lambda ref, _: kept.append(blobs.put(b"x")))
        parts = FarmBuild(
            contexts=build.contexts(),
            layers=layers,
            blobs=blobs,
            cache=Tiered([build.cache]),
            sink=RecordingSink(),
            origins=lambda digest: (("registry.example", "base"),),
            expect=lambda ref, diff_id: None,
            shared=lambda ref, for_target: farm.shared.append((ref.digest, for_target)),
            secrets={"word": b"hush", "other": b"unasked"},
        )
        parts = changed(parts, **more)
        plan = build.plan(text)
        pending = [(stage, number) for stage in plan.stages.values() for number in range(len(stage.steps))]
        return FarmExecutor(lambda: farm, parts, ranks_of(plan), pending, compression, None), farm, build

    return made


def test_a_build_on_a_farm_has_the_layers_of_a_local_one(make: Make, tmp_path: Path) -> None:
    executor, farm, build = make()
    chain = build.solver(TEXT).solve(build.executor, executor)
    local = FakeBuild.at(tmp_path / "local")
    local.files["file"] = "content"
    assert [layer.diff_id for layer in chain] == [layer.diff_id for layer in local.cook(TEXT)[0]]
    units = {job.label().partition("]")[0]: job for job in farm.jobs}
    assert {len(job.unit.tasks) for job in farm.jobs} >= {2}
    two = next(job for name, job in units.items() if "two" in name)
    assert two.unit.secrets == {"word": b"hush"} and "hush" not in repr(two.unit)
    assert two.files == {Digest.of(b"content"): 7}
    assert b"".join(two.source.pieces(Digest.of(b"content"))) == b"content"
    one = next(job for name, job in units.items() if "one" in name)
    assert one.unit.secrets == {} and one.step.rank > 20 and one.step.platform == "linux/amd64"
    assert set(one.unit.origins.values()) == {(("registry.example", "base"),)}
    assert one.is_complete and one.unit.others == UNCOMPRESSED


def test_a_build_waits_for_shared_caches_at_its_end_alone(make: Make) -> None:
    executor, farm, build = make()
    farm.fills = threading.Event()
    solving = threading.Thread(target=build.solver(TEXT).solve, args=(build.executor, executor), daemon=True)
    solving.start()
    deadline = time.monotonic() + 20
    while not any(job.is_over and "last" in job.unit.tasks[-1].stage.steps[-1].text for job in list(farm.jobs)):
        assert time.monotonic() < deadline, "no stage waits for what another one brings into shared caches"
        time.sleep(0.01)
    solving.join(0.2)
    assert solving.is_alive()
    farm.fills.set()
    solving.join(20)
    assert not solving.is_alive() and farm.is_filled and not any(job.is_filling for job in farm.jobs)
    made = [(job._made[0].record.layer, job.unit.tasks[0].for_target) for job in farm.jobs]
    first = {layer.digest: for_target for layer, for_target in made if layer is not None}
    assert dict(farm.shared) == first and set(first.values()) == {True, False}


def test_a_stopped_executor_wants_no_shared_cache_filled(make: Make) -> None:
    executor, farm, build = make("FROM base\nRUN first\n")
    farm.fills = threading.Event()
    solving = threading.Thread(target=build.solver("FROM base\nRUN first\n").solve, args=(build.executor, executor))
    solving.start()
    while not (farm.jobs and farm.jobs[0].is_over):
        time.sleep(0.01)
    time.sleep(0.1)
    executor.stop()
    solving.join(20)
    assert not solving.is_alive() and farm.canceled == farm.jobs


def test_the_error_of_a_step_ends_the_build(make: Make) -> None:
    executor, farm, build = make()
    farm.fails["first"] = BuildError("first failed")
    farm.hangs.add("COPY file")
    with pytest.raises(BuildError, match="first failed"):
        build.solver(TEXT).solve(build.executor, executor)
    assert [job for job in farm.canceled if "two" in job.label()]


def test_a_stopped_executor_begins_nothing(make: Make) -> None:
    executor, farm, build = make()
    executor.stop()
    with pytest.raises(Exception):  # noqa: B017  # canceled, or what follows from it
        build.solver("FROM base\nRUN first\n").solve(build.executor, executor)
    assert farm.jobs == []


def test_small_copies_stay_here(make: Make) -> None:
    executor, farm, build = make("FROM scratch\nCOPY file /\n")
    build.solver("FROM scratch\nCOPY file /\n").solve(build.executor, executor)
    assert farm.jobs == [] and build.executor.executed == ["COPY file /"]


@pytest.mark.parametrize("text", ["FROM base\nCOPY file /\n", "FROM scratch\nCOPY --chown=a file /\n",
                                  "FROM scratch\nCOPY --from=base /a /\n"])  # fmt: skip
def test_what_reads_layers_goes_to_a_worker(make: Make, text: str) -> None:
    executor, farm, build = make(text)
    build.solver(text).solve(build.executor, executor)
    assert len(farm.jobs) == 1 and farm.jobs[0].step.platform == ""


def test_layers_are_packed_as_shared_caches_want_them(make: Make) -> None:
    spec = CacheSpec(kind="dir", place="/x", reads=True, writes=True, mode="max")
    for caches, compression, others in (
        ((spec,), GZIP, "gzip"),
        ((spec,), Compression(kind="zstd"), "zstd"),
        ((changed(spec, mode="min"),), GZIP, "none"),
        ((changed(spec, mode="min"),), None, "gzip"),
        ((changed(spec, writes=False),), GZIP, "none"),
    ):
        executor, farm, build = make("FROM base\nRUN x\n", compression, caches=caches)
        build.solver("FROM base\nRUN x\n", use_cache=False).solve(build.executor, executor)
        assert farm.jobs[-1].unit.others.kind == others


def test_workers_ask_the_caches_of_the_build(make: Make) -> None:
    executor, farm, build = make("FROM base\nRUN x\n", isolation="single")
    build.solver("FROM base\nRUN x\n").solve(build.executor, executor)
    job = farm.jobs[0]
    assert job.step.labels == {"isolation=single"}
    keys = list(build.cache._records) if hasattr(build.cache, "_records") else []
    found = job.source.records(keys)
    assert all(record.layer is not None for record in found.values())
    assert job.source.bring(BlobRef(media_type="", digest=Digest.of(b"y"), size_bytes=-1))
    assert job.source.bring(BlobRef(media_type="", digest=Digest.of(b"x"), size_bytes=1)) == ""
    assert b"".join(job.source.pieces(Digest.of(b"x"))) == b"x"


def test_a_job_that_failed_goes_elsewhere_with_what_is_left(make: Make) -> None:
    executor, farm, build = make("FROM base\nRUN one\nRUN two\n")
    build.solver("FROM base\nRUN one\nRUN two\n").solve(build.executor, executor)
    job = farm.jobs[0]
    again = Job(job.unit, job.step, job.files, job.source)
    made = job._made[0]
    again.made(made)
    assert again.label().endswith("RUN two") and not again.is_complete
    again.failed_at("a", {"a": 1, "b": 2})
    assert again.step.avoid == {"a"} and again.tried == ["a"]
    assert (str(made.record.layer.digest), made.record.layer.size_bytes) in again.step.layers  # type: ignore[union-attr]
    left = again.left(lambda digest: ("tcp://a",))
    assert len(left.tasks) == 1 and set(left.holders) == set(layers_of(left.tasks))
    again.failed_at("b", {"b": 2})
    assert again.step.avoid == frozenset()  # nobody else is there
    again.end(StoreError("over"))
    again.end()
    assert isinstance(again.results.get(), type(made)) and isinstance(again.results.get(), StoreError)
    assert again.results.empty() and replace(again.step).name == again.name


def test_a_farm_is_told_what_is_still_to_come(make: Make) -> None:
    executor, farm, build = make()
    build.solver(TEXT).solve(build.executor, executor)
    assert max(farm.expected) >= 10, "a command of another stage, or the last one"
    assert farm.expected[-2:] == [0, 0], "all was submitted, and then the build ended"


def test_a_unit_has_the_agents_and_profiles_that_its_steps_use(make: Make, tmp_path: Path) -> None:
    executor, farm, build = make(
        "FROM base\nRUN --mount=type=ssh one\n", agents=Agents({"default": lambda request: b"said", "other": bytes})
    )
    build.solver("FROM base\nRUN --mount=type=ssh one\n").solve(build.executor, executor)
    (job,) = farm.jobs
    assert job.unit.agents == {"default"}
    assert job.source.agent("default", bytes([11])) == b"said"
    assert job.source.agent("default", bytes([17])) == bytes([5]), "what is not listing or signing is refused"
    assert job.source.agent("nobody", bytes([11])) == bytes([5])

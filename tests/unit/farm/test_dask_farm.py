"""Drivers and workers over Dask's own scheduler in this process; only what makes a unit is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Scheduler, Worker

from tests.fakes.sink import RecordingSink
from tests.support.plans import FakeBuild
from tiffin.builder.errors import BuildError, CanceledError, MissingBlobError, StoreError
from tiffin.builder.events import StepOutput, StepStarted, WarningMessage
from tiffin.builder.farm.address import FarmAccess
from tiffin.builder.farm.dask import host, sessions
from tiffin.builder.farm.dask.driver import Farm
from tiffin.builder.farm.fleet import Step
from tiffin.builder.farm.jobs import Job, Source
from tiffin.builder.farm.values import Ended, Unit
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.solver.results import StepMade
from tiffin.builder.solver.step_keys import StepLook
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore")]
SECONDS = 30
LOOK = StepLook(key=Digest.of(b"key"), parts=(), content_parts=())
FILE = b"a file of the context"
MACHINE = {"tier": "single", "runs": True, "native": ["amd64"], "emulated": [], "cores": 2, "memory_bytes": 1 << 30}
Start = Callable[..., Any]


class Cluster:
    """A scheduler, and workers by name, in a loop of a thread."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self._place = place
        self._patch = patch
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.workers: dict[str, Worker] = {}
        self.scheduler = self.do(self._scheduler())

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _scheduler(self) -> Any:
        return await Scheduler(host="127.0.0.1", port=0, dashboard=False)

    def add(self, name: str, slots: int = 1, *, is_plain: bool = False) -> BlobStore:
        """Start a worker, or a plain one of Dask; return what is in its state directory."""
        root = self._place / name
        self._patch.setenv("TIFFIN_ROOT", str(root))
        self.workers[name] = self.do(self._worker(name, slots, () if is_plain else (host.FarmPlugin(),)))
        return BlobStore(StateDir.open(root))

    async def _worker(self, name: str, slots: int, plugins: tuple[host.FarmPlugin, ...]) -> Any:
        scratch = str(self._place / f"scratch-{name}")
        return await Worker(
            self.scheduler.address, host="127.0.0.1", nthreads=slots, name=name, memory_limit=0, dashboard=False,
            local_directory=scratch, plugins=plugins,
        )  # fmt: skip

    def remove(self, name: str) -> None:
        self.do(self.workers.pop(name).close(timeout=2, nanny=False))

    def close(self) -> None:
        for name in list(self.workers):
            self.remove(name)
        self.do(self.scheduler.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    async def describe(self: host.UnitHost) -> None:
        self._machine = MACHINE

    def start(self: sessions.UnitServer) -> subprocess.Popen[bytes]:
        argv = (sys.executable, "-m", "tests.support.farm_child")
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    monkeypatch.setattr(host.UnitHost, "describe", describe)
    monkeypatch.setattr(sessions.UnitServer, "start", start)
    with dask.config.set(
        {"temporary-directory": str(tmp_path)}
    ):  # else Dask's scheduler makes one for all users in /tmp
        made = Cluster(tmp_path, monkeypatch)
        yield made
        made.close()


@pytest.fixture
def farm(cluster: Cluster) -> Iterator[Farm]:
    cluster.add("first")
    said: list[str] = []
    made = Farm(FarmAccess(address=cluster.scheduler.address, wait_seconds=1.0), said.append)
    yield made
    made.close()
    made.close()
    assert said == []


class Jobs:
    """Makes jobs of Dockerfiles, one each."""

    def __init__(self, farm: Farm, place: Path) -> None:
        self._farm = farm
        self._build = FakeBuild.at(place)
        self.sink = RecordingSink()
        self.records: dict[Digest, StepRecord] = {}  # that the driver has

    def begin(self, text: str, **step: Any) -> Job:
        solver = self._build.solver(text, use_cache=False)
        plan = self._build.plan(text)
        stage = plan.stages[plan.target]
        tasks = tuple(
            solver._task(stage, number, solver._forecasts[0].chain or (), {}) for number in range(len(stage.steps))
        )
        unit = Unit(
            name=self._farm.new_name(stage.label(0)), tasks=tasks, looks=(LOOK,) * len(tasks), trees={},
            compression=None, others=Compression(kind="none"), epoch=None, secrets={"word": b"hush"},
            agents=frozenset({"id"}),
        )  # fmt: skip
        source = Source(
            pieces=lambda digest: [FILE] if digest == Digest.of(FILE) else [b"of the driver"],
            bring=lambda ref: "",
            records=lambda keys: self.records,
            sink=self.sink,
            agent=lambda name, request: name.encode() + request,
        )
        job = Job(
            unit, Step(name=unit.name, **{"platform": "linux/amd64", **step}), {Digest.of(FILE): len(FILE)}, source
        )
        self._farm.submit(job)
        return job

    def end(self, job: Job) -> list[str]:
        """The steps that were made. Raises what ended it."""
        made = []
        while isinstance(result := job.results.get(timeout=SECONDS), StepMade):
            made.append(result.record.description)
        if result is not None:
            raise result
        return made


@pytest.fixture
def jobs(farm: Farm, tmp_path: Path) -> Jobs:
    return Jobs(farm, tmp_path)


def test_a_unit_is_made_by_a_worker(jobs: Jobs, farm: Farm, cluster: Cluster, tmp_path: Path) -> None:
    assert jobs.end(jobs.begin("FROM base\nRUN one\nRUN two\n")) == ["RUN one", "RUN two"]
    started = [event for event in jobs.sink.events if isinstance(event, StepStarted)]
    assert [(event.name, event.worker) for event in started] == [("RUN one", "first"), ("RUN two", "first")]
    blobs = BlobStore(StateDir.open(tmp_path / "first"))
    assert blobs.has(Digest.of(FILE))
    assert "hush" not in repr(cluster.scheduler.tasks) and all("RUN" in str(key) for key in cluster.scheduler.tasks)
    mine = BlobStore(StateDir.open(tmp_path / "driver"))
    farm._dispatch.members["first"].hold([str(Digest.of(FILE)), str(Digest.of(b"nowhere"))])
    assert farm.fetch(BlobRef(media_type="", digest=Digest.of(FILE), size_bytes=len(FILE)), mine)
    assert mine.has(Digest.of(FILE))
    assert not farm.fetch(BlobRef(media_type="", digest=Digest.of(b"nowhere"), size_bytes=1), mine)
    assert not farm.fetch(BlobRef(media_type="", digest=Digest.of(b"other"), size_bytes=1), mine)


def test_a_driver_leaves_the_processes_of_a_worker_as_they_are(cluster: Cluster, tmp_path: Path) -> None:
    """The first one of a farm, too: to begin all again would take a second before its first step."""
    cluster.add("first")
    before = cluster.workers["first"].plugins[host.NAME].host
    with contextlib.closing(Farm(FarmAccess(address=cluster.scheduler.address), print)) as farm:
        jobs = Jobs(farm, tmp_path)
        assert jobs.end(jobs.begin("FROM base\nRUN one\n")) == ["RUN one"]
    assert cluster.workers["first"].plugins[host.NAME].host is before


def test_a_plain_worker_of_dask_becomes_one_of_the_farm(jobs: Jobs, farm: Farm, cluster: Cluster) -> None:
    first = cluster.workers["first"].plugins[host.NAME].host
    cluster.add("plain", is_plain=True)
    assert jobs.end(jobs.begin("FROM base\nRUN one\n", avoid=frozenset({"first"}))) == ["RUN one"]
    assert cluster.workers["plain"].plugins[host.NAME].host is not None
    assert cluster.workers["first"].plugins[host.NAME].host is first


@pytest.mark.parametrize("error", [StoreError("its disk is full"), LookupError("something else")])
def test_a_plain_worker_that_cannot_be_one_is_left_out(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def describe(self: host.UnitHost) -> None:
        raise error

    cluster.add("first")
    monkeypatch.setattr(host.UnitHost, "describe", describe)
    cluster.add("plain", is_plain=True)
    said: list[str] = []
    with contextlib.closing(Farm(FarmAccess(address=cluster.scheduler.address), said.append)) as farm:
        jobs = Jobs(farm, tmp_path)
        assert jobs.end(jobs.begin("FROM base\nRUN one\n")) == ["RUN one"]
        deadline = time.monotonic() + SECONDS
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(said) == 1 and str(error) in said[0] and "it is left out" in said[0]
    assert host.NAME not in cluster.workers["plain"].plugins


def joined(farm: Farm, name: str) -> None:
    """Wait until the driver knows a worker."""
    deadline = time.monotonic() + SECONDS
    while name not in farm._dispatch.members and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_worker_learns_who_has_a_layer_that_was_made_meanwhile(
    jobs: Jobs, farm: Farm, cluster: Cluster, tmp_path: Path
) -> None:
    content = b"made meanwhile"
    layer = BlobStore(StateDir.open(tmp_path / "first")).put(content)
    blobs = cluster.add("second")
    joined(farm, "second")
    farm._dispatch.members["first"].hold([str(layer)])
    packed = BlobRef(media_type="", digest=layer, size_bytes=len(content))
    jobs.records[LOOK.key] = StepRecord(
        diff_id=layer, parent_chain=layer, created="2026-01-01T00:00:00Z", seconds=1.0, parts=(), layer=packed,
        empty=False, description="RUN other",
    )  # fmt: skip
    assert jobs.end(jobs.begin("FROM base\nRUN ask\n", avoid=frozenset({"first"}))) == ["RUN ask"]
    assert blobs.has(layer), "nobody else could give it: the driver has other bytes"


def test_a_worker_asks_for_what_it_lacks(jobs: Jobs, farm: Farm, cluster: Cluster, tmp_path: Path) -> None:
    jobs.end(jobs.begin("FROM base\nRUN one\n"))
    layer = BlobStore(StateDir.open(tmp_path / "first")).put(b"one")  # a layer of the base
    blobs = cluster.add("second")
    joined(farm, "second")
    farm._dispatch.members["first"].hold([str(layer)])
    job = jobs.begin("FROM base\nRUN ask\n", avoid=frozenset({"first"}))
    assert jobs.end(job) == ["RUN ask"]
    said = b"".join(event.data for event in jobs.sink.events if isinstance(event, StepOutput)).decode()
    assert "records={}" in said and said.count("is_here=False") == 2 and said.count("is_here=True") == 2
    assert blobs.has(Digest.of(b"of the driver")) and blobs.has(layer)
    answers = [event for event in jobs.sink.events if isinstance(event, StepOutput)]
    assert b"AgentSaid" in answers[0].data and b"id!" not in answers[0].data, "what an agent says is not shown"


@pytest.mark.thorough
def test_a_step_that_fails_is_not_tried_again(jobs: Jobs) -> None:
    with pytest.raises(BuildError, match="it failed"):
        jobs.end(jobs.begin("FROM base\nRUN fail\n"))
    assert len(jobs.sink.started()) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("text", ["crash", "full"])
def test_what_a_worker_fails_is_tried_again(jobs: Jobs, text: str) -> None:
    with pytest.raises(BuildError, match="worker first"):
        jobs.end(jobs.begin(f"FROM base\nRUN {text}\n"))
    assert len(jobs.sink.started()) == 4


def test_what_a_lost_worker_was_at_is_made_by_another(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.begin("FROM base\nRUN one\nRUN sleep\n")
    assert isinstance(job.results.get(timeout=SECONDS), StepMade)
    cluster.remove("first")
    with pytest.raises((BuildError, MissingBlobError)):  # nobody is there any more
        jobs.end(job)


def test_all_is_made_though_the_worker_is_lost_before_it_says_so(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.begin("FROM base\nRUN linger\n")
    assert isinstance(job.results.get(timeout=SECONDS), StepMade)
    cluster.remove("first")
    assert jobs.end(job) == []


def test_two_drivers_of_one_machine_make_steps_that_are_called_alike(
    farm: Farm, cluster: Cluster, tmp_path: Path
) -> None:
    with contextlib.closing(Farm(FarmAccess(address=cluster.scheduler.address), lambda text: None)) as other:
        both = [Jobs(one, tmp_path / name) for one, name in ((farm, "a"), (other, "b"))]
        begun = [(jobs, jobs.begin("FROM base\nRUN one\nRUN two\n")) for jobs in both]
        assert [jobs.end(job) for jobs, job in begun] == [["RUN one", "RUN two"]] * 2
    assert begun[0][1].name != begun[1][1].name


def test_a_late_job_is_made_by_a_second_worker(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is stopped, and what it says later counts for nothing."""
    monkeypatch.setattr("tiffin.builder.farm.speculation.LEAST_SECONDS", 0.5)
    cluster.add("first")
    cluster.add("second")
    with contextlib.closing(
        Farm(FarmAccess(address=cluster.scheduler.address, speculates=True), lambda text: None)
    ) as farm:
        jobs = Jobs(farm, tmp_path)
        for _ in range(3):
            jobs.end(jobs.begin("FROM base\nRUN one\n", seconds=600.0))
        job = jobs.begin(f"FROM base\nRUN one\nRUN late {tmp_path}/begun\n", seconds=0.1)
        assert jobs.end(job) == ["RUN one", f"RUN late {tmp_path}/begun"]
        workers = [
            event.worker for event in jobs.sink.events if isinstance(event, StepStarted) and "late" in event.name
        ]
        assert len(workers) == 2 and set(workers) == {"first", "second"}
        assert any(isinstance(event, WarningMessage) and "takes long" in event.message for event in jobs.sink.events)
        assert not farm._dispatch._at and not farm._dispatch._held
        deadline = time.monotonic() + SECONDS
        hosts = [worker.plugins[host.NAME].host for worker in cluster.workers.values()]
        while any(one._units for one in hosts) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(one._units for one in hosts), "who was slower is stopped"


def test_what_is_said_of_a_try_that_is_over_changes_nothing(jobs: Jobs, farm: Farm) -> None:
    job = jobs.begin("FROM base\nRUN sleep\n")
    deadline = time.monotonic() + SECONDS
    while not jobs.sink.started() and time.monotonic() < deadline:
        time.sleep(0.02)
    member = farm._dispatch.members["first"]
    (unit,) = member.units
    del member.units[unit]
    member.begin(job.next_try(), job)
    farm._dispatch.take(member, Ended(unit=unit))
    assert not job.is_over and job.results.empty()
    farm.cancel([job])


@pytest.mark.thorough
def test_a_canceled_job_ends_at_once(jobs: Jobs, farm: Farm) -> None:
    job = jobs.begin("FROM base\nRUN sleep\n")
    waiting = jobs.begin("FROM base\nRUN sleep more\n")
    deadline = time.monotonic() + SECONDS
    while not jobs.sink.started() and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    farm.cancel([job, waiting])
    for canceled in (job, waiting):
        with pytest.raises(CanceledError):
            jobs.end(canceled)
    assert time.monotonic() - began < 5
    assert jobs.end(jobs.begin("FROM base\nRUN one\n")) == ["RUN one"]


def eventually(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def test_what_fills_shared_caches_has_no_slot_and_is_waited_for(jobs: Jobs, cluster: Cluster, tmp_path: Path) -> None:
    job = jobs.begin(f"FROM base\nRUN fill {tmp_path}/there\n")
    assert jobs.end(job) == [f"RUN fill {tmp_path}/there"]
    assert job.is_filling
    work = cluster.workers["first"].plugins[host.NAME].host
    assert work.busy() == 0 and len(work._units) == 1
    assert jobs.end(jobs.begin("FROM base\nRUN one\n")) == ["RUN one"], "the only slot is free"
    assert job.is_filling
    (tmp_path / "there").touch()
    job.wait_filled()
    ((layer, for_target),) = job.shared_layers()
    assert layer.digest == Digest.of(f"RUN fill {tmp_path}/there".encode()) and for_target
    assert eventually(lambda: not work._units)


def test_a_worker_is_at_the_shared_caches_with_as_many_units_as_it_has_slots(jobs: Jobs, tmp_path: Path) -> None:
    first, second = (jobs.begin(f"FROM base\nRUN fill {tmp_path}/{name}\n") for name in ("this", "that"))
    jobs.end(first)
    assert isinstance(second.results.get(timeout=SECONDS), StepMade)
    time.sleep(0.3)
    assert second.results.empty(), "it keeps its slot"
    (tmp_path / "this").touch()
    jobs.end(second)
    (tmp_path / "that").touch()
    second.wait_filled()


@pytest.mark.parametrize("ends", ["lost", "canceled"])
def test_nobody_waits_for_shared_caches_that_are_not_filled(
    jobs: Jobs, farm: Farm, cluster: Cluster, tmp_path: Path, ends: str
) -> None:
    job = jobs.begin(f"FROM base\nRUN fill {tmp_path}/never\n")
    jobs.end(job)
    work = cluster.workers["first"].plugins[host.NAME].host
    assert job.is_filling and job in farm._dispatch.everything()
    if ends == "lost":
        cluster.remove("first")
    else:
        farm.cancel([job])
    job.wait_filled()
    assert list(job.shared_layers()) == []
    assert eventually(lambda: not work._units), "its process has ended"


def test_a_step_that_nobody_can_make_is_refused(jobs: Jobs) -> None:
    with pytest.raises(BuildError, match="no worker of the farm"):
        jobs.end(jobs.begin("FROM base\nRUN one\n", platform="linux/s390x"))


@pytest.mark.thorough
def test_a_worker_that_does_not_answer_keeps_nobody_waiting(
    jobs: Jobs, farm: Farm, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there for the scheduler, and slow to say who it is."""
    asked, hello = threading.Event(), host.UnitHost.hello

    async def slow(self: host.UnitHost) -> Any:
        if self._worker.name != "slow":
            return await hello(self)
        asked.set()
        await asyncio.sleep(600)

    monkeypatch.setattr(host.UnitHost, "hello", slow)
    cluster.add("slow")
    assert asked.wait(SECONDS)
    cluster.add("second")
    assert jobs.end(jobs.begin("FROM base\nRUN one\n", avoid=frozenset({"first"}))) == ["RUN one"]
    with pytest.raises(BuildError, match="1 more did not answer"):
        jobs.end(jobs.begin("FROM base\nRUN one\n", platform="linux/s390x"))


def test_a_farm_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.builder.farm.dask.driver.START_SECONDS", 0.5)
    with pytest.raises(BuildError, match="does not answer"):
        Farm(FarmAccess(address="tcp://127.0.0.1:1"), print)

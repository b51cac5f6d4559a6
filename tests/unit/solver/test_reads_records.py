"""Records by reads: what is looked for, what holds, and what never does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.fakes.executor import FakeExecutor
from tests.fakes.sink import RecordingSink
from tests.fakes.step_cache import MemoryCache
from tests.support.plans import FakeBuild
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import DockerfileError, Span, UsageError
from tiffin.builder.execute.reads import NO_CONTENT, _touched
from tiffin.builder.execute.steps import LayerReads, StepResult, StepTask, Surroundings
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import DeviceRequest, RunDefaults, RunOp, WorkdirOp
from tiffin.builder.instructions.run import Run
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import new_entry
from tiffin.builder.settings.reads import percentage, reads_options
from tiffin.builder.solver.reads import reads_of
from tiffin.builder.solver.step_keys import READS
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.keys import KeyPart

A, B = "a" * 64, "b" * 64


def record(*parts: KeyPart) -> StepRecord:
    digest = Digest("sha256", A)
    return StepRecord(
        diff_id=digest,
        parent_chain=digest,
        created="2026-01-01T00:00:00Z",
        seconds=1.0,
        parts=parts,
        layer=None,
        empty=False,
        description="RUN x",
    )


def test_a_record_that_lost_a_part_tells_nothing() -> None:
    from tiffin.builder.solver.reads import _lines, _summary

    lines = _lines({"x": A, "with space": B})
    whole = record(KeyPart(READS, _summary(lines)), *(KeyPart("read", line) for line in lines))
    assert reads_of(whole) == {"x": A, "with space": B}
    assert reads_of(StepRecord.decode(whole.encode())) == reads_of(whole)
    for parts in ((), whole.parts[:-1], whole.parts[1:], (*whole.parts, KeyPart("read", f"{A} y"))):
        assert reads_of(replace(whole, parts=parts)) is None
    assert reads_of(record(KeyPart(READS, _summary([])))) == {}


CONTENTS = dict.fromkeys(("a", "d/b", "d/e/c", "da"), NO_CONTENT)


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ([], set()),
        ([("a", "file")], {"a"}),
        ([("a", "whiteout")], {"a"}),
        ([("d", "dir")], set()),
        ([("d", "opaque")], {"d/b", "d/e/c"}),
        ([("d", "whiteout")], {"d/b", "d/e/c"}),
        ([("d", "symlink")], {"d/b", "d/e/c"}),
        ([("d/e", "file"), ("new", "file")], {"d/e/c"}),
        ([(".", "opaque")], set(CONTENTS)),
    ],
)
def test_what_a_step_removed_or_hid_counts_as_read(changes: Sequence[tuple[str, str]], touched: set[str]) -> None:
    entries = [
        new_entry(path, "dir" if kind == "opaque" else kind, 0o755)._replace(opaque=kind == "opaque")
        for path, kind in changes
    ]
    assert _touched([Change(entry) for entry in entries], CONTENTS) == touched


@dataclass
class Files(LayerReads):
    """What lies below is said by the test."""

    shape: str = "s"
    held: dict[str, str] = field(default_factory=lambda: {"x": A, "y": A})
    otherwise: Sequence[str] = ()

    def surroundings(self, task: StepTask) -> Surroundings | None:
        return Surroundings(shape=Digest.of(self.shape.encode()), contents=dict(self.held), layers=())

    def contents(self, layers: Sequence[Digest]) -> Mapping[str, str] | None:
        return {"x": A, "y": A}

    def different(self, before: Digest, after: Digest) -> Sequence[str]:
        return self.otherwise


class ReadingExecutor(FakeExecutor):
    """One whose RUN steps read x, where somebody watches."""

    def __init__(self) -> None:
        super().__init__()
        self.files = Files()
        self.is_certain = True

    @property
    def reads(self) -> LayerReads | None:
        return self.files

    def execute(self, task: StepTask) -> StepResult:
        made = super().execute(task)
        watched = task.surroundings
        return replace(made, reads={"x": watched.contents["x"]} if watched and self.is_certain else None)


@pytest.fixture
def reading(fake_build: FakeBuild) -> FakeBuild:
    fake_build.executor = ReadingExecutor()
    fake_build.cache = MemoryCache()
    return fake_build


TEXT = "FROM base\nCOPY . /\n# tiffin: reads\nRUN use\n"


def cook(build: FakeBuild, y: str, *, x: str = A, text: str = TEXT, shape: str = "s") -> tuple[Digest, list[str]]:
    """Build over files with these contents: the layer of the RUN, and what was executed."""
    executor = build.executor
    assert isinstance(executor, ReadingExecutor)
    executor.files.held, executor.files.shape = {"x": x, "y": y}, shape
    executor.comes_out["COPY . /"] = f"{x} {y} {shape}"
    build.files = {"x": x, "y": y, "shape": shape}
    chain, ran = build.cook(text)
    return chain[-1].diff_id, ran


def test_a_step_is_found_where_nothing_changed_that_it_read(reading: FakeBuild) -> None:
    first, ran = cook(reading, A)
    assert ran == ["COPY . /", "RUN use"]
    assert cook(reading, B) == (first, ["COPY . /"])
    assert cook(reading, B) == (first, []), "the second time everything is known before anything runs"
    assert cook(reading, B, x=B)[1] == ["COPY . /", "RUN use"]
    assert cook(reading, "c" * 64, x=A) == (first, ["COPY . /"]), "what x held before"
    assert cook(reading, B, shape="other")[1] == ["COPY . /", "RUN use"]
    assert cook(reading, B, text=TEXT.replace("use", "use -v"))[1] == ["RUN use -v"]


def test_who_does_not_ask_for_it_never_gets_it(reading: FakeBuild) -> None:
    plain = TEXT.replace("# tiffin: reads\n", "")
    first, _ = cook(reading, A)
    cook(reading, B)
    again, ran = cook(reading, B, text=plain)
    assert ran == ["RUN use"] and again != first
    assert cook(reading, B) == (again, []), "a record of the usual kind is the nearer one"


def test_who_does_not_ask_for_it_keeps_the_records_of_before(fake_build: FakeBuild) -> None:
    fake_build.executor = ReadingExecutor()
    fake_build.cache = cache = MemoryCache()
    cook(fake_build, A, text=TEXT.replace("# tiffin: reads\n", ""))
    assert len(cache.records) == 4, "two keys of two steps"
    assert all(task.surroundings is None for task in fake_build.executor.jobs)


def test_nothing_is_recorded_of_what_is_not_certain(reading: FakeBuild) -> None:
    assert isinstance(reading.executor, ReadingExecutor)
    reading.executor.is_certain = False
    cook(reading, A)
    assert cook(reading, B)[1] == ["COPY . /", "RUN use"]


def test_what_a_run_made_below_counts_as_a_whole(reading: FakeBuild) -> None:
    text = TEXT.replace("# tiffin", "RUN before\nWORKDIR /w\nCOPY . /w\n# tiffin")
    cook(reading, A, text=text)
    task = next(task for task in reading.executor.jobs if task.surroundings is not None)
    assert task.watched == {2, 4, 5} and len(task.chain) == 6


def test_layers_of_a_stage_below_are_watched_too(reading: FakeBuild) -> None:
    text = "FROM base AS low\nCOPY . /\nRUN before\nFROM low\nCOPY . /w\n# tiffin: reads\nRUN use\n"
    cook(reading, A, text=text)
    task = next(task for task in reading.executor.jobs if task.surroundings is not None)
    assert task.watched == {2, 4} and len(task.chain) == 5


@pytest.mark.parametrize("line", ["RUN --security=insecure use", "RUN --device=vendor.example/a=1 use"])
def test_steps_that_may_get_around_the_watch_have_none(line: str) -> None:
    from tiffin.builder.solver.results import watched_layers

    step = Step(
        op=RunOp(
            argv=("use",),
            env=(),
            cwd="/",
            user="",
            network="host",
            insecure="insecure" in line,
            devices=(DeviceRequest(name="a"),) if "device" in line else (),
            run_defaults=RunDefaults(reads=True),
        ),
        text=line,
        span=Span(file="Dockerfile", first_line=1, last_line=1),
    )
    layer = LayerRef(diff_id=Digest.of(b"x"), blob=None)
    copy = replace(step, op=WorkdirOp(path="/", user=""))
    assert watched_layers(step, [copy], (layer, layer)) == frozenset()
    plain = replace(step, op=replace(step.op, insecure=False, devices=()))
    assert watched_layers(plain, [copy], (layer, layer)) == {1}
    assert watched_layers(replace(plain, op=replace(plain.op, run_defaults=RunDefaults())), [copy], (layer,)) == set()


def test_proofs_warn_by_file_and_use_what_was_made(reading: FakeBuild) -> None:
    executor = reading.executor
    assert isinstance(executor, ReadingExecutor)
    first, _ = cook(reading, A)
    executor.files.otherwise = ["out", "log"]
    executor.files.held = {"x": A, "y": B}
    executor.comes_out["COPY . /"] = "another"
    reading.files = {"x": A, "y": B, "shape": "s"}
    sink = RecordingSink()
    chain = reading.solver(TEXT, sink=sink, verify_reads_percent=100.0).solve(executor)
    assert chain[-1].diff_id != first
    assert [message for message in map(str, sink.events) if "otherwise than its record by reads: out, log" in message]
    executor.files.otherwise = []
    assert cook(reading, "c" * 64)[0] == chain[-1].diff_id, "the record is the new one"


@pytest.mark.parametrize(
    ("text", "percent"), [("0", 0.0), ("5", 5.0), ("2.5", 2.5), ("10%", 10.0), ("100", 100.0), ("007", 7.0)]
)
def test_percentages(text: str, percent: float) -> None:
    assert percentage(text, "") == percent


@pytest.mark.parametrize("text", ["", "%", "-1", "101", "1e2", "nan", "5 %", "٣", "1000"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(UsageError, match="--verify-reads"):
        percentage(text, "--verify-reads ")


def test_the_configuration_asks_for_it(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "config.toml"
    environ = {"TIFFIN_CONFIG": str(file)}
    file.write_text("[build]\ncache-reads = true\nverify-reads = 5\n")
    assert reads_options(environ, is_asked_for=False, verify="") == (True, 5.0)
    assert reads_options(environ, is_asked_for=False, verify="50") == (True, 50.0)
    file.write_text("")
    assert reads_options(environ, is_asked_for=False, verify="") == (False, 0.0)
    assert reads_options(environ, is_asked_for=False, verify="1") == (True, 1.0)
    for text in ('cache-reads = "yes"', "verify-reads = '5'", "reads = true", "verify-reads = 101"):
        file.write_text(f"[build]\n{text}\n")
        with pytest.raises(UsageError):
            reads_options(environ, is_asked_for=False, verify="")


@pytest.mark.parametrize(
    ("comment", "expected"),
    [("reads", True), ("reads=off", False), ("retry=2 reads", True), ("timeout=5m", None)],
)
def test_a_comment_asks_for_one_step(comment: str, expected: bool | None) -> None:
    node = parse(f"FROM scratch\n# tiffin: {comment}\nRUN x\n".encode(), "Dockerfile").instructions[1]
    assert Run.parse(node).patience.reads == expected


@pytest.mark.parametrize("comment", ["reads=on", "reads=", "read", "READS"])
def test_a_comment_that_means_nothing(comment: str) -> None:
    node = parse(f"FROM scratch\n# tiffin: {comment}\nRUN x\n".encode(), "Dockerfile").instructions[1]
    with pytest.raises(DockerfileError, match="not understood"):
        Run.parse(node)

"""What is run and what is not: each key is asked for once, work is done for what is missing, and for nothing else."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from tests.fakes.executor import WAIT_SECONDS, FakeExecutor, failing
from tests.fakes.images import base_image
from tests.fakes.sink import RecordingSink
from tests.fakes.step_cache import MemoryCache
from tests.support.plans import FakeBuild
from tiffin.builder.errors import BuildError, CanceledError
from tiffin.builder.execute.steps import StepResult, StepTask
from tiffin.builder.solver.results import StepObserver
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest

THREE = "FROM base\nRUN a\nRUN b\nRUN c\n"
BRANCHES = (
    "FROM base AS left\nRUN l\nFROM base AS right\nRUN r\nFROM base\nCOPY --from=left /x /l\nCOPY --from=right /x /r\n"
)
MAKE = "FROM base AS make\nRUN build\nFROM base\nCOPY --from=make /out /\nRUN use\n"


def words(diff_ids: Sequence[Digest]) -> list[str]:
    known = {Digest.of(word.encode()): word for word in ("one", "two", "three")}
    return [known.get(diff_id, "made") for diff_id in diff_ids]


class Watching(StepObserver):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, int, int, str]] = []
        self.for_target: dict[int, bool] = {}

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        self.reported.append(("cached", index, number, source))

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        self.reported.append(("ran", index, number, record.description))
        self.for_target[index] = for_target


# -- the cache
# -----------------------------------------------------------------------------------------------------------


def test_second_build_runs_nothing_and_has_the_same_layers(fake_build: FakeBuild) -> None:
    first, ran = fake_build.cook(THREE)
    assert ran == ["RUN a", "RUN b", "RUN c"]
    assert words([layer.diff_id for layer in first]) == ["one", "two", "made", "made", "made"]
    assert [layer.base for layer in first] == [True, True, False, False, False]
    again = fake_build.solver(THREE)
    assert again.cached_chain() == first and again.pending() == []
    assert fake_build.cook(THREE) == (first, [])


def test_a_changed_step_runs_and_what_is_above_it(fake_build: FakeBuild) -> None:
    fake_build.cook(THREE)
    solver = fake_build.solver(THREE.replace("RUN b", "RUN B"))
    assert [number for _, number in solver.pending()] == [1, 2] and solver.cached_chain() is None
    assert fake_build.cook(THREE.replace("RUN b", "RUN B"))[1] == ["RUN B", "RUN c"]


def test_all_keys_are_asked_for_in_one_question(fake_build: FakeBuild) -> None:
    cache = MemoryCache()
    fake_build.cache = cache
    solver = fake_build.solver(BRANCHES)
    assert len(cache.requests) == 1 and len(cache.requests[0]) == 4
    assert tuple(solver.requested_keys) == cache.requests[0]


def test_early_cut_off_finds_a_result_again_after_something_below_came_out_the_same(fake_build: FakeBuild) -> None:
    """A RUN below was changed and made the same layer: what is above it is not made again."""
    fake_build.executor.comes_out = {"RUN a": "same", "RUN a # said otherwise": "same"}
    first, _ = fake_build.cook(THREE)
    again, ran = fake_build.cook(THREE.replace("RUN a", "RUN a # said otherwise"))
    assert ran == ["RUN a # said otherwise"]
    assert [layer.diff_id for layer in again] == [layer.diff_id for layer in first]


def test_early_cut_off_of_a_copy_from_a_stage_that_came_out_the_same(fake_build: FakeBuild) -> None:
    fake_build.executor.comes_out = {"RUN build": "program", "RUN build --twice": "program"}
    fake_build.cook(MAKE)
    assert fake_build.cook(MAKE.replace("RUN build", "RUN build --twice"))[1] == ["RUN build --twice"]
    fake_build.executor.comes_out["RUN build --thrice"] = "another program"
    ran = fake_build.cook(MAKE.replace("RUN build", "RUN build --thrice"))[1]
    assert ran == ["RUN build --thrice", "COPY --from=make /out /", "RUN use"]


def test_what_early_cut_off_found_is_found_by_its_definition_from_then_on(fake_build: FakeBuild) -> None:
    fake_build.executor.comes_out = {"RUN a": "same", "RUN A": "same"}
    fake_build.cook(THREE)
    fake_build.cook(THREE.replace("RUN a", "RUN A"))
    assert fake_build.solver(THREE.replace("RUN a", "RUN A")).pending() == []


def test_a_record_holds_only_over_the_layers_it_was_made_on(fake_build: FakeBuild) -> None:
    """A cache that answers the right key with a record made elsewhere is not believed."""
    fake_build.cook(THREE)
    cache = fake_build.cache
    assert isinstance(cache, MemoryCache)
    for key, data in cache.records.items():
        record = StepRecord.decode(data)
        cache.put(key, StepRecord(
            diff_id=record.diff_id, parent_chain=Digest.of(b"elsewhere"), created=record.created, seconds=0.0,
            parts=record.parts, layer=record.layer, empty=False, description=record.description,
        ))  # fmt: skip
    assert fake_build.cook(THREE)[1] == ["RUN a", "RUN b", "RUN c"]


def test_a_lost_layer_is_made_again_and_its_followers_are_found_if_it_is_the_same(fake_build: FakeBuild) -> None:
    first, _ = fake_build.cook(THREE)
    fake_build.executor.held.discard(first[3].diff_id)
    assert [number for _, number in fake_build.solver(THREE).pending()] == [1, 2]
    again, ran = fake_build.cook(THREE)
    assert ran == ["RUN b"] and [layer.diff_id for layer in again] == [layer.diff_id for layer in first]


def test_a_lost_layer_that_comes_out_otherwise_has_its_followers_made_again(fake_build: FakeBuild) -> None:
    first, _ = fake_build.cook(THREE)
    fake_build.executor.held.discard(first[3].diff_id)
    fake_build.executor.comes_out["RUN b"] = "the clock went on"
    assert fake_build.cook(THREE)[1] == ["RUN b", "RUN c"]


def test_under_its_lock_a_step_is_looked_up_once_more(fake_build: FakeBuild) -> None:
    """Another process made it between our look and our turn: it is not run twice."""
    other = FakeBuild(state=fake_build.state, cache=fake_build.cache, executor=fake_build.executor)
    sink = RecordingSink()
    solver = fake_build.solver(THREE, sink=sink)
    other.cook(THREE)
    before = list(fake_build.executor.executed)
    solver.solve(fake_build.executor)
    assert fake_build.executor.executed == before
    assert [name.split("] ")[1] for name, _ in sink.cached()] == ["RUN a", "RUN b", "RUN c"]


def test_two_builds_at_once_make_each_step_once(fake_build: FakeBuild) -> None:
    barrier = threading.Barrier(2, timeout=WAIT_SECONDS)
    chains = []

    def build() -> None:
        solver = fake_build.solver(THREE)
        barrier.wait()
        chains.append(solver.solve(fake_build.executor))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fake_build.executor.executed) == ["RUN a", "RUN b", "RUN c"]
    assert [layer.diff_id for layer in chains[0]] == [layer.diff_id for layer in chains[1]]


def test_while_a_step_runs_its_lock_is_held_and_not_longer(fake_build: FakeBuild) -> None:
    text = "FROM base\nRUN a\n"
    (key,) = fake_build.keys(fake_build.plan(text)).of_stage(0)
    seen = []

    def is_free() -> bool:
        with fake_build.state.lock(f"step-{key.hex}", blocking=False) as taken:
            return taken

    fake_build.executor.acts["RUN a"] = lambda: seen.append(is_free())
    fake_build.cook(text)
    assert seen == [False] and is_free()


def test_hits_of_a_farther_cache_are_told_with_its_name_and_kept_nearer(fake_build: FakeBuild) -> None:
    near, far = MemoryCache("local"), MemoryCache("redis")
    fake_build.cache = far
    fake_build.cook(THREE)
    fake_build.cache = Tiered([near, far])
    sink = RecordingSink()
    fake_build.solver(THREE, sink=sink).announce_cached()
    assert {source for _, source in sink.cached()} == {"redis"}
    fake_build.cache = near
    assert fake_build.cook(THREE)[1] == []


# -- without the cache
# ---------------------------------------------------------------------------------------------------


def test_no_cache_asks_for_nothing_and_runs_everything_and_keeps_it(fake_build: FakeBuild) -> None:
    fake_build.cook(THREE)
    cache = fake_build.cache
    assert isinstance(cache, MemoryCache)
    cache.requests.clear()
    assert fake_build.cook(THREE, use_cache=False)[1] == ["RUN a", "RUN b", "RUN c"]
    assert cache.requests == []
    assert fake_build.cook(THREE)[1] == []


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("left", ["RUN l"]),
        ("left right", ["RUN l", "RUN r"]),
        ("nobody", []),
    ],
)
def test_no_cache_filter_renews_the_named_stages_alone(fake_build: FakeBuild, stage: str, expected: list[str]) -> None:
    """What copies from them is found by content, as they came out the same."""
    fake_build.cook(BRANCHES)
    assert sorted(fake_build.cook(BRANCHES, uncached=stage.split())[1]) == expected


def test_what_reads_a_renewed_stage_that_came_out_otherwise_is_made_again(fake_build: FakeBuild) -> None:
    """Its definition says nothing of that, so the record of its definition may not count."""
    fake_build.cook(BRANCHES)
    fake_build.executor.comes_out["RUN l"] = "today's"
    ran = fake_build.cook(BRANCHES, uncached=["left"])[1]
    assert ran == ["RUN l", "COPY --from=left /x /l", "COPY --from=right /x /r"]


def test_a_stage_upon_a_renewed_one_is_looked_at_anew_too(fake_build: FakeBuild) -> None:
    text = "FROM base AS low\nRUN l\nFROM low\nRUN high\n"
    fake_build.cook(text)
    fake_build.executor.comes_out["RUN l"] = "today's"
    assert fake_build.cook(text, uncached=["low"])[1] == ["RUN l", "RUN high"]


# -- stages
# --------------------------------------------------------------------------------------------------------------


def test_stages_that_the_target_does_not_need_are_not_run(fake_build: FakeBuild) -> None:
    assert fake_build.cook(BRANCHES, target="right")[1] == ["RUN r"]


def test_what_only_a_cached_stage_needs_is_not_begun(fake_build: FakeBuild) -> None:
    """The layers of the stage that was copied from are lost, and nobody needs them."""
    fake_build.cook(MAKE)
    lost = next(task for task in fake_build.executor.jobs if task.stage.name == "make")
    assert lost.number == 0
    made = [layer for layer in fake_build.cook(MAKE, target="make")[0] if not layer.base]
    fake_build.executor.held.discard(made[0].diff_id)
    solver = fake_build.solver(MAKE)
    assert solver.pending() == [] and solver.cached_chain() is not None


def test_branches_that_do_not_need_each_other_run_side_by_side(fake_build: FakeBuild) -> None:
    barrier = threading.Barrier(2, timeout=WAIT_SECONDS)

    def meet() -> None:
        barrier.wait()

    fake_build.executor.acts = {"RUN l": meet, "RUN r": meet}
    assert len(fake_build.cook(BRANCHES)[1]) == 4


def test_a_job_says_what_it_stands_on_and_reads(fake_build: FakeBuild) -> None:
    text = "FROM base AS make\nRUN build\nFROM other\nCOPY --from=make /o /\nCOPY --from=base /b /\nRUN use\n"
    fake_build.cook(text)
    jobs = {task.stage.steps[task.number].text: task for task in fake_build.executor.jobs}
    build, copy, from_image, use = (jobs[name] for name in (
        "RUN build", "COPY --from=make /o /", "COPY --from=base /b /", "RUN use",
    ))  # fmt: skip
    assert words([layer.diff_id for layer in copy.chain]) == ["three"]
    assert [words([layer.diff_id for layer in chain]) for chain in copy.sources.values()] == [["one", "two", "made"]]
    assert [words([layer.diff_id for layer in chain]) for chain in from_image.sources.values()] == [["one", "two"]]
    assert [task.for_target for task in (build, copy, use)] == [False, True, True]
    assert len(use.chain) == 3 and not use.sources


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("FROM base\nRUN a\nRUN b\n", [True, False]),
        ("FROM base\nCOPY x /\nWORKDIR /w\n", [False, False]),
        ("FROM base\nCOPY x /\nRUN b\n", [True, False]),
        ("FROM base AS low\nCOPY x /\nFROM low\nRUN b\n", [True, False]),
        ("FROM base AS low\nRUN a\nFROM low\nCOPY x /\n", [False, False]),
    ],
)
def test_a_tree_is_needed_where_a_run_stands_on_it(fake_build: FakeBuild, text: str, needed: list[bool]) -> None:
    fake_build.files["x"] = "x"
    fake_build.cook(text)
    assert [task.needs_tree for task in fake_build.executor.jobs] == needed


# -- failure and cancellation
# --------------------------------------------------------------------------------------------


def test_failure_of_one_branch_stops_the_other_and_is_told(fake_build: FakeBuild) -> None:
    began = threading.Event()

    def long() -> None:
        began.set()
        fake_build.executor.until_stopped()

    def short() -> None:
        assert began.wait(WAIT_SECONDS)
        failing("no compiler")()

    fake_build.executor.acts = {"RUN l": short, "RUN r": long}
    sink = RecordingSink()
    solver = fake_build.solver(BRANCHES, sink=sink)
    with pytest.raises(BuildError, match="no compiler"):
        solver.solve(fake_build.executor)
    assert fake_build.executor.stops == 1
    assert sorted(kind for kind, _ in sink.ended()) == ["failed", "failed"]
    assert sorted(fake_build.executor.executed) == ["RUN l", "RUN r"], "what copies from a failed stage began"


def test_error_that_is_told_is_no_consequence_of_another(fake_build: FakeBuild) -> None:
    """The target's own error is that a stage it needs was canceled: nobody can mend that."""
    fake_build.executor.acts = {"RUN build": failing("the real one")}
    with pytest.raises(BuildError, match="the real one"):
        fake_build.solver(MAKE).solve(fake_build.executor)


def test_what_was_made_before_a_failure_is_kept(fake_build: FakeBuild) -> None:
    fake_build.executor.acts = {"RUN b": failing("bad")}
    with pytest.raises(BuildError):
        fake_build.cook(THREE)
    fake_build.executor = FakeExecutor()
    fake_build.executor.held |= {StepRecord.decode(data).diff_id for data in _records(fake_build)}
    assert fake_build.cook(THREE)[1] == ["RUN b", "RUN c"]


def test_a_failed_step_leaves_no_record(fake_build: FakeBuild) -> None:
    fake_build.executor.acts = {"RUN a": failing("bad")}
    with pytest.raises(BuildError):
        fake_build.cook(THREE)
    assert _records(fake_build) == []


def test_interrupt_stops_what_runs_and_goes_on(fake_build: FakeBuild) -> None:
    """An error that is none of ours, as Ctrl-C is: threads of stages must end before it can be told."""

    class Interrupted(FakeExecutor):
        def execute(self, task: StepTask) -> StepResult:
            if task.stage.name == "left":
                raise KeyboardInterrupt
            return super().execute(task)

    fake_build.executor = Interrupted()
    fake_build.executor.acts = {"RUN r": fake_build.executor.until_stopped}
    with pytest.raises(KeyboardInterrupt):
        fake_build.solver(BRANCHES).solve(fake_build.executor)
    assert fake_build.executor.stops == 1


def test_canceled_alone_is_told_as_that(fake_build: FakeBuild) -> None:
    fake_build.executor.stop()
    with pytest.raises(CanceledError):
        fake_build.solver(THREE).solve(fake_build.executor)


# -- what is told
# --------------------------------------------------------------------------------------------------------


def test_events_name_steps_as_buildkit_numbers_them(fake_build: FakeBuild) -> None:
    sink = RecordingSink()
    fake_build.solver("FROM base AS one\nRUN a\nRUN b\n", sink=sink).solve(fake_build.executor)
    assert sink.started() == ["[one 2/3] RUN a", "[one 3/3] RUN b"]
    assert sink.ended() == [("finished", 1), ("finished", 2)]
    sink = RecordingSink()
    fake_build.solver("FROM scratch\nWORKDIR /a\n", sink=sink).solve(fake_build.executor)
    assert sink.started() == ["[1/1] WORKDIR /a"]


def test_watches_are_told_of_each_step_once(fake_build: FakeBuild) -> None:
    watch = Watching()
    fake_build.solver(MAKE, observers=[watch]).solve(fake_build.executor)
    assert watch.reported == [
        ("ran", 0, 0, "RUN build"), ("ran", 1, 0, "COPY --from=make /out /"), ("ran", 1, 1, "RUN use"),
    ]  # fmt: skip
    assert watch.for_target == {0: False, 1: True}
    again = Watching()
    fake_build.solver(MAKE.replace("RUN use", "RUN use it"), observers=[again]).solve(fake_build.executor)
    assert again.reported == [("cached", 1, 0, "local"), ("ran", 1, 1, "RUN use it")]


def test_results_are_the_records_of_the_target_or_of_all_by_all_their_keys(fake_build: FakeBuild) -> None:
    solver = fake_build.solver(MAKE)
    solver.solve(fake_build.executor)
    of_target, of_all = solver.results(all_stages=False), solver.results(all_stages=True)
    assert {record.description for record in of_target.values()} == {"COPY --from=make /out /", "RUN use"}
    assert {record.description for record in of_all.values()} == {"RUN build", "COPY --from=make /out /", "RUN use"}
    assert len(of_target) == 4, "each by its definition and by its content"
    cached = fake_build.solver(MAKE)
    assert len(cached.results(all_stages=False)) == 2 and len(cached.results(all_stages=True)) == 3


def test_foreseen_tells_what_is_known_before_anything_runs(fake_build: FakeBuild) -> None:
    fake_build.cook(THREE)
    found = list(fake_build.solver(THREE.replace("RUN c", "RUN C")).forecast())
    assert [(number, record.description if record else None, source) for _, number, record, source in found] == [
        (0, "RUN a", "local"), (1, "RUN b", "local"), (2, None, "local"),
    ]  # fmt: skip


def test_records_have_what_the_layer_is_and_why(fake_build: FakeBuild) -> None:
    chain, _ = fake_build.cook("FROM base\nRUN a\n")
    record = StepRecord.decode(_records(fake_build)[0])
    assert (record.diff_id, record.layer, record.created) == (chain[2].diff_id, chain[2].blob, chain[2].created)
    assert {part.name: part.value for part in record.parts}["op"] == "run" and "RUN a" in record.description


def test_base_that_moved_but_kept_its_layers_hits(fake_build: FakeBuild) -> None:
    fake_build.cook(THREE)
    fake_build.images["base"] = base_image("base of tomorrow", "one", "two")
    assert fake_build.cook(THREE)[1] == []
    fake_build.images["base"] = base_image("base", "one", "changed")
    assert fake_build.cook(THREE)[1] == ["RUN a", "RUN b", "RUN c"]


def _records(fake_build: FakeBuild) -> list[bytes]:
    assert isinstance(fake_build.cache, MemoryCache)
    return list(fake_build.cache.records.values())

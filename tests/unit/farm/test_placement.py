"""Which worker gets a step: each rule of placement, what changes while a build goes on, and what a choice costs."""

from __future__ import annotations

import random
import time

import pytest

from tiffin.builder.farm.fleet import Step, Worker
from tiffin.builder.farm.placement import Assignment, Placement
from tiffin.builder.farm.speculation import Speculation

MB = 10**6
AMD, ARM = "linux/amd64", "linux/arm64"


def worker(name: str, slots: int = 1, **members: object) -> Worker:
    return Worker(**{"name": name, "slots": slots, "platforms": frozenset([AMD]), **members})  # type: ignore[arg-type]


def step(name: str, *layers: tuple[str, int], **members: object) -> Step:
    return Step(**{"name": name, "platform": AMD, "layers": layers, **members})  # type: ignore[arg-type]


def farm(*workers: Worker, **layers: tuple[str, ...]) -> Placement:
    """Return a placement with these workers, and the layers that each holds."""
    placement = Placement()
    for one in workers:
        placement.add_worker(one, layers.get(one.name, ()))
    return placement


def where(assignments: list[Assignment]) -> dict[str, str]:
    return {one.step: one.worker for one in assignments}


def test_who_has_the_layers_below_gets_the_step() -> None:
    placement = farm(worker("a"), worker("b"), worker("c"), b=("base", "deps"))
    placement.add_step(step("s", ("base", 80 * MB), ("deps", 300 * MB)))
    assert placement.choose(0) == [Assignment(step="s", worker="b")]


def test_more_bytes_count_and_not_more_layers() -> None:
    placement = farm(worker("a"), worker("b"), a=("x", "y"), b=("big",))
    placement.add_step(step("s", ("x", MB), ("y", MB), ("big", 500 * MB)))
    assert placement.choose(0) == [Assignment(step="s", worker="b", missing=("x", "y"))]


def test_a_small_layer_is_fetched_rather_than_waited_for() -> None:
    placement = farm(worker("a"), worker("b"), a=("below",))
    placement.add_step(step("first", ("below", MB), rank=2))
    placement.add_step(step("second", ("below", MB), rank=1))
    assert where(placement.choose(0)) == {"first": "a", "second": "b"}


def test_a_large_layer_is_waited_for_if_the_worker_is_free_soon() -> None:
    placement = farm(worker("a"), worker("b"), a=("below",))
    placement.add_step(step("first", ("below", 3000 * MB), seconds=5, rank=2))
    placement.add_step(step("second", ("below", 3000 * MB), seconds=5, rank=1))
    assert where(placement.choose(0)) == {"first": "a"}, "30 s of transfer are more than 5 s of waiting"
    placement.finish("first", "a", 5)
    assert where(placement.choose(5)) == {"second": "a"}


def test_it_does_not_wait_much_longer_than_was_expected() -> None:
    placement = farm(worker("a"), worker("b"), a=("below",))
    placement.add_step(step("first", ("below", 3000 * MB), seconds=5, rank=2))
    placement.add_step(step("second", ("below", 3000 * MB), seconds=5, rank=1))
    placement.choose(0)
    now, tries = 0.0, 0
    while not (chosen := placement.choose(now)):
        at = placement.wakes_at()
        assert at is not None and at > now
        now, tries = at, tries + 1
    assert where(chosen) == {"second": "b"}
    assert now <= 2 * 30 and tries < 10, "what takes longer than expected is expected to take as long again"


def test_steps_that_wait_count_for_those_that_come_after_them() -> None:
    """Four would wait 5 s each: the transfer of 12 s is less than the wait of the third."""
    placement = farm(worker("a"), worker("b"), a=("below",))
    for number in range(5):
        placement.add_step(step(f"s{number}", ("below", 1200 * MB), seconds=5, rank=9 - number))
    assert where(placement.choose(0)) == {"s0": "a", "s3": "b"}
    placement.finish("s0", "a", 5)
    assert where(placement.choose(5)) == {"s1": "a"}, "the most urgent of those that wait for it"


def test_a_platform_goes_to_who_has_it_natively_however_busy() -> None:
    both = worker("both", platforms=frozenset([AMD]), emulated=frozenset([ARM]))
    placement = farm(both, worker("arm", platforms=frozenset([ARM])))
    placement.add_step(step("one", platform=ARM))
    placement.add_step(step("two", platform=ARM))
    assert where(placement.choose(0)) == {"one": "arm"}
    placement.finish("one", "arm", 9)
    assert where(placement.choose(9)) == {"two": "arm"}


def test_emulation_serves_while_nobody_has_the_platform() -> None:
    emulates = worker("both", slots=3, emulated=frozenset([ARM]))
    placement = farm(emulates)
    placement.add_step(step("one", platform=ARM))
    assert where(placement.choose(0)) == {"one": "both"}
    placement.add_worker(worker("arm", platforms=frozenset([ARM])))
    placement.add_step(step("two", platform=ARM))
    placement.add_step(step("three", platform=ARM))
    assert where(placement.choose(1)) == {"two": "arm"}
    assert placement.remove_worker("arm") == ("two",)
    assert where(placement.choose(2)) == {"three": "both"}


def test_the_critical_path_goes_first() -> None:
    placement = farm(worker("a"))
    for name, rank in (("short", 5.0), ("long", 50.0), ("middle", 20.0)):
        placement.add_step(step(name, rank=rank))
    order = []
    for now in range(3):
        (chosen,) = placement.choose(now)
        order.append(chosen.step)
        placement.finish(chosen.step, chosen.worker, now + 1)
    assert order == ["long", "middle", "short"]


def test_a_worker_goes_on_with_what_it_holds() -> None:
    """Of two that are as urgent, each worker takes the one whose layers it made."""
    placement = farm(worker("a"), worker("b"))
    for name in ("x1", "y1"):
        placement.add_step(step(name, rank=20))
    first = where(placement.choose(0))
    placement.finish("x1", first["x1"], 10, ["x"])
    placement.finish("y1", first["y1"], 10, ["y"])
    placement.add_step(step("y2", ("y", 50 * MB), rank=10))
    placement.add_step(step("x2", ("x", 50 * MB), rank=10))
    assert where(placement.choose(10)) == {"x2": first["x1"], "y2": first["y1"]}


def test_what_is_far_more_urgent_comes_before_what_is_at_home() -> None:
    placement = farm(worker("a"), a=("x",))
    placement.add_step(step("running", rank=100))
    placement.choose(0)
    placement.add_step(step("home", ("x", 50 * MB), rank=10))
    placement.add_step(step("urgent", ("y", 50 * MB), rank=90))
    placement.finish("running", "a", 10)
    assert where(placement.choose(10)) == {"urgent": "a"}
    placement.finish("urgent", "a", 20)
    assert where(placement.choose(20)) == {"home": "a"}


def test_what_may_begin_later_does_not_take_a_worker_from_its_layers() -> None:
    """Both are far from the end, but all work is farther: 40 s of 200, for one slot."""
    placement = farm(worker("a"), a=("x",))
    placement.expect(180)
    placement.add_step(step("running", rank=100))
    placement.choose(0)
    placement.add_step(step("home", ("x", 50 * MB), rank=20))
    placement.add_step(step("farther", ("y", 50 * MB), rank=40))
    placement.finish("running", "a", 10)
    assert where(placement.choose(10)) == {"home": "a"}
    placement.remove_worker("a")
    placement.add_worker(worker("b"), ("x",))
    placement.expect(30)
    placement.add_step(step("home", ("x", 50 * MB), rank=20))
    assert where(placement.choose(20)) == {"farther": "b"}


def test_equal_work_is_spread_evenly() -> None:
    placement = farm(*(worker(f"w{number}", slots=2) for number in range(4)))
    done = {f"w{number}": 0 for number in range(4)}
    for number in range(4):
        placement.add_step(step(f"s{number}"))
    now, running = 0.0, placement.choose(0)
    assert sorted(where(running).values()) == sorted(done), "one on each before a second on any"
    for number in range(4, 44):
        placement.add_step(step(f"s{number}"))
    while running:
        now += 1
        for one in running:
            done[one.worker] += 1
            placement.finish(one.step, one.worker, now)
        running = placement.choose(now)
    assert sum(done.values()) == 44 and max(done.values()) <= 12


def test_the_same_base_for_all_does_not_crowd_one_worker() -> None:
    placement = farm(*(worker(f"w{number}", slots=2) for number in range(4)), w0=("base",))
    for number in range(8):
        placement.add_step(step(f"s{number}", ("base", 30 * MB), seconds=20))
    assert sorted(where(placement.choose(0)).values()) == ["w0", "w0", "w1", "w1", "w2", "w2", "w3", "w3"]


def test_slots_that_others_use_are_not_given() -> None:
    placement = farm(worker("a", slots=2))
    placement.occupy("a", 2)
    placement.add_step(step("s"))
    assert placement.choose(0) == []
    placement.occupy("a", 1)
    assert where(placement.choose(1)) == {"s": "a"}


def test_memory_is_shared_by_the_steps_of_a_worker() -> None:
    placement = farm(worker("a", slots=4, memory_bytes=10))
    placement.add_step(step("big", memory_bytes=8, rank=3))
    placement.add_step(step("second", memory_bytes=8, rank=2))
    placement.add_step(step("small", memory_bytes=2, rank=1))
    assert where(placement.choose(0)) == {"big": "a", "small": "a"}
    placement.finish("big", "a", 5)
    assert where(placement.choose(5)) == {"second": "a"}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"platform": "linux/s390x"}, "a has not the platform linux/s390x"),
        ({"labels": frozenset(["gpu"])}, "a lacks the label gpu"),
        ({"cores": 64.0}, "a has 2 cores of 64"),
        ({"memory_bytes": 11}, "a has 10 bytes of memory of 11"),
        ({"avoid": frozenset(["a"])}, "a was tried"),
    ],
    ids=["platform", "label", "cores", "memory", "avoided"],
)
def test_what_nobody_could_execute_is_told_with_the_reason(asked: dict[str, object], reason: str) -> None:
    placement = farm(worker("a", cores=2, memory_bytes=10))
    wanted = step("s", **asked)
    placement.add_step(wanted)
    assert placement.choose(0) == []
    assert placement.unplaceable() == [(wanted, reason)]
    fit: dict[str, object] = {
        "platforms": frozenset([wanted.platform]),
        "labels": wanted.labels,
        "cores": 64,
    }
    placement.add_worker(worker("b", slots=1, **fit))
    assert placement.unplaceable() == []
    assert where(placement.choose(5)) == {"s": "b"}


def test_reasons_of_a_large_farm_are_few() -> None:
    placement = farm(*(worker(f"w{number}") for number in range(9)))
    placement.add_step(step("s", labels=frozenset(["gpu"])))
    ((_, reason),) = placement.unplaceable()
    assert reason.endswith("w3 lacks the label gpu and 5 more")
    empty = Placement()
    empty.add_step(step("s"))
    assert empty.unplaceable()[0][1] == "the farm has no workers"


def test_a_step_without_commands_goes_to_any_worker() -> None:
    placement = farm(worker("a", platforms=frozenset()))
    placement.add_step(step("copies", platform="", rank=1))
    placement.add_step(step("runs", rank=2))
    assert where(placement.choose(0)) == {"copies": "a"}
    assert placement.unplaceable()[0][1] == "a has not the platform linux/amd64"


def test_a_lost_worker_loses_its_steps_and_what_it_held() -> None:
    placement = farm(worker("a"), worker("b"), a=("below",))
    placement.add_step(step("first", ("below", 3000 * MB), seconds=5, rank=2))
    placement.add_step(step("second", ("below", 3000 * MB), seconds=5, rank=1))
    placement.choose(0)
    assert placement.remove_worker("a") == ("first",)
    assert placement.choose(1) == [Assignment(step="second", worker="b", missing=("below",))]
    placement.finish("second", "b", 9)
    placement.add_step(step("first", ("below", 3000 * MB), avoid=frozenset(["b"])))
    assert placement.choose(9) == [], "it waits for another worker"
    placement.add_worker(worker("c"))
    at = placement.wakes_at()
    assert at is not None and where(placement.choose(at)) == {"first": "c"}


def test_a_worker_that_failed_gets_nothing_for_a_while_and_longer_each_time() -> None:
    placement = farm(worker("a", slots=2), worker("b"), a=("below",))
    placement.add_step(step("s0", ("below", MB)))
    assert where(placement.choose(0)) == {"s0": "a"}
    placement.finish("s0", "a", 1)
    assert (placement.failed("a", 1), placement.failed("a", 2)) == (10, 0)
    placement.add_step(step("s1", ("below", MB)))
    placement.add_step(step("s2", ("below", MB)))
    assert where(placement.choose(2)) == {"s1": "b"}  # and the other waits
    assert not placement.choose(10.9) and where(placement.choose(11.1)) == {"s2": "a"}
    placement.finish("s2", "a", 12)
    assert placement.failed("a", 12) == 20
    placement.choose(33)
    placement.succeeded("a")
    assert placement.failed("a", 33) == 10


def test_workers_that_failed_serve_where_no_other_is_left() -> None:
    placement = farm(worker("a"), worker("b"), worker("c", platforms=frozenset([ARM])))
    for name in ("a", "b"):
        assert placement.failed(name, 0) == 10
    placement.add_step(step("s"))
    assert where(placement.choose(1)) == {"s": "a"}
    placement.remove_worker("a")
    placement.add_step(step("other"))
    assert where(placement.choose(2)) == {"other": "b"} and not placement.choose(20)


def test_a_canceled_step_is_not_handed_out() -> None:
    placement = farm(worker("a"))
    for name, rank in (("first", 3.0), ("second", 2.0), ("third", 1.0)):
        placement.add_step(step(name, rank=rank))
    placement.cancel("first")
    assert where(placement.choose(0)) == {"second": "a"}
    placement.cancel("third")
    placement.finish("second", "a", 1)
    assert placement.choose(1) == [] and placement.wakes_at() is None


def test_layers_that_were_removed_are_fetched_again() -> None:
    placement = farm(worker("a"), worker("b"), a=("below",))
    placement.hold("b", ["below"])
    placement.drop("a", ["below"])
    placement.add_step(step("s", ("below", 300 * MB)))
    assert where(placement.choose(0)) == {"s": "b"}


def test_a_slow_link_is_learnt() -> None:
    placement = farm(worker("far"), worker("near"))
    for _ in range(20):
        placement.saw_transfer("far", 10 * MB, 10)
    placement.add_step(step("s", ("below", 100 * MB)))
    assert where(placement.choose(0)) == {"s": "near"}
    placement.saw_transfer("near", 0, 0)


@pytest.mark.thorough
def test_a_choice_takes_as_long_in_a_large_farm() -> None:
    """Ten times as many steps and workers: CPU time for each step, with a generous bound."""

    def seconds_of_each(steps: int, workers: int) -> float:
        chance = random.Random(1)
        placement = farm(*(worker(f"w{n}", slots=2) for n in range(workers)))
        for number in range(workers):
            placement.hold(f"w{number}", ["base", f"layer{number % 300}"])
        began = time.process_time()
        for number in range(steps):
            layers = (("base", 100 * MB), (f"layer{number % 300}", 20 * MB))
            placement.add_step(step(f"s{number}", *layers, rank=chance.random() * 100))
        now, done, running = 0.0, 0, placement.choose(0)
        while running:
            now += 10
            for one in running:
                placement.finish(one.step, one.worker, now, [f"out{one.step}"])
                done += 1
            running = placement.choose(now)
        assert done == steps
        return (time.process_time() - began) / steps

    small, large = seconds_of_each(200, 20), seconds_of_each(2_000, 200)
    assert large < 4 * small + 0.0002, f"{large * 1e6:.0f} µs for each step, {small * 1e6:.0f} in a small farm"


def test_a_late_step_is_tried_by_an_idle_worker_once_and_only_where_nothing_waits() -> None:
    placement, speculation = farm(worker("a"), worker("b"), worker("c")), Speculation()
    for number in range(3):
        speculation.began(step(f"s{number}"), ["a"], 0)
        speculation.ended(f"s{number}", 12, made=True)
    slow = step("slow")
    placement.add_step(slow)
    (chosen,) = placement.choose(0)
    speculation.began(slow, [chosen.worker], 0)
    assert not list(speculation.late(17, placement)), "half more than the usual 12 s is not over"
    (twin,) = speculation.late(19, placement)
    assert twin.avoid == {chosen.worker}
    placement.add_step(step("waits", platform=ARM))
    assert not list(speculation.late(25, placement)), "something else wants a worker"
    placement.cancel("waits")
    placement.add_step(twin)
    speculation.ended("slow", 25, made=False)
    second = where(placement.choose(25))["slow"]
    assert second != chosen.worker
    speculation.began(slow, [chosen.worker, second], 25)
    (third,) = speculation.late(50, placement)
    assert third.avoid == {chosen.worker, second}
    speculation.ended("slow", 50, made=False)
    speculation.began(slow, [chosen.worker, second, "c"], 50)
    assert not list(speculation.late(999, placement)), "three are enough"


def test_nothing_is_late_before_anything_is_known_and_where_nobody_else_may_try() -> None:
    placement, speculation = farm(worker("a", slots=2)), Speculation()
    slow = step("slow")
    speculation.began(slow, ["a"], 0)
    assert not list(speculation.late(9999, placement))
    for number in range(3):
        speculation.began(step(f"s{number}"), ["a"], 0)
        speculation.ended(f"s{number}", 1, made=True)
    assert not list(speculation.late(9999, placement))

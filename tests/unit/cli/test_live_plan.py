"""What the live view knows of a plan: how many steps, which wait and for what, how long they took before."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.bench_of_builds import OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.buildx.history_steps import last_times
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output import render_tty
from tiffin.builder.cli.output.live.planned import PastTimes, PlannedSteps, place_of, seconds_text
from tiffin.builder.cli.output.render_tty import LiveRenderer
from tiffin.builder.events import (
    BuildFinished,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepsPlanned,
    StepStarted,
)

NAMES = ("[a 1/2] RUN one", "[a 2/2] RUN two", "[b 1/1] RUN three", "[stage-2 1/1] COPY --from=a x /")
PLAN = StepsPlanned(names=NAMES, needs=((), (0,), (), (1, 2)))


def test_what_waits_and_for_what() -> None:
    plan = PlannedSteps()
    plan.take(PLAN)
    assert (plan.total, plan.done, list(plan.waiting())) == (4, 0, [])
    plan.take(StepStarted(step_id=1, name=NAMES[0]))
    plan.take(StepStarted(step_id=3, name=NAMES[2]))
    assert list(plan.waiting()) == [(NAMES[1], ())]
    plan.take(StepFinished(step_id=1, seconds=2.5))
    plan.take(StepStarted(step_id=2, name=NAMES[1]))
    assert list(plan.waiting()) == [(NAMES[3], ("[a 2/2]", "[b 1/1]"))]
    plan.take(StepFailed(step_id=2, seconds=0.5, message="no"))
    assert list(plan.waiting()) == [(NAMES[3], ("[b 1/1]",))]
    plan.take(StepFinished(step_id=3, seconds=1.5))
    plan.take(StepCached(step_id=4, name=NAMES[3]))
    assert (plan.total, plan.done, list(plan.waiting())) == (4, 4, [])
    assert plan.costliest() == (NAMES[0], 2.5)


def test_steps_that_no_plan_told_count() -> None:
    plan = PlannedSteps()
    plan.take(StepCached(step_id=1, name="pull"))
    plan.take(StepStarted(step_id=2, name="[1/1] RUN x"))
    plan.take(StepFinished(step_id=2, seconds=0.2))
    assert (plan.total, plan.done, plan.costliest()) == (2, 2, None)
    assert place_of("pull") == "pull"


def test_the_history_is_read_for_what_takes_long() -> None:
    read: list[str] = []

    def times() -> Callable[[str], float | None]:
        read.append("history")
        return {"slow": 7.0}.get

    past = PastTimes(times)
    assert past.of("slow", 0.5) is None and not read
    assert [past.of("slow", 2), past.of("slow", 3), past.of("new", 3)] == [7.0, 7.0, None]
    assert read == ["history"]
    assert PastTimes(None).of("slow", 100) is None
    assert (seconds_text(2.04, None), seconds_text(2, 7.0)) == ("2.0s", "2.0s, last time 7.0s")


@pytest.mark.parametrize(("width", "height"), [(100, 20), (40, 8), (12, 3)])
def test_the_view_fits_the_screen(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    monkeypatch.setattr(render_tty, "time", SimpleNamespace(monotonic=lambda: 100.0))  # however long the test takes
    view = LiveRenderer(io.TextIOWrapper(io.BytesIO()), {}, lambda: lambda _: 9.0)
    console = view._console
    monkeypatch.setattr(console, "_width", width)
    monkeypatch.setattr(console, "_height", height)
    names = [f"[s{number} 1/2] RUN {'long ' * 40}" for number in range(15)]
    view._take(StepsPlanned(names=(*names, "[last 1/1] COPY x"), needs=(*[()] * 15, tuple(range(15)))))
    for number, name in enumerate(names):
        view._take(StepStarted(step_id=number, name=name))
        view._take(StepOutput(step_id=number, stream=1, data=b"out\rput \x1b[2J\xe2\x80\xae\n"))
        view._steps[number].began -= 5
    with console.capture() as capture:
        console.print(view._view())
    lines = capture.get().splitlines()
    assert len(lines) <= max(2, height - 1) and "Buil" in lines[0]
    assert not any("[2J" in line or "\u202e" in line for line in lines)
    assert ("and " in lines[-1]) == (height < 15)
    for number in range(1, 15):
        view._take(StepFinished(step_id=number, seconds=1.2))
    with console.capture() as capture:
        console.print(view._view())
    if width == 100:
        assert "5.0s, last time 9.0s" in capture.get() and "   put" in capture.get()
        assert "waits for [s0 1/2]: [last 1/1] COPY x" in capture.get()


def test_the_summary_says_what_cost_most() -> None:
    view = LiveRenderer(io.TextIOWrapper(io.BytesIO()), {})
    for number, seconds in enumerate((1.0, 3.5)):
        view._take(StepStarted(step_id=number, name=f"[{number}/2] RUN x"))
        view._take(StepFinished(step_id=number, seconds=seconds))
    done = BuildFinished(names=("a",), digest="", image_id="", size_bytes=0, seconds=5, steps=2, cached_steps=0)
    text = view._take(done)
    assert text is not None and text.plain.endswith("\n   most of it: [1/2] RUN x  3.5s")


def test_times_of_builds_before(tiffin_here: Commands, tmp_path: Path) -> None:
    tiffin_here.isolation = OVERLAYS
    make = context_at(tmp_path)
    context = make("FROM base\nRUN say one\nRUN say two\n", name="timed")
    tiffin_here("build", "-q", context)
    (context / "Dockerfile").write_text("FROM base\nRUN say one\nRUN say zero\nRUN say two\n")
    tiffin_here("build", "-q", context)
    found = last_times(Session(tiffin_here.root), BuildOptions(context=str(context)))
    assert all(found(f"[{number}/9] RUN say {word}") is not None for number, word in enumerate(("one", "zero", "two")))
    assert found("[1/2] RUN say three") is None
    other = last_times(Session(tiffin_here.root), BuildOptions(context=str(tmp_path)))
    assert other("[1/2] RUN say one") is None

"""A plan of a Dockerfile's text, solved with fakes: no disk but locks, no network, no sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.executor import FakeExecutor
from tests.fakes.images import PLATFORM, FakeImages, base_image
from tests.fakes.sink import RecordingSink
from tests.fakes.step_cache import MemoryCache
from tests.fakes.tree import Files, memory_tree
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.image.chain import Chain
from tiffin.builder.instructions.ops import RunDefaults
from tiffin.builder.plan.plan import Plan
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.builder.solver.results import StepObserver
from tiffin.builder.solver.solve import Solver
from tiffin.builder.solver.step_keys import StepKeys
from tiffin.builder.sources.context import Contexts
from tiffin.cache.backend import StepCache, Tiered
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

NAMES = {"base": base_image("base", "one", "two"), "other": base_image("other", "three")}


def nothing_remote() -> None:
    raise AssertionError("nothing of the network is read here")


@dataclass(kw_only=True)
class FakeBuild:
    """What builds share: a state directory, a cache, an executor."""

    state: StateDir
    cache: StepCache = field(default_factory=MemoryCache)
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    files: dict[str, bytes | str | None] = field(default_factory=dict)
    images: dict[str, BaseImage] = field(default_factory=lambda: dict(NAMES))

    @classmethod
    def at(cls, place: Path) -> FakeBuild:
        return cls(state=StateDir.open(place / "state"))

    def contexts(self, files: Files | None = None, **named: Files) -> Contexts:
        return Contexts(
            memory_tree(self.files if files is None else files),
            {name: memory_tree(content) for name, content in named.items()},
            dockerfile=None,
            table=Table(self.state, print),
            remote=nothing_remote,  # type: ignore[arg-type]
        )

    def plan(
        self,
        text: str,
        *,
        build_args: Mapping[str, str] | None = None,
        target: str = "",
        run_defaults: RunDefaults | None = None,
    ) -> Plan:
        plan_options = PlanOptions(
            platform=PLATFORM, build_args=build_args or {}, target=target, run_defaults=run_defaults or RunDefaults()
        )
        return make_plan(parse(text.encode(), "Dockerfile"), plan_options, FakeImages(self.images).resolve)

    def keys(self, plan: Plan, *, epoch: int | None = None) -> StepKeys:
        return StepKeys(plan, self.contexts(), epoch=epoch)

    def solver(
        self,
        text: str,
        *,
        sink: RecordingSink | None = None,
        use_cache: bool = True,
        uncached: Sequence[str] = (),
        observers: Sequence[StepObserver] = (),
        target: str = "",
        build_args: Mapping[str, str] | None = None,
        verify_reads_percent: float = 0.0,
    ) -> Solver:
        run_defaults = RunDefaults(verify_reads_percent=verify_reads_percent)
        plan = self.plan(text, target=target, build_args=build_args, run_defaults=run_defaults)
        solver = Solver(
            plan=plan,
            keys=self.keys(plan),
            cache=self.cache if isinstance(self.cache, Tiered) else Tiered([self.cache]),
            state=self.state,
            sink=sink or RecordingSink(),
            use_cache=use_cache,
            uncached_stages=frozenset(uncached),
            observers=observers,
        )
        solver.look_up(self.executor.has)
        return solver

    def cook(
        self,
        text: str,
        *,
        use_cache: bool = True,
        uncached: Sequence[str] = (),
        target: str = "",
        build_args: Mapping[str, str] | None = None,
    ) -> tuple[Chain, list[str]]:
        """Solve it; the layers, and what was executed for them."""
        solver = self.solver(text, use_cache=use_cache, uncached=uncached, target=target, build_args=build_args)
        before = len(self.executor.executed)
        return solver.solve(self.executor), self.executor.executed[before:]

"""What --explain tells: where each step's result came from, what that saved, and why the others ran."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tiffin.builder.instructions.ops import ImageOrigin
from tiffin.builder.plan.plan import Plan
from tiffin.builder.solver.explain import MAX_LISTED, Explainer, named
from tiffin.builder.solver.results import ReadsHit, StepObserver
from tiffin.builder.solver.solve import Solver
from tiffin.builder.solver.step_keys import StepKeys
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where a result came from: a cache by name, or "" for the step itself, over the layers `below`."""

    cache: str
    size_bytes: int = 0
    below: Digest | None = None
    hit: ReadsHit | None = None
    changed: Sequence[str] = ()  # files that a record by reads read, and that are others now

    def __str__(self) -> str:
        """Return where it was found."""
        if self.hit is None:
            return f"hit in the {self.cache} cache"
        read = f"{self.hit.read:,} file{'' if self.hit.read == 1 else 's'} read"
        count = self.hit.changed
        changed = "others" if count is None else f"{count:,} other{'' if count == 1 else 's'}"
        return f"hit: {read}, {changed} changed unread; it is in the {self.cache} cache"


class Report(StepObserver):
    """Collects while a build goes on; `lines` tells it."""

    def __init__(self, plan: Plan, keys: StepKeys, explainer: Explainer) -> None:
        self._plan = plan
        self._keys = keys
        self._explainer = explainer
        self._lock = threading.Lock()  # guards the next
        self._sources: dict[tuple[int, int], _Source] = {}
        self._reads: dict[tuple[int, int], tuple[ReadsHit | None, Sequence[str]]] = {}

    def read(self, index: int, number: int, hit: ReadsHit | None, changed: Sequence[str]) -> None:
        with self._lock:
            self._reads[index, number] = (hit, changed)

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        size = record.layer.size_bytes if record.layer is not None else 0
        with self._lock:
            hit, _ = self._reads.get((index, number), (None, ()))
            self._sources[index, number] = _Source(cache=source, size_bytes=size, hit=hit)

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        with self._lock:
            _, changed = self._reads.get((index, number), (None, ()))
            self._sources[index, number] = _Source(cache="", below=record.parent_chain, changed=changed)

    def forecast(self, solver: Solver) -> None:
        """Instead of a build: what is known before anything runs."""
        for index, number, record, source in solver.forecast():
            if record is not None:
                self.cached(index, number, record, source)
            else:
                self._sources[index, number] = _Source(cache="")

    def lines(self, size_text: Callable[[int], str]) -> Iterator[str]:
        """Yield a line for each step of each stage, in the order of the Dockerfile; then the sum."""
        yield from (f"{label}: {text}" for label, text in self.told(size_text))
        from_caches = Counter(source.cache for source in self._sources.values())
        ran = from_caches.pop("", 0)
        hits = ", ".join(f"{count} from the {name} cache" for name, count in from_caches.items())
        yield f"{ran} steps missed" + (f", {hits}" if hits else "")

    def told(self, size_text: Callable[[int], str]) -> Iterator[tuple[str, str]]:
        """Yield the name of each step of each stage, in the order of the Dockerfile, and what became of it."""
        for index, stage in sorted(self._plan.stages.items()):
            for number in range(len(stage.steps)):
                source = self._sources.get((index, number))
                if source is None:
                    text = "not needed"
                elif source.cache:
                    size = f", {size_text(source.size_bytes)} not made again" if source.size_bytes else ""
                    text = f"{source}{size}"
                else:
                    text = f"miss, {'; '.join(self._reasons(index, number, source))}"
                yield stage.label(number), text

    def _reasons(self, index: int, number: int, source: _Source) -> list[str]:
        if source.changed:
            return [f"files that it read changed: {named(source.changed)}"]
        below = source.below
        stage = self._plan.stages[index]
        earlier = [self._sources.get((index, before)) for before in range(number)]
        if below is None and any(source is not None and not source.cache for source in earlier):
            return ["a step before it runs"]
        if below is None:
            below = self._keys.start(stage)
        found = self._explainer.reasons(
            stage.steps[number].text,
            self._keys.parts(index, number),
            below,
            self._keys.listings(index, number, MAX_LISTED),
        )
        if found == ["what is below it changed"] and number == 0 and isinstance(stage.base, ImageOrigin):
            return [f"the base image {stage.base.name} has other layers"]
        return found

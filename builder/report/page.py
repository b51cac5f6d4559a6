"""The page as one file: data, charts and program are inside, and nothing is fetched."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from tiffin.builder.plain_text import size_text
from tiffin.builder.report.layers import SizeNode, pruned
from tiffin.builder.report.steps import CACHED, StepRun
from tiffin.builder.report.timeline import critical_path, waits
from tiffin.cache.foundation.frozen import asdict, dataclass, field

MAX_PACKAGES = 5000  # that are listed; of more the page says how many


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLayer:
    """A layer: `by` names the step that made it, `line` where that stands; `packed_bytes`: what a pull fetches."""

    by: str
    line: str
    packed_bytes: int
    tree: SizeNode


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPackage:
    """A package, and the line that brought it."""

    name: str
    version: str
    type: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBuild:
    """A build of the same name. Times are Unix seconds; `size`: bytes of the image, 0 for none."""

    id: str
    started: float
    seconds: float
    status: str
    steps: int
    cached: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page tells. `before`: for a step by its id, how it went in the build before; `why`: what the caches said
    of a step, by its name.
    """

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    steps: Sequence[StepRun] = ()
    before: Mapping[int, StepRun] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    layers: Sequence[ShownLayer] = ()
    packages: Sequence[ShownPackage] = ()
    builds: Sequence[ShownBuild] = ()

    def encode(self) -> bytes:
        """Return the HTML file."""
        parts = {
            "@TITLE@": html.escape(self.title),
            "@STYLE@": _file("page.css"),
            "@DATA@": json.dumps(self._document(), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"),
            "@CHARTS@": _file("charts.js"),
            "@PROGRAM@": _file("page.js"),
        }
        template = _file("page.html")
        pieces = []
        for word, value in parts.items():
            before, _, template = template.partition(word)
            pieces += [before, value]
        return "".join([*pieces, template]).encode()

    def _document(self) -> dict[str, object]:
        trees = pruned([layer.tree for layer in self.layers])
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "facts": [list(fact) for fact in self.facts],
            "steps": self._steps(),
            "layers": [
                {"number": number, "by": layer.by, "line": layer.line, "packed": layer.packed_bytes, "tree": tree}
                for number, (layer, tree) in enumerate(zip(self.layers, trees, strict=True), 1)
            ],
            "packages": [asdict(package) for package in self.packages[:MAX_PACKAGES]],
            "more_packages": max(0, len(self.packages) - MAX_PACKAGES),
            "history": [asdict(build) for build in self.builds],
        }

    def _steps(self) -> list[dict[str, object]]:
        critical, waited = critical_path(self.steps), waits(self.steps)
        rows = []
        for step in self.steps:
            before = self.before.get(step.id)
            rows.append(
                {
                    **asdict(step),
                    "status": step.status.lower(),
                    "stage": step.stage,
                    "is_critical": step.id in critical,
                    "waited": waited.get(step.id, 0.0),
                    "why": self.why.get(step.name, ""),
                    "before": before.seconds if before is not None else None,
                    "before_status": before.status.lower() if before is not None else "",
                }
            )
        return rows


def facts_of(steps: Sequence[StepRun], layers: Sequence[ShownLayer]) -> list[tuple[str, str]]:
    """Return what is summed up of steps and layers."""
    facts = []
    if steps:
        cached = sum(step.status == CACHED for step in steps)
        facts.append(("Steps", f"{len(steps)}, {cached} from a cache"))
    if layers:
        facts.append(("To pull", size_text(sum(layer.packed_bytes for layer in layers))))
        facts.append(("Unpacked", size_text(sum(layer.tree.size for layer in layers))))
        facts.append(("Wasted", size_text(sum(layer.tree.wasted for layer in layers))))
    return facts


def _file(name: str) -> str:
    return (files("tiffin.builder.report") / name).read_text(encoding="utf-8")

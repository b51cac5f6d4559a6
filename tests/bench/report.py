"""Results as a table, as JSON, as a page with bars; and compared with an earlier run."""

from __future__ import annotations

import html
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import Sample
from tests.bench.workloads import Workload

Results = Mapping[str, Mapping[str, Sequence[Sample]]]  # workload -> engine -> samples
OURS = "tiffin"
WORSE = 1.25  # a ratio that grew by more than a quarter is a regression
MIB = 1 << 20
PHASES_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How much longer a larger workload may take than a smaller one; `at_most` None: it is only told."""

    small: str
    large: str
    at_most: float | None = None


GROWTHS = (
    Growth(small="tiny-10k", large="tiny-200k", at_most=1.2),
    Growth(small="grow-10k", large="grow-50k"),
    Growth(small="grow-10k", large="grow-100k"),
    Growth(small="grow-10k", large="grow-200k"),
    Growth(small="steps-10", large="steps-50"),
    Growth(small="steps-10", large="steps-200"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was measured on, in general words, and the versions of what was compared."""

    kernel: str
    processor: str
    cores: int
    memory_gib: int
    versions: Mapping[str, str]

    def line(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.cores} cores ({self.processor}), {self.memory_gib} GiB, Linux {self.kernel}; {versions}"


def median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.seconds for sample in samples)


def ratios(engines: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Ours over each of the others, and over the best of them."""
    if OURS not in engines:
        return {}
    ours = median(engines[OURS])
    found = {name: ours / median(samples) for name, samples in engines.items() if name != OURS}
    return {**found, "best": max(found.values())} if found else {}


def moved_mib(engines: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Return the MiB that each engine moved over the network, the median of its rounds."""
    return {name: statistics.median(one.moved_bytes for one in samples) / MIB for name, samples in engines.items()}


def peak_mib(engines: Mapping[str, Sequence[Sample]]) -> int:
    """The most memory that tiffin took in any round, rounded up."""
    return -(-max((sample.peak_bytes for sample in engines.get(OURS, ())), default=0) // MIB)


def verdicts(workload: Workload, engines: Mapping[str, Sequence[Sample]]) -> list[str]:
    """One text for each target of a workload that could be checked; one that was missed says so."""
    target, found = workload.target, ratios(engines)
    texts = [
        f"{limit:g}x {name}: {_verdict(found[name], limit, 'x')}"
        for name, limit in target.ratios.items()
        if name in found
    ]
    if OURS in engines:
        if target.seconds is not None:
            texts.append(f"{target.seconds:g} s: {_verdict(median(engines[OURS]), target.seconds, ' s')}")
        moved = moved_mib(engines)
        others = [mib for name, mib in moved.items() if name != OURS]
        if target.moved is not None and others:
            texts.append(f"{target.moved:g}x bytes: {_verdict(moved[OURS] / min(others), target.moved, 'x')}")
        peak = peak_mib(engines)
        if peak >= target.peak_mib:
            texts.append(f"{target.peak_mib} MiB: missed")
    return texts


def _verdict(value: float, limit: float, unit: str) -> str:
    return "met" if value <= limit else f"missed ({value:.2f}{unit})"


def table(results: Results, workloads: Sequence[Workload], machine: Machine) -> str:
    """Markdown: medians and spreads in seconds, ratios with their targets, memory, growth, where the time went."""
    names = _names(results)
    lines = [
        f"Machine: {machine.line()}.",
        "",
        "Median of all rounds in seconds (fastest–slowest); engines took turns.",
        "",
        f"| workload | {' | '.join(names)} | tiffin to the best | targets | tiffin's peak MiB |",
        f"|---|{'---|' * len(names)}---|---|---|",
    ]
    for workload in workloads:
        engines = results.get(workload.name)
        if engines:
            cells = [_cell(engines[name]) if name in engines else "" for name in names]
            found = ratios(engines)
            best = f"{found['best']:.2f}x" if found else ""
            reported = "; ".join(verdicts(workload, engines))
            lines.append(
                f"| {workload.title} | {' | '.join(cells)} | {best} | {reported} | {peak_mib(engines) or ''} |"
            )
    return "\n".join([*lines, *_growth_lines(results), *_phase_lines(results, workloads)]) + "\n"


def _names(results: Results) -> list[str]:
    return [OURS, *sorted({name for engines in results.values() for name in engines} - {OURS})]


def _cell(samples: Sequence[Sample]) -> str:
    seconds = [sample.seconds for sample in samples]
    return f"{median(samples):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"


def growths(results: Results) -> list[tuple[Growth, float]]:
    """The factors that could be told."""
    found = []
    for growth in GROWTHS:
        small, large = (results.get(name, {}).get(OURS) for name in (growth.small, growth.large))
        if small and large:
            found.append((growth, median(large) / median(small)))
    return found


def _growth_lines(results: Results) -> list[str]:
    lines = []
    for growth, factor in growths(results):
        reported = (
            "" if growth.at_most is None else f" (at most {growth.at_most:g}x: {_verdict(factor, growth.at_most, 'x')})"
        )
        lines.append(f"- {growth.large} takes {factor:.2f}x the time of {growth.small}{reported}")
    return ["", "How tiffin's time grows:", "", *lines] if lines else []


def _phase_lines(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Where tiffin's time went in the last round, from its --profile; phases of parallel steps add up."""
    lines = []
    for workload in workloads:
        samples = results.get(workload.name, {}).get(OURS)
        if samples and samples[-1].phases:
            longest = sorted(samples[-1].phases.items(), key=lambda item: -item[1])[:PHASES_SHOWN]
            reported = ", ".join(f"{name} {seconds:.3f}" for name, seconds in longest)
            lines.append(f"- {workload.name}: {reported}; CPU {samples[-1].cpu_seconds:.2f}")
    return ["", "Where tiffin's time went, in seconds:", "", *lines] if lines else []


def document(results: Results, machine: Machine) -> dict[str, object]:
    """Everything, for --compare."""
    return {
        "machine": machine.line(),
        "seconds": {
            name: {engine: [round(s.seconds, 4) for s in samples] for engine, samples in engines.items()}
            for name, engines in results.items()
        },
        "cpu_seconds": {
            name: [round(s.cpu_seconds, 3) for s in engines.get(OURS, ())] for name, engines in results.items()
        },
        "peak_mib": {name: peak_mib(engines) for name, engines in results.items()},
        "moved_mib": {
            name: {engine: round(mib, 1) for engine, mib in moved_mib(engines).items()}
            for name, engines in results.items()
        },
        "ratios": {
            name: {engine: round(ratio, 4) for engine, ratio in ratios(engines).items()}
            for name, engines in results.items()
        },
        "growth": {f"{growth.large}/{growth.small}": round(factor, 4) for growth, factor in growths(results)},
    }


def regressions(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """One line for each ratio (to another engine, or of growth) that grew by more than a quarter."""
    lines = []
    new, old = _ratios_of(now), _ratios_of(before)
    for name in sorted(new.keys() & old.keys()):
        if new[name] > old[name] * WORSE:
            lines.append(f"{name}: {new[name]:.2f}x, was {old[name]:.2f}x")
    return lines


def _ratios_of(run: Mapping[str, object]) -> dict[str, float]:
    found: dict[str, float] = {}
    by_workload, growth = run["ratios"], run.get("growth", {})
    assert isinstance(by_workload, dict) and isinstance(growth, dict)
    for workload, engines in by_workload.items():
        found.update({f"{workload}, tiffin to {engine}": ratio for engine, ratio in engines.items()})
    return {**found, **{f"growth {name}": factor for name, factor in growth.items()}}


def page(results: Results, workloads: Sequence[Workload], machine: Machine) -> str:
    """An HTML page with a bar for each median; whiskers span all rounds."""
    rows = []
    for workload in workloads:
        engines = results.get(workload.name)
        if not engines:
            continue
        longest = max(sample.seconds for samples in engines.values() for sample in samples)
        rows.append(f"<h2>{html.escape(workload.title)}</h2>")
        for name, samples in sorted(engines.items(), key=lambda item: item[0] != OURS):
            rows.append(_bar(name, samples, longest))
    style = (
        ".row{display:flex;gap:1em;align-items:center}.name{width:6em}"
        "svg{width:60%;height:1.2em}body{font-family:sans-serif}"
    )
    head = f"<!doctype html><meta charset=utf-8><title>tiffin beside others</title><style>{style}</style>"
    reported = html.escape(f"{machine.line()}. Medians; the line spans all rounds.")
    return f"{head}<h1>tiffin beside others</h1><p>{reported}</p>{''.join(rows)}\n"


def _bar(name: str, samples: Sequence[Sample], longest: float) -> str:
    seconds = [sample.seconds for sample in samples]
    width, low, high = (100 * value / longest for value in (median(samples), min(seconds), max(seconds)))
    colour = "#2a7" if name == OURS else "#999"
    return (
        f'<div class=row><span class=name>{html.escape(name)}</span><svg viewBox="0 0 120 10" '
        f'preserveAspectRatio="none"><rect width="{width:.2f}" height="10" fill="{colour}"/>'
        f'<path d="M{low:.2f} 5H{high:.2f}" stroke="#000" stroke-width=".6"/></svg>'
        f"<span>{median(samples):.3f} s</span></div>\n"
    )


def write(path: Path, results: Results, workloads: Sequence[Workload], machine: Machine) -> None:
    """By the suffix: .json, .html, else Markdown."""
    if path.suffix == ".json":
        path.write_text(json.dumps(document(results, machine), indent=2) + "\n")
    elif path.suffix == ".html":
        path.write_text(page(results, workloads, machine))
    else:
        path.write_text(table(results, workloads, machine))


def this_machine(versions: Mapping[str, str]) -> Machine:
    """The machine as /proc tells; nothing that names it."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()
    return Machine(
        kernel=".".join(platform.release().split(".")[:2]),
        processor=models[0] if models else platform.machine(),
        cores=max(1, len(models)),
        memory_gib=round(int(memory[1]) / (1 << 20)),
        versions=versions,
    )

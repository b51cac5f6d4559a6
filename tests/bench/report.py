"""Results as a table, as JSON, as a page with bars; and compared with an earlier run."""

from __future__ import annotations

import html
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.engines import Sample
from tests.bench.workloads import Workload, cores

Results = Mapping[str, Mapping[str, Sequence[Sample]]]  # workload -> engine -> samples
OURS = "tiffin"
WORSE = 1.25  # a ratio that grew by more than a quarter is a regression
MIB = 1 << 20


def median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.seconds for sample in samples)


def ratios(engines: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Ours over each of the others, and over the best of them."""
    if OURS not in engines:
        return {}
    ours = median(engines[OURS])
    found = {name: ours / median(samples) for name, samples in engines.items() if name != OURS}
    return {**found, "best": max(found.values())} if found else {}


def table(results: Results, workloads: Sequence[Workload]) -> str:
    """A Markdown table: medians and spreads in seconds, ratios with their targets, our peak memory."""
    names = [OURS, *sorted({name for engines in results.values() for name in engines} - {OURS})]
    lines = [
        f"| workload | {' | '.join(names)} | ratio to the best | target | peak MiB |",
        f"|---|{'---|' * len(names)}---|---|---|",
    ]
    for workload in workloads:
        engines = results.get(workload.name)
        if not engines:
            continue
        cells = [_cell(engines[name]) if name in engines else "" for name in names]
        found = ratios(engines)
        targets = [
            f"{limit:g}x {name}: {'met' if found[name] <= limit else f'missed ({found[name]:.2f}x)'}"
            for name, limit in workload.target.items()
            if name in found
        ]
        best = f"{found['best']:.2f}x" if found else ""
        peak = max((sample.peak_bytes for sample in engines.get(OURS, ())), default=0) // MIB
        lines.append(f"| {workload.title} | {' | '.join(cells)} | {best} | {'; '.join(targets)} | {peak} |")
    return "\n".join(lines) + "\n"


def document(results: Results) -> dict[str, object]:
    """Everything, for --compare and for the page."""
    return {
        "machine": {"system": platform.platform(), "cores": cores(), "python": platform.python_version()},
        "seconds": {
            name: {engine: [round(s.seconds, 4) for s in samples] for engine, samples in engines.items()}
            for name, engines in results.items()
        },
        "peak_bytes": {
            name: max((s.peak_bytes for s in engines.get(OURS, ())), default=0) for name, engines in results.items()
        },
        "ratios": {name: ratios(engines) for name, engines in results.items()},
    }


def regressions(now: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    """One line for each ratio to another engine that grew by more than a quarter."""
    lines = []
    new, old = now["ratios"], before["ratios"]
    assert isinstance(new, dict) and isinstance(old, dict)
    for workload in sorted(new.keys() & old.keys()):
        for engine in sorted(new[workload].keys() & old[workload].keys()):
            was, is_ = old[workload][engine], new[workload][engine]
            if is_ > was * WORSE:
                lines.append(f"{workload}: {is_:.2f}x {engine}, was {was:.2f}x")
    return lines


def page(results: Results, workloads: Sequence[Workload]) -> str:
    """An HTML page with a bar for each median; whiskers span all rounds."""
    rows = []
    for workload in workloads:
        engines = results.get(workload.name)
        if not engines:
            continue
        longest = max(sample.seconds for samples in engines.values() for sample in samples)
        rows.append(f"<h2>{html.escape(workload.title)}</h2>")
        for name, samples in sorted(engines.items(), key=lambda item: item[0] != OURS):
            seconds = [sample.seconds for sample in samples]
            width, low, high = (100 * value / longest for value in (median(samples), min(seconds), max(seconds)))
            colour = "#2a7" if name == OURS else "#999"
            rows.append(
                f'<div class=row><span class=name>{html.escape(name)}</span><svg viewBox="0 0 120 10" '
                f'preserveAspectRatio="none"><rect width="{width:.2f}" height="10" fill="{colour}"/>'
                f'<path d="M{low:.2f} 5H{high:.2f}" stroke="#000" stroke-width=".6"/></svg>'
                f"<span>{median(samples):.3f} s</span></div>"
            )
    style = ".row{display:flex;gap:1em;align-items:center}.name{width:6em}svg{width:60%;height:1.2em}body{font-family:sans-serif}"
    head = f"<!doctype html><meta charset=utf-8><title>tiffin beside others</title><style>{style}</style>"
    machine = html.escape(f"{platform.platform()}, {cores()} cores; medians, the line spans all rounds")
    return f"{head}<h1>tiffin beside others</h1><p>{machine}</p>{''.join(rows)}\n"


def write(path: Path, results: Results, workloads: Sequence[Workload]) -> None:
    """By the suffix: .json, .html, else Markdown."""
    if path.suffix == ".json":
        path.write_text(json.dumps(document(results), indent=2) + "\n")
    elif path.suffix == ".html":
        path.write_text(page(results, workloads))
    else:
        path.write_text(table(results, workloads))


def _cell(samples: Sequence[Sample]) -> str:
    seconds = [sample.seconds for sample in samples]
    return f"{median(samples):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"

"""Draw docs/benchmarks/last.json as bars, to docs/benchmarks/last.svg: the same bytes for the same figures."""

from __future__ import annotations

import html
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.report import OURS
from tests.bench.workloads import all_workloads

SOURCE = Path(__file__).resolve().parents[2] / "docs/benchmarks/last.json"
TARGET = SOURCE.with_suffix(".svg")
WIDTH, LABEL, BAR, ROW, GAP = 860, 330, 420, 16, 14
COLOURS = {OURS: "#22aa77", "buildah": "#c9c9c9", "docker": "#8fa8c0"}
FONT = 'font-family="sans-serif" font-size="12"'

Seconds = Mapping[str, Mapping[str, Sequence[float]]]  # workload -> engine -> seconds of each round


def drawing(document: Mapping[str, object]) -> str:
    """Return the SVG: for each workload that others do too, a bar for the median of each engine."""
    seconds = document["seconds"]
    assert isinstance(seconds, Mapping)
    shown = {
        name: engines
        for name, engines in seconds.items()
        if OURS in engines and COLOURS.keys() & engines.keys() - {OURS}
    }
    titles = {workload.name: workload.title for workload in all_workloads()}
    lines: list[str] = []
    top = 28
    for name, engines in shown.items():
        medians = {engine: statistics.median(engines[engine]) for engine in COLOURS if engine in engines}
        title = html.escape(titles.get(name, name))
        middle = top + len(medians) * ROW / 2 + 4
        lines.append(f'<text x="{LABEL - 10}" y="{middle:.0f}" text-anchor="end" fill="#222222" {FONT}>{title}</text>')
        for engine, median in medians.items():
            width = max(1.0, BAR * median / max(medians.values()))
            lines.append(
                f'<rect x="{LABEL}" y="{top}" width="{width:.1f}" height="{ROW - 3}" fill="{COLOURS[engine]}"/>'
            )
            text = f"{median:.2f} s" if median < 10 else f"{median:.1f} s"
            lines.append(f'<text x="{LABEL + width + 6:.1f}" y="{top + 11}" fill="#222222" {FONT}>{text}</text>')
            top += ROW
        top += GAP
    legend = "".join(
        f'<rect x="{LABEL + 90 * number}" y="6" width="12" height="12" fill="{colour}"/>'
        f'<text x="{LABEL + 90 * number + 17}" y="16" fill="#222222" {FONT}>{engine}</text>'
        for number, (engine, colour) in enumerate(COLOURS.items())
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, ground, legend, *lines, "</svg>"]) + "\n"


def main() -> None:
    """Write the drawing of the last run."""
    TARGET.write_text(drawing(json.loads(SOURCE.read_text())))


if __name__ == "__main__":
    main()

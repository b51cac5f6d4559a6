"""Draw docs/benchmarks/farm.json to docs/benchmarks/farm.svg: makespans over the bound, and what the registry bears."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "docs/benchmarks/farm.json"
WIDTH, HEIGHT, LEFT, TOP, PANEL, TALL = 1190, 330, 60, 50, 230, 220
COLOURS = {100: "#8fa8c0", 1000: "#22aa77", 10_000: "#cc8833", 100_000: "#884499"}
MARKS = {"monorepo": "circle", "fan": "square", "layered": "diamond"}
FONT = 'font-family="sans-serif" font-size="11" fill="#222222"'
MB = 1e6

Rows = Sequence[Mapping[str, object]]
Value = Callable[[Mapping[str, object]], float]


def number(row: Mapping[str, object], name: str) -> float:
    return float(str(row[name]))


def ratio(row: Mapping[str, object]) -> float:
    return number(row, "ratio")


def rate(row: Mapping[str, object]) -> float:
    """Return megabytes that pass the registry's link in a second, both ways, in the mean of the build."""
    return (number(row, "downloaded") + number(row, "uploaded")) / MB / number(row, "makespan")


def drawing(rows: Rows) -> str:
    """Return the SVG: three panels over the number of workers, one mark for each build."""
    narrow = min(number(row, "gigabits") for row in rows)
    usual = [row for row in rows if number(row, "gigabits") > narrow and row["expects"] and not row["slow"]]
    slow = [row for row in rows if row["slow"]]
    whole = [row for row in usual if number(row, "lost") == 0]
    lost = [row for row in usual if number(row, "lost") > 0]
    panels = (
        _panel(0, "time over the bound", whole, ratio, (1.0, 1.1, 1.2, 1.3)),
        _panel(1, "the same, a tenth of the workers lost", lost, ratio, (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)),
        _panel(2, "MB/s at the registry", whole, rate, (0, 1000, 2000, 3000)),
        _panel(3, "a tenth five times slower; full: tried twice", slow, ratio, (1, 2, 3, 4, 5)),
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    return "\n".join([head, ground, *_legend(), *panels, "</svg>"]) + "\n"


def _legend() -> list[str]:
    lines, left = [], LEFT
    for steps, colour in COLOURS.items():
        lines.append(_mark("circle", left, 14, colour))
        lines.append(f'<text x="{left + 8}" y="18" {FONT}>{steps:,} steps</text>')
        left += 100
    for shape, mark in MARKS.items():
        lines.append(_mark(mark, left, 14, "#555555"))
        lines.append(f'<text x="{left + 8}" y="18" {FONT}>{shape}</text>')
        left += 80
    return lines


def _panel(number_of: int, title: str, rows: Rows, value: Value, ticks: Sequence[float]) -> str:
    left, low, high = LEFT + number_of * (PANEL + 60), ticks[0], ticks[-1]
    lines = [f'<text x="{left}" y="{TOP - 10}" {FONT}>{title}</text>']

    def down(at: float) -> float:
        return TOP + TALL * (1 - (min(at, high) - low) / (high - low))

    def across(workers: float) -> float:
        return left + PANEL * (math.log10(workers) - 1) / 2

    for tick in ticks:
        lines.append(
            f'<path d="M{left} {down(tick):.1f}h{PANEL}" stroke="#dddddd"/>'
            f'<text x="{left - 6}" y="{down(tick) + 4:.1f}" text-anchor="end" {FONT}>{tick:g}</text>'
        )
    for workers in (10, 30, 100, 300, 1000):
        middle = f'x="{across(workers):.1f}" y="{TOP + TALL + 18}" text-anchor="middle"'
        lines.append(f"<text {middle} {FONT}>{workers}</text>")
    lines.append(f'<text x="{left + PANEL / 2}" y="{TOP + TALL + 36}" text-anchor="middle" {FONT}>workers</text>')
    for row in rows:
        shift = 6 * (list(MARKS).index(str(row["shape"])) - 1)
        colour = COLOURS[int(number(row, "steps"))]
        filled = not row["slow"] or bool(row["speculates"])
        place = (across(number(row, "workers")) + shift, down(value(row)))
        lines.append(_mark(MARKS[str(row["shape"])], *place, colour, filled=filled))
    return "\n".join(lines)


def _mark(kind: str, x: float, y: float, colour: str, *, filled: bool = True) -> str:
    look = f'fill="{colour}" fill-opacity="0.8"' if filled else f'fill="none" stroke="{colour}"'
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {look}/>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" {look}{turned}/>'


def main() -> None:
    """Draw the last figures again."""
    SOURCE.with_suffix(".svg").write_text(drawing(json.loads(SOURCE.read_text())))


if __name__ == "__main__":
    main()

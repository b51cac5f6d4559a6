"""What ci/bench says of its samples: ratios, targets, growth, regressions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.measuring import Sample, read_trace
from tests.bench.workloads import all_workloads

MACHINE = report.Machine(kernel="6.1", processor="some", cores=2, memory_gib=4, versions={"buildah": "1.28"})
MIB = 1 << 20


def samples(*seconds: float, peak_mib: int = 50) -> list[Sample]:
    phases = {"plan": 0.1, "execute": 0.7}
    return [Sample(seconds=value, cpu_seconds=value / 2, peak_bytes=peak_mib * MIB, phases=phases) for value in seconds]


def results(ours: float, *, peak_mib: int = 50) -> report.Results:
    return {
        "cold": {
            "tiffin": samples(9.0, ours, 0.1, peak_mib=peak_mib),
            "buildah": samples(8.0),
            "docker": samples(4.0),
        },
        "tiny-10k": {"tiffin": samples(1.0)},
        "tiny-200k": {"tiffin": samples(1.5)},
    }


def test_ratios_are_of_medians_and_best_is_the_fastest_of_the_others() -> None:
    assert report.ratios(results(2.0)["cold"]) == {"buildah": 0.25, "docker": 0.5, "best": 0.5}
    assert report.ratios({"buildah": samples(1.0)}) == {}
    assert report.ratios({"tiffin": samples(1.0)}) == {}


def test_table_tells_targets_growth_and_phases() -> None:
    text = report.table(results(2.0), all_workloads(), MACHINE)
    row = next(line for line in text.splitlines() if line.startswith("| cold build"))
    assert "2.000 (0.100–9.000)" in row and "0.50x" in row and "0.6x best: met" in row and "| 50 |" in row
    assert "at most 1.2x: missed (1.50x)" in text
    assert "- cold: execute 0.700, plan 0.100; CPU 0.05" in text
    assert MACHINE.line() in text


@pytest.mark.parametrize(
    ("ours", "peak", "expected"),
    [
        (2.4, 50, ["0.6x best: met"]),
        (2.5, 119, ["0.6x best: missed (0.62x)"]),
        (1, 120, ["0.6x best: met", "120 MiB: missed"]),
    ],
)
def test_verdicts(ours: float, peak: int, expected: list[str]) -> None:
    workload = next(workload for workload in all_workloads() if workload.name == "cold")
    assert report.verdicts(workload, results(ours, peak_mib=peak)["cold"]) == expected


@pytest.mark.parametrize(("ours", "expected"), [(4, "0.05x bytes: met"), (6, "0.05x bytes: missed (0.06x)")])
def test_bytes_are_compared_with_those_of_the_engine_that_moves_the_fewest(ours: int, expected: str) -> None:
    workload = next(workload for workload in all_workloads() if workload.name == "environment")
    moved = {"tiffin": [9, ours, 0], "docker": [100, 100], "buildah": [120]}
    engines = {name: [Sample(seconds=1, moved_bytes=mib * MIB) for mib in each] for name, each in moved.items()}
    assert expected in report.verdicts(workload, engines)


def test_a_ratio_that_grew_by_more_than_a_quarter_is_a_regression() -> None:
    before = json.loads(json.dumps(report.document(results(2.0), MACHINE)))
    assert report.regressions(report.document(results(2.0), MACHINE), before) == []
    assert report.regressions(report.document(results(2.49), MACHINE), before) == []
    worse = report.regressions(report.document(results(2.52), MACHINE), before)
    assert worse == [
        "cold, tiffin to best: 0.63x, was 0.50x",
        "cold, tiffin to buildah: 0.32x, was 0.25x",
        "cold, tiffin to docker: 0.63x, was 0.50x",
    ]
    slower = {**results(2.0), "tiny-200k": {"tiffin": samples(2.0)}}
    assert report.regressions(report.document(slower, MACHINE), before) == [
        "growth tiny-200k/tiny-10k: 2.00x, was 1.50x"
    ]


def test_files_by_suffix(tmp_path: Path) -> None:
    for name, start in (("a.json", "{"), ("a.html", "<!doctype html>"), ("a.md", "Machine: ")):
        report.write(tmp_path / name, results(2.0), all_workloads(), MACHINE)
        assert (tmp_path / name).read_text().startswith(start)
    page = (tmp_path / "a.html").read_text()
    assert page.count("<svg") == 5 and "cold build and push" in page


def test_trace_gives_memory_and_phases() -> None:
    events = [
        {"name": "command", "cat": "phase", "dur": 1_500_000},
        {"name": "command", "cat": "phase", "dur": 500_000},
        {"name": "RUN a", "cat": "step", "dur": 9_000_000},
    ]
    document = {"traceEvents": events, "otherData": {"peak_bytes": 7}}
    assert read_trace(document) == (7, {"command": 2.0})


def test_workloads_have_names_of_their_own() -> None:
    names = [workload.name for workload in all_workloads()]
    assert len(set(names)) == len(names)
    assert {growth.small for growth in report.GROWTHS} | {growth.large for growth in report.GROWTHS} <= set(names)

"""What is written for readers: lines that fit a diff, links that lead somewhere, an index that names every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# by ci/reference and ci/bench
MADE = ("docs/reference.md", "docs/run-options.md", "docs/variables.md", "docs/benchmarks/last.md")
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if path.is_file()
)
MAX_LINE = 120


@pytest.mark.parametrize("page", [page for page in PAGES if page not in MADE])
def test_lines_fit_a_diff(page: str) -> None:
    """A row of a table cannot be broken; everything else can."""
    lines = (ROOT / page).read_text().splitlines()
    wrong = [number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE and not line.startswith("|")]
    assert wrong == [], f"{page}: lines of more than {MAX_LINE} characters"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if heading:
            found = [anchor(line) for line in path.read_text().splitlines() if line.startswith("#")]
            assert heading in found, f"{page} links to {target}"


def anchor(line: str) -> str:
    """Return the name of a heading as links have it."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("folder", ["docs", "docs/dev"])
def test_the_index_names_every_page(folder: str) -> None:
    index = (ROOT / folder / "README.md").read_text()
    missing = [path.name for path in (ROOT / folder).glob("*.md") if f"({path.name})" not in index]
    assert missing == ["README.md"]

"""build --explain and cache explain: which step ran, and for which reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base} AS tools
RUN echo tool > /tool
FROM {base}
ARG VERSION=1
ENV MODE=plain
COPY src /src
RUN cat /src/* > /all
COPY --from=tools /tool /tool
"""


def explain(tiffin: Run, *words: str | Path) -> list[str]:
    """The explanation alone."""
    lines = tiffin("build", "--progress", "plain", "--explain", *map(str, words)).stderr.splitlines()
    return [line for line in lines if line.startswith("[") or " steps missed" in line]


@pytest.fixture
def folder(context: Make, base: str) -> Path:
    path = context(TEXT.format(base=base))
    (path / "src").mkdir()
    for name in ("a", "b", "c"):
        (path / "src" / name).write_text(name)
    return path


def test_first_build_knows_nothing(tiffin: Run, folder: Path) -> None:
    lines = explain(tiffin, folder)
    assert all(": miss, " in line for line in lines[:-1]) and lines[-1] == "4 steps missed"
    assert any("no record of such a step is known" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "src/b").write_text("other"), "COPY src /src: miss, files: src/b changed"),
        (lambda f: (f / "src/d").write_text("d"), "COPY src /src: miss, files: src/d is new"),
        (lambda f: (f / "src/a").unlink(), "COPY src /src: miss, files: src/a is gone"),
        (lambda f: (f / "src/c").chmod(0o755), "COPY src /src: miss, files: src/c changed"),
        (lambda f: _edit(f, "COPY src /src", "COPY --chmod=700 src /src"), "chmod was nothing, is 700"),
        (lambda f: _edit(f, "MODE=plain", "MODE=rich"), "RUN cat /src/* > /all: miss, environment: MODE changed"),
        (lambda f: _edit(f, "echo tool", "echo other tool"), "COPY --from=tools /tool /tool: miss, "),
        (lambda f: _edit(f, "COPY src", "USER 0\nCOPY src"), "RUN cat /src/* > /all: miss, user was nothing, is 0"),
    ],
)
def test_the_part_that_differs_is_named(
    tiffin: Run, folder: Path, change: Callable[[Path], object], reason: str
) -> None:
    tiffin("build", folder)
    change(folder)
    forecast = tiffin("cache", "explain", folder).stdout
    lines = explain(tiffin, folder)
    assert any(reason in line for line in lines), lines
    assert reason in forecast or "a step before it runs" in forecast
    assert explain(tiffin, folder)[-1] == "0 steps missed, 3 from the local cache"


def _edit(folder: Path, before: str, after: str) -> None:
    text = (folder / "Dockerfile").read_text()
    assert before in text
    (folder / "Dockerfile").write_text(text.replace(before, after))


def test_other_base_and_argument(tiffin: Run, folder: Path, base: str, context: Make) -> None:
    tiffin("build", folder)
    tiffin("build", "-t", "other-base", context(f"FROM {base}\nRUN touch /other\n", name="other"))
    _edit(folder, f"FROM {base}\nARG", "FROM other-base\nARG")
    lines = explain(tiffin, folder)
    assert any("COPY src /src: miss, the base image other-base has other layers" in line for line in lines), lines
    used = explain(tiffin, "--build-arg", "VERSION=2", folder)
    assert any("RUN cat /src/* > /all: miss, environment: VERSION changed" in line for line in used), used


def test_explaining_builds_nothing(tiffin: Run, folder: Path, root: Path) -> None:
    done = tiffin("cache", "explain", folder)
    assert done.stdout.endswith("4 steps missed\n") and tiffin("images", "-q").stdout.count("\n") == 1

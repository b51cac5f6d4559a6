"""RUN with --cache-reads: what it looks up decides whether it is found again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program
from tiffin.builder.sandbox.child.reading.lookups import has_one_node

HERE = -100  # AT_FDCWD
DOCKERFILE = """FROM scratch
COPY programs /bin
COPY src /src
RUN ["/bin/reads"]
"""


def opens(path: bytes, flags: int = os.O_RDONLY) -> Call:
    return "openat", (HERE, path, flags, 0o644)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    for name in ("programs", "src/deep"):
        (folder / name).mkdir(parents=True)
    program = raw_program(opens(b"/src/read"), opens(b"/made", os.O_WRONLY | os.O_CREAT))
    (folder / "programs/reads").write_bytes(program)
    (folder / "programs/reads").chmod(0o755)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for name in ("read", "other", "deep/other"):
        (folder / "src" / name).write_text("1\n")
    return folder


def explained(forked: Forked, context: Path, *words: str) -> str:
    """What --explain says of the RUN."""
    done = forked("build", "--cache-reads", "--explain", "--progress", "plain", *words, context)
    (line,) = [line for line in done.stderr.splitlines() if "RUN" in line and ("hit" in line or "miss" in line)]
    return line


@pytest.mark.skipif(not has_one_node("/sys/devices/system/node"), reason="several memory nodes: nothing is told there")
def test_only_what_was_looked_up_counts(forked: Forked, context: Path) -> None:
    assert "miss" in explained(forked, context)
    (context / "src/other").write_text("2\n")
    (context / "src/deep/other").write_text("2\n")
    assert "hit" in explained(forked, context)
    (context / "src/read").write_text("2\n")
    assert "read changed" in explained(forked, context)
    (context / "src/other").write_text("3\n")
    assert "hit" in explained(forked, context, "--verify-reads")


@pytest.mark.thorough
def test_without_the_option_all_counts(forked: Forked, context: Path) -> None:
    forked("build", "--progress", "plain", context)
    (context / "src/other").write_text("2\n")
    done = forked("build", "--progress", "plain", context)
    assert "CACHED" not in done.stderr.split("RUN")[-1]

"""What history, logs and kept failures cost a build: counted in files, bytes and writes, with them and without."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program

HERE = -100  # AT_FDCWD
STEPS = 40
FOLDERS = ("history", "plans", "failures")
NOTHING_KEPT = {"TIFFIN_BUILD_HISTORY": "0", "TIFFIN_KEPT_FAILURES": "0"}
# of a build, and of each of its steps
MOST_WRITES, MOST_BYTES, MOST_BYTES_OF_STEP = 3, 1500, 250
MOST_PLAN_BYTES, MOST_PLAN_BYTES_OF_STEP = 3000, 250
LARGE = 8 << 20


@dataclass(frozen=True)
class Cost:
    """What a process wrote, and its children that it waited for."""

    writes: int
    written_bytes: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.writes - other.writes, self.written_bytes - other.written_bytes)


def cost(forked: Forked, *words: str | Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command, and return what it wrote."""
    found: list[Cost] = []

    def count(pid: int) -> None:
        with contextlib.suppress(PermissionError):
            rows = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
            found.append(Cost(int(rows["syscw"]), int(rows["wchar"])))

    forked(*words, check=False, env=env, ended=count)
    if not found:
        assert os.getuid() != 0
        pytest.skip("the kernel tells only root what a process wrote that entered a namespace")
    return found[0]


def kept(forked: Forked) -> dict[str, int]:
    """The sizes of what is kept, by path."""
    places = [path for name in FOLDERS for path in (forked.root / name).rglob("*")]
    return {str(path.relative_to(forked.root)): path.stat().st_size for path in places if path.is_file()}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "bin").mkdir(parents=True)
    large: list[Call] = [("openat", (HERE, b"/large", os.O_WRONLY | os.O_CREAT, 0o644)), ("ftruncate", (3, LARGE))]
    missing: Call = ("openat", (HERE, b"/missing", os.O_RDONLY))
    (folder / "bin/fails").write_bytes(raw_program(*large, missing))
    for number in range(STEPS):
        (folder / f"f{number}").write_text(str(number))
    copies = "".join(f"COPY f{number} /f{number}\n" for number in range(STEPS - 1))
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY --chmod=755 bin /bin/\n{copies}")
    return folder


@pytest.mark.thorough
def test_a_build_with_nothing_to_do_writes_its_record_and_no_more(forked: Forked, context: Path) -> None:
    words = ("build", "-q", "-t", "app", context)
    for _ in range(2):
        cost(forked, *words)
    before = kept(forked)
    pairs = [(cost(forked, *words), cost(forked, *words, env=NOTHING_KEPT)) for _ in range(3)]
    # one of them may also write the digests of files that have rested by then
    more = min((with_it - without for with_it, without in pairs), key=lambda item: abs(item.writes))
    assert more.writes <= MOST_WRITES and more.written_bytes <= MOST_BYTES + STEPS * MOST_BYTES_OF_STEP, more
    new = set(kept(forked)) - set(before)
    assert len(new) == len(pairs) and all(path.startswith("history/") for path in new), "the plan is there already"


@pytest.mark.thorough
def test_a_build_writes_its_plan_once(forked: Forked, context: Path) -> None:
    words = ("build", "-q", "--no-cache", context)
    cost(forked, *words)
    sizes = kept(forked)
    (plan,) = (forked.root / "plans").iterdir()
    assert plan.stat().st_size <= MOST_PLAN_BYTES + STEPS * MOST_PLAN_BYTES_OF_STEP
    was = plan.stat().st_ino
    cost(forked, *words)
    assert plan.stat().st_ino == was and len(kept(forked)) == len(sizes) + 1


@pytest.mark.thorough
def test_what_a_failure_left_is_kept_and_not_copied(forked: Forked, context: Path) -> None:
    with (context / "Dockerfile").open("a") as file:
        file.write('RUN ["/bin/fails"]\n')
    cost(forked, "build", "-q", context)
    without, with_it = cost(forked, "build", "-q", context, env=NOTHING_KEPT), cost(forked, "build", "-q", context)
    more = with_it - without
    sizes = kept(forked)
    assert max(sizes.values()) == LARGE
    assert more.written_bytes < LARGE / 100, more


@pytest.mark.thorough
def test_all_of_it_is_bounded(forked: Forked, context: Path) -> None:
    bounds = {"TIFFIN_BUILD_HISTORY": "2", "TIFFIN_KEPT_FAILURES": "1"}
    for number in range(6):
        fails = 'RUN ["/bin/fails"]\n' if number % 2 else ""
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY --chmod=755 bin /bin/\nENV A={number}\n{fails}")
        cost(forked, "build", "-q", context, env=bounds)
    counts = {name: len(list((forked.root / name).iterdir())) for name in FOLDERS}
    assert counts == {"history": 2, "plans": 4, "failures": 1}

"""The bounds of ci/coverage.toml: each folder is counted by itself, and none is forgotten; what counts as run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.bounds import faults, missing, shares, verdict
from tests.support.ran_lines import CHECKOUT, lines_of


def test_files_of_a_folder_count_together_and_folders_below_it_do_not() -> None:
    found = shares(
        {
            "a/one.py": ({1}, {1, 2}),
            "a/two.py": (set(range(9)), set(range(10))),
            "a/b/three.py": (set(), {1, 2, 3, 4}),
            "d/empty.py": (set(), set()),
        }
    )
    assert found == {"a": pytest.approx(100 * 10 / 12), "a/b": 0}


def test_a_folder_below_its_bound_is_told() -> None:
    assert faults({"a": 84.9, "b": 85.0},
        {"a": 85, "b": 85}) == ["a: 84.9 % of its lines are covered, and 85 % have to be"]  # fmt: skip


def test_a_folder_without_a_bound_and_a_bound_without_a_folder_are_told() -> None:
    assert len(faults({"new": 100.0}, {})) == 1 and len(faults({}, {"old": 1})) == 1


def test_the_code_of_the_program_is_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict({"cache": 85.0}, {"cache": 85}) == 0
    assert verdict({"cache": 0.0}, {"cache": 85}) == 1 and "error: cache:" in capsys.readouterr().err


def test_lines_that_did_not_run_are_told_with_their_file() -> None:
    lines = {"a/x.py": ({1}, {1, 7, 4}), "a/y.py": ({1}, {1}), "b/z.py": (set[int](), {1})}
    assert list(missing(lines, "a")) == ["a/x.py 1/3: 4 7"]


def test_what_only_says_something_to_readers_is_not_counted(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        textwrap.dedent('''\
            """Words."""
            from __future__ import annotations
            import os
            if TYPE_CHECKING:
                import this
            else:
                this = None
            class Some(Protocol):
                """Words."""
                def one(self) -> int: ...
                def two(self) -> int:
                    ...
            try:
                a = 1; b = 2
            except OSError:
                a = (
                    3)
            match a:
                case 1:
                    pass
            ''')
    )
    assert lines_of(str(module)) == {3, 4, 7, 8, 10, 11, 13, 14, 16, 18, 20}


def test_what_a_child_ran_counts_however_it_ended(tmp_path: Path) -> None:
    """A child that is killed leaves what it ran, also of a module that it loaded itself: the memory is shared."""
    code = f"""
        import os, signal
        from pathlib import Path
        import tests.support.ran_lines as ran
        from tiffin.builder import importing
        from tiffin.cache.foundation import files
        pid = os.fork()
        if not pid:
            importing.install()
            import tiffin.builder.oci.reference
            files.write_atomically(Path({str(tmp_path / "file")!r}), b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        part = ran.PARTS[os.path.realpath(files.__file__)]
        first = files.write_atomically.__code__.co_firstlineno
        assert sum(ran.PARTS[os.path.realpath("builder/oci/reference.py")]) > 5
        print(part[first], [line for line in ran.lines_of(files.__file__) if part[line] and line > first] != [])
    """
    environ = {**os.environ, "RAN_LINES": str(tmp_path / "lines")}
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environ, cwd=CHECKOUT)
    assert done.stdout == "1 True\n"

"""Ask BuildKit again what `--call check`, `outline` and `targets` say of each file of calls/, and write
expected/calls.json.

Run as root from the checkout: `python -m tests.conformance.regenerate_calls [NAME …]`; TIFFIN_ORACLE_ROOT as for
regenerate.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import calls
from tests.conformance.case import bases
from tests.conformance.images import write_base
from tests.conformance.oracles import BuildKit, make_newest_root, running_buildkit


def main(wanted: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        root = Path(os.environ.get("TIFFIN_ORACLE_ROOT") or folder / "root")
        if not (root / "usr").exists():
            make_newest_root(root)
        with running_buildkit(folder, root) as oracle:
            for name, base in bases().items():
                write_base(folder / f"{name}.tar", name, base)
                oracle.load(folder / f"{name}.tar", name)
            cases = calls.corpus()
            answers = calls.expected() if calls.EXPECTED.exists() else {}
            for case in cases:
                if case.name in wanted or not wanted:
                    answers[case.name] = _ask(case, oracle, folder)
                    sys.stderr.write(f"{case.name}: {answers[case.name]['check']}\n")
    calls.write_expected({case.name: answers[case.name] for case in cases if case.name in answers})


def _ask(case: calls.CallCase, oracle: BuildKit, folder: Path) -> calls.Answer:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        context = case.write(Path(place) / "context")
        argv = [[*oracle.docker, "buildx", *case.argv(call, context)] for call in calls.CALLS]
        done = [subprocess.run(words, capture_output=True, text=True, check=False) for words in argv]
    return {
        call: calls.read_answer(call, item.stdout, item.stderr) for call, item in zip(calls.CALLS, done, strict=True)
    }


if __name__ == "__main__":
    main(sys.argv[1:])

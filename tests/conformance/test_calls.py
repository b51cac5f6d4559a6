"""`--call check`, `outline` and `targets` say of each file of calls/ what BuildKit says (docs/checks.md tells what
is apart).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import calls
from tests.conformance.case import bases
from tests.conformance.forkserver import ForkServer
from tests.conformance.images import write_base
from tiffin.builder.cli.output.subrequests import OWN

CASES = {case.name: case for case in calls.corpus()}
EXPECTED = calls.expected()
APART = {
    "froms-name-with-capitals-from": "FROM finds a stage by its name in any case",
    "instructions-only-comments": "the error is told at line 1",
    "outlines-targets-described-under-directives": "BuildKit fetches the frontend that the file names",
    "outlines-check-after-syntax": "likewise",
    "outlines-targets-of-an-error-in-planning": "a mount's fault is told before a base is looked for",
    "outlines-check-error": "an outline is told whatever checks find",
    "outlines-check-wrong": "likewise",
    "instructions-run-security-insecure": "the frontend of dockerd does not know --security",
}


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("calls")
    with ExitStack() as stack:
        (folder / "out").mkdir()
        asker = Asker(stack.enter_context(ForkServer(folder / "out")), folder)
        for name, base in bases().items():
            archive = folder / f"{name}.tar"
            write_base(archive, name, base)
            asker.run("load", "-q", "-i", str(archive))
        yield asker


class Asker:
    """tiffin with the bases in its store."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def run(self, *words: str) -> Any:
        env = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        done = self._server.run(["--root", str(self._folder / "state"), *words], cwd=self._folder, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def ask(self, case: calls.CallCase, folder: Path) -> calls.Answer:
        answer = {}
        for call in calls.CALLS:
            done = self.run(*case.argv(call, case.write(folder)))
            answer[call] = calls.read_answer(call, done.stdout, done.stderr)
            assert bool(done.returncode) == ("error" in answer[call] or bool(call == "check" and answer[call]["found"]))
        return answer


@pytest.mark.parametrize("name", CASES)
def test_call(answers: Asker, tmp_path: Path, name: str) -> None:
    got, wanted = answers.ask(CASES[name], tmp_path), EXPECTED[name]
    if name in APART:
        return
    found = [item for item in got["check"].get("found", ()) if item[0] not in OWN]
    if "error" in wanted["check"]:  # we read on after an error, and may find more
        assert "error" in got["check"]
        assert wanted["check"].get("lines", [])[:1] in ([], got["check"].get("lines", [])[:1])
        assert [item for item in wanted["check"].get("found", ()) if item not in found] == []
    else:
        assert found == wanted["check"]["found"] and "error" not in got["check"], got["check"]
    for call in ("outline", "targets"):
        if "error" in wanted[call]:
            assert "error" in got[call]
        elif "error" not in wanted["check"] or "error" not in got[call]:  # a mount's fault is told with the file's
            assert got[call] == wanted[call]


def test_every_case_has_an_answer() -> None:
    assert set(CASES) == set(EXPECTED)
    assert len(CASES) > 400

"""Each case of the corpus built by tiffin gives what BuildKit gives, but for what docs/differences.md lists."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.conformance.case import Case, areas, bases, load, read_expected
from tests.conformance.forkserver import ForkServer
from tests.conformance.images import Base, Result, placed, read_result, write_base
from tests.conformance.servers import serving_files
from tests.conftest import assert_nothing_left
from tests.support.unprivileged import has_one_id, remove_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
CASES = {case.id: case for area in areas() for case in load(area)}
# what the kernel refuses a user, but not where it knows one id alone: docs/ownership.md
ENFORCED = ("run-environment-user-may-not", "run-environment-capabilities-of-user")
EXPECTED = {area: read_expected(area) for area in areas()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeBuild:
    """tiffin with the bases in its store, and the file server the cases ask."""

    server: ForkServer
    state: Path
    bases: Sequence[Base]
    http: str
    home: Path

    def build(self, case: Case, folder: Path) -> Result:
        work = case.write(folder, self.http)
        archive = folder / "result.tar"
        output = f"type=docker,dest={archive},compression=uncompressed"
        argv = ["--root", str(self.state), "build", "--no-cache", "--progress=plain", "-o", output, *case.argv(work)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), **case.env}
        done = self.server.run(argv, cwd=work, env=env, stdin=case.stdin.encode())
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode:
            return {"error": done.stderr}
        return read_result(archive, self.bases)


@pytest.fixture(scope="session")
def fake_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeBuild]:
    folder = tmp_path_factory.mktemp("conformance")
    state, home, out = folder / "state", folder / "home", folder / "out"
    home.mkdir()
    out.mkdir()
    known: list[Base] = []
    with ExitStack() as stack:
        server = stack.enter_context(ForkServer(out))
        for name, base in bases().items():
            archive = folder / f"{name}.tar"
            write_base(archive, name, base)
            env = {"PATH": os.environ["PATH"], "HOME": str(home)}
            done = server.run(["--root", str(state), "load", "-i", str(archive)], cwd=folder, env=env)
            assert done.returncode == 0, done.stderr
            known.append(Base.read(archive))
        http = stack.enter_context(serving_files())
        yield FakeBuild(server=server, state=state, bases=known, http=http, home=home)
    assert_nothing_left(state)
    remove_folder(folder)


@pytest.mark.parametrize("name", CASES)
def test_case(fake_build: FakeBuild, name: str, tmp_path: Path) -> None:
    if name in ENFORCED and has_one_id():
        pytest.skip("with one id (no subordinate ids) permissions are not enforced: docs/ownership.md")
    case = CASES[name]
    oracle = EXPECTED[case.area].get(case.name, {}).get("buildkit")
    expected = case.expected(oracle)
    result = placed(fake_build.build(case, tmp_path), fake_build.http)
    if "error" in expected:
        assert "error" in result, f"{case.rule}: it must fail with {expected['error']}"
        assert re.search(expected["error"], result["error"]), f"{case.rule}: {result['error']}"
        return
    assert "error" not in result, f"{case.rule}: {result['error']}"
    wanted, got = ([*_lines(value)] for value in (expected, result))
    assert got == wanted, f"{case.rule}\n" + "\n".join(
        unified_diff(wanted, got, "expected", "tiffin", lineterm="", n=0)
    )


def _lines(result: Result) -> Iterator[str]:
    yield from (f"{path} {line}" for path, line in sorted(result["tree"].items()))
    yield from (f"{name}: {json.dumps(value, sort_keys=True)}" for name, value in sorted(result["config"].items()))
    yield from result["history"]


def test_every_case_has_an_answer() -> None:
    """A case stands on an oracle's word, or says why not."""
    assert [line for case in CASES.values() if (line := _unfounded(case))] == []


def _unfounded(case: Case) -> str:
    asked = EXPECTED[case.area].get(case.name, {}).get("buildkit")
    if case.no_oracle:
        founded = (case.stance or case.old) and (case.expect or case.error)
        return "" if founded else f"{case.id} asks nobody, and says no reason or no result"
    if asked is None:
        return f"run python -m tests.conformance.regenerate {case.id}"
    agrees = ("error" in asked) == bool(case.error)
    return "" if agrees or case.stance or case.old else f"{case.id}: {asked.get('error', 'built')}"

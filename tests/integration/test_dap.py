"""tiffin dap, driven by VS Code's own client of the Debug Adapter Protocol."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.userns
SCRIPT = Path(__file__).parent / "dap/session.cjs"
PACKAGE = "@vscode/debugadapter-testsupport@1.68.0"
SECONDS = 300
LINES = [
    "FROM minimal AS build",
    "WORKDIR /w",
    *(f"RUN echo {number} >f{number}" for number in range(8)),
    "COPY word /w/",
    "FROM minimal",
    "COPY --from=build /w /w",
    *(f"RUN rm /w/f{number} && echo {number} >/w/g{number}" for number in range(8)),
]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where node finds the client."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("client")
    argv = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), PACKAGE]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr}")
    return folder / "node_modules"


class Session:
    """Builds `dap` in the runner's folder, and debugs it."""

    def __init__(self, cli: CliRunner) -> None:
        self._cli = cli
        self.folder = Path(cli.folder) / "dap"

    def context(self, lines: Sequence[str], **files: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, text in {"Dockerfile": "".join(f"{line}\n" for line in lines), "word": "given\n", **files}.items():
            (self.folder / name).write_text(text)
        self._cli.own(self.folder)

    def __call__(
        self,
        *actions: tuple[str, Any],
        asked: str,
        words: Sequence[str] = ("build", "."),
        breakpoints: Sequence[int] = (),
        **launch: object,
    ) -> dict[str, Any]:
        script = Path(self._cli.folder) / "adapter.sh"
        script.write_text(f"cd {self.folder}\nexec {shlex.join(self._cli.argv('dap', *words))}\n")
        settings = Path(self._cli.folder) / "settings.json"
        document = {
            "script": str(script),
            "folder": str(self._cli.folder),
            "file": str(self.folder / "Dockerfile"),
            "asked": asked,
            "actions": actions,
            "breakpoints": breakpoints,
            "launch": launch,
        }
        settings.write_text(json.dumps(document))
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            ["node", str(shutil.copy(SCRIPT, self._cli.folder)), str(settings)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            **self._cli.options(),
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def session(cli: CliRunner, client: Path, nothing_left: None) -> Session:
    shutil.copytree(client, cli.folder / "node_modules", dirs_exist_ok=True)
    return Session(cli)


def files_at(line: int) -> list[str]:
    """What /w holds before a line of LINES."""
    if line <= 11:
        return [f"f{number}" for number in range(max(0, line - 3))]
    if line <= 13:
        return []
    gone = line - 14
    return [*(f"f{n}" for n in range(gone, 8)), *(f"g{n}" for n in range(gone)), "word"]


def test_a_session_steps_forward_and_back(session: Session) -> None:
    session.context(LINES)
    count = len(LINES)
    moves = [("next", None)] * count + [("stepBack", None)] * count
    found = session(*moves, asked="ls /w 2>/dev/null; true", stopOnEntry=True)
    lines = [*range(1, count + 1), count]
    seen = [(stop["line"], stop["said"].split()) for stop in found["seen"]]
    there = [(line, files_at(line)) for line in lines[:-1]] + [(count, files_at(count + 1))]
    assert seen == [*there, *there[-2::-1]]
    assert [stop["reason"] for stop in found["seen"]] == ["entry", *["step"] * (2 * count)]
    assert found["code"] == 0 and "sha256:" in found["output"]
    assert {"supportsStepBack", "supportsExceptionInfoRequest"} <= set(found["capabilities"])


def test_breakpoints_failures_and_what_is_looked_at(session: Session) -> None:
    session.context(
        [
            "FROM minimal AS base",
            "ARG A=1",
            "ENV B=2",
            "RUN mkdir /d && echo text >/d/file && ln -s file /d/link && chmod 604 /d/file",
            "",
            "FROM minimal",
            "COPY --from=base /d /d",
            "USER 33",
            "RUN --mount=type=secret,id=s,target=/s,uid=33 cat /s >/tmp/s; exit 4",
        ]
    )
    found = session(
        ("open", ["Environment"]),
        ("open", ["Arguments", "exec"]),
        ("continue", None),
        ("stepBack", None),
        ("stepOut", None),
        ("continue", None),
        ("exceptionInfo", {}),
        ("open", ["File Explorer", "d/", "file"]),
        ("open", ["File Explorer", "tmp/", "s"]),
        ("evaluate", {"expression": "B", "context": "hover"}),
        ("evaluate", {"expression": "/d/file", "context": "hover"}),
        ("evaluate", {"expression": "/none", "context": "watch"}),
        ("evaluate", {"expression": "exec", "context": "repl"}),
        ("evaluate", {"expression": "exec wc -c /tmp/s", "context": "repl"}),
        ("stepBack", None),
        ("next", None),
        asked="id -u; cat /d/file 2>/dev/null; ls /tmp",
        words=("build", "--secret", "id=s,src=word", "."),
        breakpoints=[2, 7, 99],
    )
    seen = found["seen"]
    assert [(row["verified"], row["line"]) for row in found["breakpoints"]] == [(True, 4), (True, 7), (False, 99)]
    assert (seen[0]["reason"], seen[0]["line"], seen[0]["said"].split()[0]) == ("breakpoint", 4, "0")
    assert seen[0]["depth"] == 2 and {"A": "1", "B": "2"}.items() <= seen[1].items()
    assert seen[2]["2"].startswith("mkdir /d")
    stops = [(stop["reason"], stop["line"], stop["said"].split()[-1]) for stop in seen[3:6]]
    assert stops == [("breakpoint", 7, "0"), ("step", 6, "0"), ("step", 7, "0")]  # a breakpoint on the way
    failure = next(stop for stop in seen if stop.get("reason") == "exception")
    assert failure["line"] == 9 and "exit code: 4" in failure["text"] and failure["said"] == "33\ntext\ns\n"
    rest = seen[seen.index(failure) + 1 :]
    assert rest[0]["exceptionId"] == "exit code 4"
    assert rest[1]["data"] == "text\n" and rest[1]["mode"] == "-rw----r--"
    assert rest[2]["data"] == "given\n"
    assert [row.get("result", row.get("refused")) for row in rest[3:7]][1] == "text\n"
    assert "there is no /none" in rest[5]["refused"] and "A terminal opens" in rest[6]["result"]
    assert rest[7]["result"] == "6 /tmp/s\n"
    assert (rest[8]["reason"], rest[8]["said"]) == ("step", "33\ntext\n")
    assert (rest[9]["reason"], rest[9]["line"]) == ("exception", 9)
    assert found["code"] == 1 and found["terminal"][-5:-1] == ["dap", "attach", "--secret", "id=s,src=word"]


def test_a_build_is_paused_and_a_bake_target_debugged(session: Session) -> None:
    bake = json.dumps({"target": {"app": {"args": {"A": "baked"}, "tags": ["baked"]}}})
    lines = ["FROM minimal", "ARG A", "RUN echo $A >/a; sleep 1", "RUN touch /b", "RUN touch /c"]
    session.context(lines, **{"docker-bake.json": bake})
    found = session(
        ("pause", 700), ("next", None), asked="cat /a; ls -d /[bc]", words=("bake", "app"), stopOnEntry=True
    )
    assert [(stop["reason"], stop["line"]) for stop in found["seen"]] == [("entry", 1), ("pause", 4), ("step", 5)]
    assert [stop["said"].split("\n")[0] for stop in found["seen"][1:]] == ["baked", "baked"]
    assert found["code"] == 0 and "library/baked" in found["output"]

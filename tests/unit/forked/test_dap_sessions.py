"""tiffin dap in forks: requests and what they answer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dap_client import DapClient
from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program

HERE = -100  # AT_FDCWD
Start = Callable[..., DapClient]


def makes(path: bytes) -> Call:
    return "openat", (HERE, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)


def reads(path: bytes) -> Call:
    return "openat", (HERE, path, os.O_RDONLY)


PROGRAMS = {
    "first": raw_program(makes(b"/made")),
    "fails": raw_program(makes(b"/left"), reads(b"/missing")),
    "sees-made": raw_program(reads(b"/made")),
    "sees-left": raw_program(reads(b"/left")),
    "waits": raw_program(("nanosleep", (b"\x00" * 8 + (300_000_000).to_bytes(8, "little"), 0))),
    "hangs": raw_program(("nanosleep", ((100).to_bytes(8, "little") + b"\x00" * 8, 0))),
}
LINES = (
    "FROM scratch AS base",
    "COPY --chmod=755 programs /bin/",
    "ARG A=1",
    "ENV B=two",
    'RUN ["/bin/first"]',
    "FROM base",
    "WORKDIR /work",
    'RUN ["/bin/fails"]',
)


@pytest.fixture
def start(forked: Forked, tmp_path: Path) -> Iterator[Start]:
    """Writes a Dockerfile, and begins a session with its breakpoints."""
    folder = tmp_path / "context"
    (folder / "programs").mkdir(parents=True)
    for name, program in PROGRAMS.items():
        (folder / "programs" / name).write_bytes(program)
    clients = []

    def begin(
        *lines: str, words: tuple[str, ...] = ("build",), breakpoints: tuple[int, ...] = (), **launch: object
    ) -> DapClient:
        file = folder / "Dockerfile"
        file.write_text("".join(f"{line}\n" for line in lines or LINES))
        client = DapClient(forked.root, tmp_path, "dap", *words, *([folder] if words[0] == "build" else []))
        clients.append(client)
        assert client.request("initialize", supportsRunInTerminalRequest=True)["supportsStepBack"]
        client.request("launch", **launch)
        client.event("initialized")
        rows = [{"line": line} for line in breakpoints]
        client.request("setBreakpoints", source={"path": str(file)}, breakpoints=rows)
        client.request("setExceptionBreakpoints", filters=["failed"])
        client.request("configurationDone")
        return client

    yield begin
    for client in clients:
        client.close()


def where(client: DapClient) -> tuple[str, int]:
    """Why it stopped, and in which line."""
    reason = client.event("stopped")["reason"]
    return reason, client.request("stackTrace", threadId=1)["stackFrames"][0]["line"]


def code(client: DapClient, program: str, frame: int | None = None) -> int:
    """How a program ends in the step."""
    text = client.request("evaluate", expression=f"exec /bin/{program}", context="repl", frameId=frame)["result"]
    return int(text.rpartition(" ")[2].rstrip("]")) if text else 0


def variables(client: DapClient, *path: str) -> dict[str, str]:
    """The values below a scope."""
    frame = client.request("stackTrace", threadId=1)["stackFrames"][0]["id"]
    rows = client.request("scopes", frameId=frame)["scopes"]
    for name in path:
        number = next(row for row in rows if row["name"] == name)["variablesReference"]
        rows = client.request("variables", variablesReference=number)["variables"]
    return {row["name"]: row["value"] for row in rows}


@pytest.mark.thorough
def test_steps_forward_and_back(start: Start) -> None:
    client = start(stopOnEntry=True)
    assert where(client) == ("entry", 1)
    lines = [2, 5, 6, 7, 8]
    for line in lines:
        client.request("next", threadId=1)
        assert where(client) == ("step", line)
    assert (code(client, "sees-made"), code(client, "sees-left")) == (0, 2)
    client.request("next", threadId=1)
    assert where(client) == ("exception", 8)
    assert (code(client, "sees-made"), code(client, "sees-left")) == (0, 0)
    assert client.request("exceptionInfo", threadId=1)["exceptionId"] == "exit code 2"
    assert {"left", "made"} <= set(variables(client, "File Explorer"))
    for line in reversed(lines):
        client.request("stepBack", threadId=1)
        assert where(client) == ("step", line)
        assert code(client, "sees-made") == (0 if line > 5 else 2 if line > 2 else 127)
    client.request("reverseContinue", threadId=1)
    assert where(client)[1] == 1
    client.request("continue", threadId=1)
    assert where(client) == ("exception", 8)
    client.request("continue", threadId=1)
    assert client.event("exited")["exitCode"] == 1
    client.request("disconnect")


def test_what_is_shown(start: Start, forked: Forked, tmp_path: Path) -> None:
    client = start(breakpoints=(4, 8, 99))
    assert where(client) == ("breakpoint", 5)
    frames = client.request("stackTrace", threadId=1)["stackFrames"]
    assert [frame["line"] for frame in frames] == [5, 6] and Path(frames[0]["source"]["path"]).name == "Dockerfile"
    assert client.request("threads")["threads"] == [{"id": 1, "name": "build"}]
    assert variables(client, "Environment") | {"A": "1", "B": "two"} == variables(client, "Environment")
    assert variables(client, "Arguments")["exec"] == "/bin/first"
    assert variables(client, "Arguments", "platform")["os"] == "linux"
    assert variables(client, "File Explorer") == {"bin/": ""}
    details = variables(client, "File Explorer", "bin/", "first")
    assert (details["data"], details["mode"]) == ("binary data", "-rwxr-xr-x")
    ask = {"context": "hover", "frameId": frames[0]["id"]}
    assert client.request("evaluate", expression="$B", **ask)["result"] == "two"
    assert client.request("evaluate", expression="/bin", **ask)["result"].split() == sorted(PROGRAMS)
    assert client.request("evaluate", expression="/bin/first", **ask)["result"] == "binary data"
    assert "there is no variable C" in client.refused("evaluate", expression="C", **ask)
    assert "there is no /none" in client.refused("evaluate", expression="/none", **ask)
    assert client.request("evaluate", expression=" ", context="repl")["result"] == ""
    assert "no such file" in client.request("evaluate", expression="echo", context="repl")["result"]
    assert "A terminal opens" in client.request("evaluate", expression="exec", context="repl")["result"]
    words = client.asked[0]["arguments"]["args"]
    assert words[-3:-1] == ["dap", "attach"] and Path(words[-1]).stat().st_mode & 0o077 == 0
    shell = forked("dap", "attach", words[-1], check=False)
    assert shell.returncode == 127 and "/bin/sh" in shell.stderr
    (tmp_path / "other").write_bytes(b"no step")
    assert "cannot be read" in forked("dap", "attach", tmp_path / "other", check=False).stderr
    lines = client.request("breakpointLocations", source={}, line=1, endLine=6)["breakpoints"]
    assert lines == [{"line": 1}, {"line": 2}, {"line": 5}, {"line": 6}]
    assert client.request("source", sourceReference=1)["content"].startswith("FROM scratch AS base\n")
    client.request("stepIn", threadId=1)
    assert where(client) == ("step", 6) and variables(client, "Arguments")["base"] == "stage 0"
    client.request("stepBack", threadId=1)
    assert where(client) == ("step", 5)
    client.request("stepBack", threadId=1)
    assert where(client) == ("step", 2) and variables(client, "Arguments")["dest"] == "/bin/"
    client.request("stepOut", threadId=1)
    assert where(client) == ("step", 5)
    client.request("continue", threadId=1)
    assert where(client) == ("breakpoint", 8)
    client.request("reverseContinue", threadId=1)
    assert where(client) == ("breakpoint", 5)


def test_what_is_wrong_is_refused(start: Start) -> None:
    client = start(stopOnEntry=True)
    where(client)
    assert "knows no request dance" in client.refused("dance")
    assert "there is no frame 99" in client.refused("scopes", frameId=99)
    assert "not understood" in client.refused("scopes")
    assert "no step failed here" in client.refused("exceptionInfo", threadId=1)
    assert client.request("variables", variablesReference=999)["variables"] == []
    client.request("terminate")
    assert client.event("exited")["exitCode"] == 1


@pytest.mark.thorough
def test_a_build_ends_well_and_begins_again(start: Start, forked: Forked, tmp_path: Path) -> None:
    client = start(*LINES[:5], words=("build", "-t", "app", "--no-cache"), stopOnEntry=True)
    where(client)
    client.request("next", threadId=1)
    where(client)
    with (tmp_path / "context/Dockerfile").open("a") as file:
        file.write("ENV C=3\n")
    client.request("restart", arguments={})
    client.request("setBreakpoints", source={"path": str(tmp_path / "context/Dockerfile")}, lines=[5])
    assert where(client) == ("entry", 1)
    client.request("continue", threadId=1)
    assert where(client) == ("breakpoint", 5)
    client.request("next", threadId=1)
    assert where(client) == ("step", 5)
    assert code(client, "sees-made") == 0
    client.request("continue", threadId=1)
    assert client.event("exited")["exitCode"] == 0
    client.request("disconnect")
    assert "C=3" in forked("inspect", "app", "--format", "{{json .Config.Env}}").stdout


@pytest.mark.thorough
def test_without_debugging_and_with_faults(start: Start, forked: Forked, tmp_path: Path) -> None:
    client = start(breakpoints=(5,), noDebug=True, target="base")
    assert client.event("exited")["exitCode"] == 0
    client.request("disconnect")
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY none /\n")
    other = DapClient(forked.root, tmp_path, "dap", "build", tmp_path / "context")
    other.request("initialize")
    other.request("launch", stopOnEntry=True)
    other.request("configurationDone")
    assert where(other) == ("entry", 1)
    other.request("continue", threadId=1)
    assert where(other) == ("exception", 2) and "runInTerminal" in other.refused(
        "evaluate", expression="exec", context="repl"
    )
    other.request("disconnect")
    assert other.close() == 0
    broken = DapClient(forked.root, tmp_path, "dap", "build", tmp_path / "none")
    broken.request("initialize")
    assert "none" in broken.refused("launch")
    broken.close()
    for data in (
        b"Content-Length: x\r\n\r\n{}",
        b"Content-Length: 2\r\n\r\n[]",
        b"Content-Length: 1\r\n\r\n{",
        b"x" * 5000,
    ):
        wrong = DapClient(forked.root, tmp_path, "dap", "build", tmp_path / "context")
        wrong.send(data)
        assert wrong.close() == 2
    assert "stdin is the editor's" in forked("dap", "build", "-", check=False).stderr


@pytest.mark.thorough
def test_targets_of_bake_files(start: Start, forked: Forked, tmp_path: Path) -> None:
    bake = {"target": {"app": {"context": "context", "target": "base"}, "two": {"context": "context"}}}
    (tmp_path / "docker-bake.json").write_text(json.dumps(bake))
    client = start(words=("bake", "app"), stopOnEntry=True)
    assert where(client) == ("entry", 1)
    client.request("continue", threadId=1)
    assert client.event("exited")["exitCode"] == 0
    client.request("disconnect")
    other = DapClient(forked.root, tmp_path, "dap", "bake", "app", "two")
    other.request("initialize")
    assert "these are meant: app, two" in other.refused("launch")
    assert other.close() == 0


def test_a_breakpoint_on_the_first_line_counts(start: Start) -> None:
    client = start(breakpoints=(1, 6))
    assert where(client) == ("breakpoint", 1)
    client.request("stepOut", threadId=1)
    assert where(client) == ("step", 6)  # of two stages, each has its own FROM


def test_what_runs_ends_with_the_session(start: Start) -> None:
    """What is left of it the fixture of the state directory would tell."""
    lines = (*LINES[:2], 'RUN ["/bin/hangs"]')
    for command in ("evaluate", "continue"):
        client = start(*lines, breakpoints=(3,))
        where(client)
        client.begin(command, expression="exec /bin/hangs", context="repl", threadId=1)
        began = time.monotonic()
        client.request("disconnect")
        assert client.close() == 0 and time.monotonic() - began < 20


def test_it_is_paused(start: Start) -> None:
    client = start(*LINES[:2], 'RUN ["/bin/waits"]', 'RUN ["/bin/first"]', stopOnEntry=True)
    where(client)
    client.request("continue", threadId=1)
    while "waits" not in client.event("output")["output"]:
        pass
    assert "not stopped" in client.refused("next", threadId=1)
    client.request("pause", threadId=1)
    assert where(client) == ("pause", 4)
    client.request("disconnect")

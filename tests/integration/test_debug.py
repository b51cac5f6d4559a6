"""tiffin debug, by steps that fail for many reasons: what a command finds there after and before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.userns

# what stands before the step, the step itself, what is asked there, what it says after the failure and before it
CASES = {
    "half done": (
        "",
        "RUN echo half >/out; cat /missing",
        "cat /out",
        "half",
        "",
    ),
    "as a user": (
        "USER 33:44\nWORKDIR /tmp\n",
        "RUN echo x >mine; false",
        "id -u; id -g; stat -c %u /tmp/mine",
        "33 44 33",
        "33 44",
    ),
    "removed": (
        "RUN mkdir -p /d && echo x >/d/f && ln /d/f /d/g\n",
        "RUN rm -r /d; false",
        "ls /d 2>&1 | wc -l; test -e /d || echo gone",
        "1 gone",
        "2",
    ),
    "replaced": (
        "RUN mkdir /d && echo x >/d/f\n",
        "RUN rm -r /d; mkdir /d; touch /d/new; false",
        "ls /d",
        "new",
        "f",
    ),
    "owners": (
        "",
        "RUN touch /f; chown 7:8 /f; chmod 4751 /f; false",
        "stat -c '%u %g %a' /f 2>/dev/null",
        "7 8 4751",
        "",
    ),
    "killed": (
        "",
        "RUN echo x >/x; sh -c 'kill -9 $$'; exit $?",
        "cat /x 2>/dev/null; echo $0",
        "x sh",
        "sh",
    ),
    "heredoc": (
        "",
        "RUN <<E\necho first >/x\nfalse && true\nexit 4\nE",
        "cat /x 2>/dev/null; wc -l <$HISTFILE",
        "first 4",
        "4",
    ),
    "script": (
        "",
        "RUN <<E\n#!/bin/sh\necho script >/x\nexit 4\nE",
        "cat /x 2>/dev/null; ls /dev/pipes | wc -l",
        "script 1",
        "1",
    ),
    "no network": (
        "",
        "RUN --network=none ip -o link | wc -l >/n; false",
        "cat /n 2>/dev/null; ip -o link | wc -l",
        "1 1",
        "1",
    ),
    "environment": (
        'ARG A=arg\nENV B="b b"\n',
        "RUN export C=c; false",
        "echo $A $B $C",
        "arg b b",
        "arg b b",
    ),
    "tmpfs": (
        "",
        "RUN --mount=type=tmpfs,target=/t touch /t/x; false",
        "ls /t | wc -l; grep -c ' /t tmpfs' /proc/mounts",
        "0 1",
        "0 1",
    ),
    "stage": (
        "",
        "RUN --mount=type=bind,from=other,source=/etc,target=/e cat /e/word /missing",
        "cat /e/word",
        "word",
        "word",
    ),
    "context": (
        "",
        "RUN --mount=type=bind,target=/c cat /c/word /missing",
        "cat /c/word",
        "given",
        "given",
    ),
    "late": (
        "",
        "# tiffin: timeout=500ms\nRUN echo x >/x; sleep 100",
        "cat /x 2>/dev/null",
        "x",
        "",
    ),
}


@pytest.fixture
def folder(cli: CliRunner, tmp_path: Path) -> Path:
    place = Path(cli.folder) / "debug"
    place.mkdir(exist_ok=True)
    (place / "word").write_text("given\n")
    return place


@pytest.mark.parametrize("case", CASES)
def test_a_failed_step_is_looked_into(cli: CliRunner, folder: Path, case: str) -> None:
    isolation = "single" if "user" in cli.identity else "range"
    above, step, asked, after, before = CASES[case]
    stages = "FROM minimal AS other\nRUN mkdir -p /etc && echo word >/etc/word\nFROM minimal\n"
    (folder / "Dockerfile").write_text(f"{stages}{above}{step}\n")
    cli.own(folder)
    done = cli.run("build", "--progress=plain", f"--isolation={isolation}", folder)
    assert done.returncode == 1 and "tiffin debug opens a shell" in done.stderr, done.stderr
    for words, wanted in (([], after), (["--before"], before)):
        found = cli.run("debug", *words, "sh", "-c", asked)
        assert " ".join(found.stdout.split()) == wanted, found.stderr
    assert cli.run("debug", "sh", "-c", "touch /thrown; exit 5").returncode == 5
    assert cli.run("debug", "test", "-e", "/thrown").returncode == 1

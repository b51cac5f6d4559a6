"""tiffin debug, by Dockerfiles that fail for many reasons: what a command finds after the failure and before it; as
root, with a range of ids, and with one.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.forkserver import ForkServer
from tests.conftest import CHECKOUT
from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = pytest.mark.userns
TIERS = ("root", "range", "single")
SHOW = (
    "id -u; echo $A; pwd; [ $PWD = /work ] && ls || "
    "{ [ ! -d /m ] || echo m; [ $(id -u) = 0 ] || echo tmp; [ ! -d /w ] || echo w; ls /tmp; }"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A failing Dockerfile over `FROM minimal`: what is asked in the step, and what that says after and before.

    `build` and `debug`: more words of these commands; `files`: of the context; `error`: what the build says.
    """

    file: str
    asked: str
    after: str
    before: str
    error: str = "did not complete successfully"
    build: tuple[str, ...] = ()
    debug: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    whole: bool = False  # `file` is all of the Dockerfile


def _archive() -> bytes:
    """An archive that ends too soon."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = 1 << 16
        archive.addfile(member, io.BytesIO(bytes(1 << 16)))
    return stream.getvalue()[:2048]


PART, ABOVE = "COPY --from=other /etc/word /w\n", "FROM minimal AS other\nRUN echo word >/etc/word\n"
CASES = {
    "half done": Case(file="RUN echo half >/out; cat /missing", asked="cat /out", after="half", before=""),
    "missing package": Case(
        file="RUN mkdir -p /pool && echo tool-1.0 >/pool/index\n"
        "RUN grep -q tool-2 /pool/index || { ls /pool >/tried; exit 100; }",
        asked="cat /pool/index /tried 2>/dev/null",
        after="tool-1.0 index",
        before="tool-1.0",
    ),
    "test failure": Case(
        file="WORKDIR /app\nCOPY word test.sh ./\nRUN sh test.sh >report 2>&1",
        asked="pwd; cat report 2>/dev/null",
        after="/app FAILED: given is not wanted",
        before="/app",
        files={"test.sh": b'[ "$(cat word)" = wanted ] || { echo "FAILED: $(cat word) is not wanted"; exit 1; }\n'},
    ),
    "permission": Case(
        file="RUN mkdir /private && chmod 700 /private\nUSER 33\nRUN touch /tmp/first; touch /private/x",
        asked="id -u; ls -d /tmp/first /private/x 2>/dev/null; touch /private/y 2>&1",
        after="33 /tmp/first touch: /private/y: Permission denied",
        before="33 touch: /private/y: Permission denied",
    ),
    "no network": Case(
        file="RUN --network=none ip -o link | wc -l >/n; wget -q -T 1 http://192.0.2.1/",
        asked="cat /n 2>/dev/null; ip -o link | wc -l",
        after="1 1",
        before="1",
    ),
    "the network of the machine": Case(
        file="RUN wc -l </proc/net/dev >/n; false",
        asked="test ! -e /n || [ $(cat /n) = $(wc -l </proc/net/dev) ] && echo same",
        after="same",
        before="same",
        build=("--network=host",),
    ),
    "out of space": Case(
        file="RUN --mount=type=tmpfs,target=/t,size=64k echo begun >/log; "
        "dd if=/dev/zero of=/t/big bs=4k count=64 2>/dev/null",
        asked="cat /log 2>/dev/null; dd if=/dev/zero of=/t/big bs=4k count=64 2>&1 | grep -c 'No space'",
        after="begun 1",
        before="1",
    ),
    "exec format": Case(
        file="COPY --chmod=755 odd /bin/odd\nRUN touch /tried; exec /bin/odd",
        asked="ls /tried 2>/dev/null; head -c 3 /bin/odd",
        after="/tried odd",
        before="odd",
        files={"odd": b"odd\x00\x01"},
        error="exit code: 12",
    ),
    "out of memory": Case(
        file="RUN echo begun >/log; ulimit -v 20000; dd if=/dev/zero of=/dev/null bs=64M count=1 2>>/log",
        asked="cat /log 2>/dev/null | head -1",
        after="begun",
        before="",
    ),
    "ulimit": Case(
        file='RUN ulimit -n >/n; for i in 3 4 5 6 7; do eval "exec $i</etc/passwd" || exit 1; done; false',
        asked="cat /n 2>/dev/null; ulimit -n",
        after="16 16",
        before="16",
        build=("--ulimit", "nofile=16"),
    ),
    "as a user": Case(
        file="USER 33:44\nWORKDIR /tmp\nRUN echo x >mine; false",
        asked="id -u; id -g; stat -c %u /tmp/mine 2>/dev/null",
        after="33 44 33",
        before="33 44",
    ),
    "removed": Case(
        file="RUN mkdir -p /d && echo x >/d/f && ln /d/f /d/g\nRUN rm -r /d; false",
        asked="ls /d 2>&1 | wc -l; test -e /d || echo gone",
        after="1 gone",
        before="2",
    ),
    "replaced": Case(
        file="RUN mkdir /d && echo x >/d/f\nRUN rm -r /d; mkdir /d; touch /d/new; false",
        asked="ls /d",
        after="new",
        before="f",
    ),
    "owners": Case(
        file="RUN touch /f; chown 7:8 /f; chmod 4751 /f; false",
        asked="stat -c '%u %g %a' /f 2>/dev/null",
        after="7 8 4751",
        before="",
    ),
    "killed": Case(
        file="RUN echo x >/x; sh -c 'kill -9 $$'; exit $?",
        asked="cat /x 2>/dev/null; echo $0",
        after="x sh",
        before="sh",
    ),
    "heredoc": Case(
        file="RUN <<E\necho first >/x\nfalse && true\nexit 4\nE",
        asked="cat /x 2>/dev/null; wc -l <$HISTFILE",
        after="first 4",
        before="4",
        error="exit code: 4",
    ),
    "script": Case(
        file="RUN <<E\n#!/bin/sh\necho script >/x\nexit 4\nE",
        asked="cat /x 2>/dev/null; ls /dev/pipes | wc -l",
        after="script 1",
        before="1",
    ),
    "variables": Case(
        file='ARG A=arg\nENV B="b b"\nRUN export C=c; false',
        asked="echo $A $B $C",
        after="given b b",
        before="given b b",
        build=("--build-arg", "A=given"),
    ),
    "tmpfs": Case(
        file="RUN --mount=type=tmpfs,target=/t touch /t/x; false",
        asked="ls /t | wc -l; grep -c ' /t tmpfs' /proc/mounts",
        after="0 1",
        before="0 1",
    ),
    "cache mount": Case(
        file="RUN --mount=type=cache,target=/c,id=debug touch /c/x; cp /missing /",
        asked="ls /c; touch /c/again && rm /c/again",
        after="x",
        before="x",  # what a cache holds outlives the step
    ),
    "stage": Case(
        file=f"{ABOVE}FROM minimal\nRUN --mount=type=bind,from=other,source=/etc,target=/e cat /e/word /missing",
        asked="cat /e/word",
        after="word",
        before="word",
        whole=True,
    ),
    "context": Case(
        file="RUN --mount=type=bind,target=/c cat /c/word /missing",
        asked="cat /c/word",
        after="given",
        before="given",
    ),
    "secret": Case(
        file="RUN --mount=type=secret,id=s,env=S,target=/s [ $S = right ] || { wc -c </s >/n; exit 1; }",
        asked="cat /s /n 2>/dev/null; echo $S",
        after="given 6 given",
        before="given given",
        build=("--secret", "id=s,src=debug/word"),
        debug=("--secret", "id=s,src=debug/word"),
    ),
    "secret not given again": Case(
        file="RUN --mount=type=secret,id=s,target=/s wc -c </s >/n; exit 1",
        asked="cat /s 2>/dev/null; cat /n 2>/dev/null",
        after="6",
        before="",
        build=("--secret", "id=s,src=debug/word"),
    ),
    "named stage": Case(
        file=f"{ABOVE}FROM minimal AS app\n{PART}RUN echo bad >/x; false\nFROM minimal\nCOPY --from=app /x /",
        asked="cat /w /x 2>/dev/null",
        after="word bad",
        before="word",
        whole=True,
    ),
    "target": Case(
        file="FROM minimal AS test\nRUN touch /t; false\nFROM minimal\nRUN touch /never",
        asked="ls /t /never 2>/dev/null",
        after="/t",
        before="",
        build=("--target", "test"),
        whole=True,
    ),
    "ONBUILD": Case(
        file="FROM parent\nRUN touch /own",
        asked="ls /trigger /own 2>/dev/null",
        after="/trigger",
        before="",
        whole=True,
    ),
    "SHELL": Case(
        file='SHELL ["/bin/busybox", "ash", "-ec"]\nRUN touch /a; false; touch /b',
        asked="ls /a /b 2>/dev/null",
        after="/a",
        before="",
    ),
    "program missing": Case(
        file='RUN ["/bin/absent", "--help"]',
        asked="ls /bin/absent 2>/dev/null | wc -l",
        after="0",
        before="0",
        error="exit code: 127",
    ),
    "working directory": Case(
        file="WORKDIR /deep/er\nRUN touch file\nRUN rm -r /deep/er; cd /deep/er",
        asked="pwd; ls",
        after="/deep/er",  # which is made again, as for a RUN
        before="/deep/er file",
    ),
    "bad archive": Case(
        file="RUN touch /there\nADD bad.tar /",
        asked="ls /there /file 2>/dev/null",
        after="/there",  # of what is no RUN nothing is left
        before="/there",
        error="bad.tar",
        files={"bad.tar": _archive()},
    ),
    "COPY into a file": Case(
        file="RUN touch /there\nCOPY word /there/under/it",
        asked="ls -d /there*",
        after="/there",
        before="/there",
        error="there",
    ),
    "late": Case(
        file="# tiffin: timeout=300ms\nRUN echo x >/x; sleep 100",
        asked="cat /x 2>/dev/null",
        after="x",
        before="",
        error="did not complete within",
    ),
    "insecure": Case(
        file="RUN --security=insecure grep CapBnd /proc/self/status >/caps; false",
        asked="ls /caps 2>/dev/null && grep CapBnd /proc/self/status | cmp - /caps && echo as many",
        after="/caps as many",
        before="",
        build=("--allow", "security.insecure"),
    ),
    "several platforms": Case(
        file="ARG TARGETARCH\nRUN echo $TARGETARCH >/arch; false",
        asked="cat /arch 2>/dev/null; echo $TARGETARCH",
        after="amd64 amd64",
        before="amd64",
        build=("--platform", "linux/amd64,linux/arm64"),
    ),
    "health check": Case(
        file='HEALTHCHECK CMD false\nENTRYPOINT ["/never"]\nCMD ["never"]\nRUN echo x >/x; false',
        asked="cat /x 2>/dev/null; echo $0",
        after="x sh",
        before="sh",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """tiffin as somebody, in forks of a process of his."""

    cli: CliRunner
    server: ForkServer
    tier: str

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        done = self.server.run(self.cli.argv(*words)[3:], cwd=self.cli.folder, env=self.cli.env)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        return done

    def context(self, file: str, files: Mapping[str, bytes] | None = None) -> Path:
        """Write the context `debug`."""
        folder = self.cli.folder / "debug"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in {"Dockerfile": file.encode(), "word": b"given\n", **(files or {})}.items():
            (folder / name).write_bytes(data)
        self.cli.own(folder)
        return folder


@pytest.fixture(scope="module", params=TIERS)
def tiffin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with ExitStack() as stack:
        if request.param == "root":
            cli = stack.enter_context(own_cli(tmp_path_factory.mktemp("machine")))
        else:
            users: Users = request.getfixturevalue("users")
            cli = stack.enter_context(user_cli(users, WITH_IDS if request.param == "range" else WITHOUT_IDS))
        place = cli.folder / "fork"
        place.mkdir()
        program = place / "forkserver.py"
        shutil.copy(CHECKOUT / "tests/conformance/forkserver.py", program)
        cli.own(place)
        server = stack.enter_context(ForkServer(place, [cli.python, str(program)], **cli.options()))
        made = Runner(cli=cli, server=server, tier=request.param)
        parent = made.context("FROM minimal\nONBUILD RUN touch /trigger; false\n")
        done = made("build", "-q", "-t", "parent", parent)
        assert done.returncode == 0, done.stderr
        yield made
        assert cli.left() == []


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


NAMES = list(CASES)
BY_TIER = {"root": NAMES, "range": NAMES[::2], "single": NAMES[1::2]}  # half of them as either user


@pytest.mark.parametrize(
    ("tiffin", "name"), [(tier, name) for tier, names in BY_TIER.items() for name in names], indirect=["tiffin"]
)
def test_a_failed_step_is_looked_into(tiffin: Runner, name: str) -> None:
    case = CASES[name]
    text = case.file if case.whole else f"FROM minimal\n{case.file}"
    done = tiffin("build", "--progress=plain", *case.build, tiffin.context(f"{text}\n", case.files))
    assert done.returncode == 1 and case.error in done.stderr, done.stderr
    for words, wanted in ((case.debug, case.after), (("--before", *case.debug), case.before)):
        found = tiffin("debug", *words, "sh", "-c", case.asked)
        assert said(found) == wanted, (words, found)


def test_a_target_of_a_bake_file_is_looked_into(tiffin: Runner) -> None:
    bake = b'{"target": {"app": {"args": {"A": "baked"}}}, "group": {"default": {"targets": ["app"]}}}'
    text = "FROM minimal AS other\nFROM minimal\nARG A\nRUN echo $A >/x; false\n"
    folder = tiffin.context(text, {"docker-bake.json": bake})
    done = tiffin("bake", "--progress=plain", "-f", folder / "docker-bake.json", "--set", f"*.context={folder}")
    assert done.returncode == 1 and "tiffin debug opens a shell" in done.stderr, done.stderr
    assert said(tiffin("debug", "sh", "-c", "cat /x; echo $A")) == "baked baked"
    assert said(tiffin("debug", "--step", "2/2", "--before", "sh", "-c", "ls /x 2>/dev/null; echo $A")) == "baked"


def test_every_step_of_a_build_opens(tiffin: Runner) -> None:
    text = (
        "FROM minimal AS build\nARG A=1\nWORKDIR /work\nCOPY word .\nRUN echo one >one\nENV A=2\nRUN echo two >two\n"
        "FROM minimal\nCOPY --from=build /work /w\nUSER 33\n"
        "RUN --mount=type=bind,from=build,source=/work,target=/m cp /m/two /tmp/\nRUN touch /tmp/x; false\n"
    )
    assert tiffin("build", tiffin.context(text)).returncode == 1
    opened: tuple[tuple[str, ...], ...] = (("2", "3", "Dockerfile:7", "stage-1 2/4", "6", "7"), ("3", "6"))
    for names in opened:  # the second time all but one come from the cache
        for step, wanted in {
            "2": ("0 1 /work", "0 1 /work word"),
            "3": ("0 1 /work word", "0 1 /work one word"),
            "Dockerfile:7": ("0 2 /work one word", "0 2 /work one two word"),
            "stage-1 2/4": ("0 /", "0 / w"),
            "6": ("33 / m tmp w", "33 / m tmp w two"),
            "7": ("33 / tmp w two", "33 / tmp w two x"),
        }.items():
            if step not in names:
                continue
            for flag, seen in zip(("--before", "--after"), wanted, strict=True):
                found = tiffin("debug", flag, "--step", step, "sh", "-c", SHOW)
                assert said(found) == seen, (step, flag, found)
        assert tiffin("build", tiffin.cli.folder / "debug").returncode == 1
    assert tiffin("debug", "--step", "3", "sh", "-c", "touch /thrown; exit 5").returncode == 5
    assert tiffin("debug", "--step", "3", "test", "-e", "/thrown").returncode == 1
    listed = tiffin("debug", "--list", "--build", "^0", "--format", "{{.Step}} {{.State}} {{.Where}}").stdout
    assert listed.splitlines()[::6] == ["1 kept Dockerfile:3", "7 failed Dockerfile:12"]
    for words, reason in ((("--step", "9"), "no step is called"), (("--build", "none"), "no build record")):
        wrong = tiffin("debug", *words, "true")
        assert wrong.returncode == 125 and reason in wrong.stderr

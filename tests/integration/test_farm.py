"""Builds on a farm of real workers on this machine, each with a state directory of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.farms import TestFarm, farm_of, tiffin
from tests.support.minimal_image import busybox

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.skipif(not busybox(), reason="needs busybox-static")]
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
DOCKERFILE = """\
FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /etc && echo root:x:0:0::/: > /etc/passwd && echo app:x:7:8::/: >> /etc/passwd
FROM base AS one
RUN chown 5:6 /etc/passwd && echo one > /one
FROM base AS two
COPY --chown=app links data*/ /two/
RUN --mount=type=bind,source=data,target=/d cat /d/file /d/deep/other > /two/all
FROM base AS three
RUN --mount=type=secret,id=word cat /run/secrets/word | wc -c > /three
FROM base
COPY --from=one /one /etc/passwd /from/
COPY --from=two --chown=3:4 /two /two
RUN --mount=type=bind,from=three,source=/three,target=/t cat /t > /four
ADD archive.tar /archive/
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestFarm]:
    """A worker with a range of ids and one with a single id."""
    folder = tmp_path_factory.mktemp("farm")
    with farm_of(folder, {"range": ["--slots", "2"], "single": ["--slots", "2", "--isolation", "single"]}) as made:
        yield made


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A context with links, empty files and what is not read."""
    folder = tmp_path_factory.mktemp("context")
    (folder / "busybox").write_bytes(Path(busybox() or "").read_bytes())
    (folder / "busybox").chmod(0o755)
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/file").write_text("content\n")
    (folder / "data/deep/other").write_text("")
    os.link(folder / "data/file", folder / "data/same")
    (folder / "links").symlink_to("data")
    (folder / "unread").write_bytes(os.urandom(1 << 20))
    subprocess.run(["tar", "-cf", folder / "archive.tar", "-C", folder, "data"], check=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "word").write_text("hush")
    return folder


def digest(path: Path) -> str:
    return str(json.loads(path.read_text())["containerimage.digest"])


def test_a_farm_makes_what_one_machine_makes(farm: TestFarm, context: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [
        "-q",
        "--secret",
        f"id=word,src={context}/word",
        "-o",
        f"type=oci,dest={tmp_path}/out.tar",
        context,
    ]
    made = farm.build(tmp_path / "driver", *words, "--metadata-file", tmp_path / "farm.json", environ=EPOCH)
    assert made.returncode == 0, made.stderr
    local = [*tiffin(tmp_path / "local"), "build", *words, "--metadata-file", tmp_path / "local.json"]
    subprocess.run(list(map(str, local)), check=True, env={**os.environ, **EPOCH}, capture_output=True, timeout=120)
    assert digest(tmp_path / "farm.json") == digest(tmp_path / "local.json")
    for node in farm.workers.values():  # nobody got what no step reads, nor kept a secret
        kept = b"".join(path.read_bytes() for path in node.root.rglob("*") if path.is_file() and not path.is_symlink())
        assert (context / "unread").read_bytes() not in kept
        assert list((node.root / "tmp").glob("run-*")) == []


def test_agents_and_profiles(farm: TestFarm, context: Path, tmp_path: Path) -> None:
    """The agent stays at the driver; a profile of seccomp goes to the worker."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", key], check=True)
    (tmp_path / "profile.json").write_text(
        json.dumps({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]})
    )  # fmt: skip
    client = tmp_path / "client"
    for path in ["/usr/bin/ssh-add", *libraries("/usr/bin/ssh-add")]:
        Path(f"{client}{path}").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, f"{client}{path}")
    lines = [
        *DOCKERFILE.splitlines()[:3],
        "RUN --mount=type=ssh --mount=from=client,target=/c LD_LIBRARY_PATH=$(find /c -type d | tr '\\n' :) "
        "$(find /c -name 'ld-linux*') /c/usr/bin/ssh-add -L > /listed && grep ssh-ed25519 /listed",
        "RUN ! mkdir /no 2> /why && chown 3:4 /why /listed",
        "RUN rm /why && echo x > /x",
    ]
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
    words: list[str | Path] = [
        *("-q", "--ssh", f"default={key}", "--build-context", f"client={client}"),
        *("--security-opt", f"seccomp={tmp_path}/profile.json"),
        *("-f", tmp_path / "Dockerfile", "-o", f"type=oci,dest={tmp_path}/out.tar", context),
    ]
    made = farm.build(tmp_path / "driver", *words, "--metadata-file", tmp_path / "farm.json", environ=EPOCH)
    assert made.returncode == 0, made.stderr
    local = [*tiffin(tmp_path / "local"), "build", *words, "--metadata-file", tmp_path / "local.json"]
    subprocess.run(list(map(str, local)), check=True, env={**os.environ, **EPOCH}, capture_output=True, timeout=120)
    assert digest(tmp_path / "farm.json") == digest(tmp_path / "local.json")


def test_progress_tells_which_worker_runs_a_step(farm: TestFarm, context: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"{DOCKERFILE.split('FROM base AS one')[0]}RUN echo hello; echo there >&2\n")
    profile = tmp_path / "profile.json"
    made = farm.build(
        tmp_path / "driver", "--progress", "plain", "-f", tmp_path / "Dockerfile", "--no-cache", "--profile", profile,
        "-o", "type=cacheonly", context,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "RUN echo hello; echo there >&2 on " in made.stderr
    assert "hello" in made.stderr and "there" in made.stderr
    rows = [event["args"]["name"] for event in json.loads(profile.read_text())["traceEvents"] if event["ph"] == "M"]
    assert rows and set(rows) <= {"worker range", "worker single"}


def test_a_step_that_fails_by_itself_is_not_tried_elsewhere(farm: TestFarm, context: Path, tmp_path: Path) -> None:
    base = DOCKERFILE.split("FROM base AS one")[0]
    (tmp_path / "Dockerfile").write_text(f"{base}RUN echo tried; exit 7\n")
    words: list[str | Path] = [
        "--progress",
        "plain",
        "--no-cache",
        "-o",
        "type=cacheonly",
        "-f",
        tmp_path / "Dockerfile",
        context,
    ]
    made = farm.build(tmp_path / "driver", *words)
    assert made.returncode == 1
    assert made.stderr.count("exit 7 on ") == 1 and "exit code: 7" in made.stderr, made.stderr
    assert "another worker" not in made.stderr


def test_ctrl_c_stops_all_within_two_seconds(farm: TestFarm, context: Path, tmp_path: Path) -> None:
    base = DOCKERFILE.split("FROM base AS one")[0]
    text = f"{base}FROM base AS a\nRUN sleep 97.{os.getpid()}\nFROM base AS b\nRUN sleep 98.{os.getpid()}\n"
    (tmp_path / "Dockerfile").write_text(f"{text}FROM base\nCOPY --from=a / /a\nCOPY --from=b / /b\n")
    argv = [*tiffin(tmp_path / "driver"), "build", "--farm", farm.address, "--progress", "plain", "-f",
            tmp_path / "Dockerfile", "-o", "type=cacheonly", context]  # fmt: skip
    process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(sleeping()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(sleeping()) == 2
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.wait(20)
        while sleeping() and time.monotonic() - began < 20:
            time.sleep(0.02)
        assert sleeping() == []
        assert time.monotonic() - began < 4  # two seconds on a machine that does nothing else
    finally:
        process.kill()
        process.wait()


def test_a_killed_worker_loses_its_step_only(context: Path, tmp_path: Path) -> None:
    base = DOCKERFILE.split("FROM base AS one")[0]
    (tmp_path / "Dockerfile").write_text(f"{base}RUN sleep 2.{os.getpid()} && echo done > /done\n")
    words = ["--progress", "plain", "-f", tmp_path / "Dockerfile", "-o", f"type=oci,dest={tmp_path}/out.tar", context]
    with farm_of(tmp_path / "farm", {"first": ["--slots", "1"], "second": ["--slots", "1"]}) as farm:
        argv = [*tiffin(tmp_path / "driver"), "build", "--farm", farm.address, *words]
        process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            said = ""
            while "RUN sleep" not in said:
                said += process.stderr.readline()
            name = said.strip().rpartition(" ")[2]
            farm.workers[name].process.kill()
            errors = process.communicate(timeout=90)[1]
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, said + errors
        assert f"worker {name} was lost" in errors
        assert "done on " + next(other for other in farm.workers if other != name) in errors
        assert sleeping() == []


def test_a_farm_of_many_machines_needs_certificates(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    for address in ("10.0.0.1:8786", "tcp://farm.example:8786", "tls://127.0.0.1:8786"):
        argv = [*tiffin(tmp_path / "state"), "build", "--farm", address, str(tmp_path)]
        made = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert made.returncode == 2 and "--farm-tls-ca" in made.stderr, made.stderr


def libraries(program: str) -> list[str]:
    """The shared libraries of a program, with what loads them."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def sleeping() -> list[int]:
    """The processes that these tests have sleep."""
    found = []
    for item in Path("/proc").iterdir():
        if item.name.isdigit():
            try:
                words = (item / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"sleep"] and words[1].endswith(b".%d" % os.getpid()):
                found.append(int(item.name))
    return found

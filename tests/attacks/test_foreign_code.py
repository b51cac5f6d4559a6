"""Code that is not tiffin's must not run as tiffin: modules, name services, programs planted in images and contexts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.harness import Harness
from tests.support.minimal_image import base_files

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("attacks")]
PROGRAMS = (
    "git", "xz", "unxz", "gzip", "unpigz", "pigz", "zstd", "bzip2", "tar", "newuidmap", "newgidmap", "unshare", "mount",
    "docker-credential-evil", "pasta", "slirp4netns", "ssh", "python3", "sh", "systemd-run", "getent", "ldconfig", "cp",
    "uname",
)  # fmt: skip
LIBRARY = f"python3.{sys.version_info.minor}"
CALL = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)[( ](?P<rest>.*)")
CHILD = re.compile(r"\b(?:clone3?|v?fork)\b.* = \d+ /\* (\d+) in strace")
LOADED = re.compile(r"\.pyc?\b|\.so\b|\.so\.|nsswitch\.conf|/etc/passwd|/etc/group|locale|ld\.so")


@pytest.mark.skipif(os.getuid() != 0, reason="strace tells only root which process is which of a sandbox's")
@pytest.mark.attack("T13")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "--rm", "-u", "alice", "planted", "/bin/true"), 0),
        (("run", "--rm", "planted", "no-such-program"), 127),
        (("run", "--rm", "planted", "/planted.txt"), 126),
        (("run", "--rm", "-w", "/bin/busybox/x", "planted", "/bin/true"), 125),
        (("build",), 0),
    ],
    ids=["run", "not found", "not executable", "no directory", "build"],
)
def test_nothing_is_loaded_after_the_root_is_entered(
    root_harness: Harness, words: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    """CVE-2019-14271: docker cp loaded libraries of the container. Here an import would load modules of the image."""
    planted: dict[str, bytes | str | None] = {
        f"{folder}/{name}": b"raise SystemExit('planted code ran')"
        for folder in (f"usr/lib/{LIBRARY}", f"usr/local/lib/{LIBRARY}", ".")
        for name in ("warnings.py", "encodings/__init__.py", "encodings/idna.py", "signal.py", "locale.py")
    }
    planted["planted.txt"] = b"no program"
    root_harness.cli.make_image(base_files(), planted, name="planted", config={"Env": ["PATH=/bin:/none"]})
    if words == ("build",):
        words = (
            "build",
            "--no-cache",
            str(root_harness.context("FROM planted\nUSER alice\nRUN nothing-of-that-name || true\n")),
        )
    trace = tmp_path / "trace"
    calls = "trace=open,openat,openat2,execve,pivot_root,chroot,readlink,readlinkat,fork,vfork,clone,clone3"
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "--decode-pids=pidns",
            "-e",
            calls,
            "-e",
            "signal=none",
            "-o",
            str(trace),
            *root_harness.cli.argv(*words),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        **root_harness.cli.options(),  # type: ignore[call-overload]
    )
    assert done.returncode == code, done.stderr
    inside: set[str] = set()
    executed = 0
    for line in trace.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if match is None:
            continue
        pid, name, rest = match.group("pid", "name", "rest")
        if name in ("pivot_root", "chroot"):
            inside.add(pid)
        elif pid in inside:
            if (child := CHILD.search(line)) is not None:
                inside.add(child.group(1))
            if name == "execve" and " = 0" in rest:
                executed += 1
                break
            assert not LOADED.search(rest), f"{name} after the root was entered: {rest}"
    assert inside and executed == (code == 0), "the trace shows no sandbox"


@pytest.mark.attack("T12")
def test_planted_programs_are_not_run(harness: Harness) -> None:
    """CVE-2014-9357, CVE-2026-41567: helpers come from the machine, never from the context, the image or a relative
    PATH.
    """
    witness = harness.canary.parent / "witness"
    script = f"#!/bin/sh\necho planted program ran >> {witness}\nexit 1\n"
    image: dict[str, bytes | str | None] = {f"bin/{name}": script.encode() for name in PROGRAMS if name != "sh"}
    harness.cli.make_image(base_files(), image, name="helpers", config={"Env": ["PATH=/bin"]})
    folder = harness.context(
        "FROM helpers\nADD a.tar.xz b.tar.bz2 c.tar.gz /x/\nADD https://127.0.0.1:9/repo.git /git\n",
        dict.fromkeys(PROGRAMS, script),
    )
    for name in PROGRAMS:
        (folder / name).chmod(0o755)
    for flag, name in (("-J", "a.tar.xz"), ("-j", "b.tar.bz2"), ("-z", "c.tar.gz")):
        subprocess.run(["tar", "-C", folder, flag, "-cf", folder / name, "Dockerfile"], check=True)
    (folder / ".docker").mkdir()
    (folder / ".docker/config.json").write_text('{"credsStore": "evil"}')
    harness.cli.own(folder)
    path = f".:{folder.name}:../{folder.name}:"
    options = harness.cli.options(PATH=f"{path}:/usr/bin:/bin", DOCKER_CONFIG=str(folder / ".docker"))
    for words in (
        ("build", "--no-cache", "."),
        ("build", "--no-cache", "https://127.0.0.1:9/x.git#main:sub"),
        ("pull", "127.0.0.1:9/x"),
        ("run", "--rm", "minimal", "true"),
    ):
        done = subprocess.run(
            harness.cli.argv(*words),
            capture_output=True,
            text=True,
            timeout=60,
            **{**options, "cwd": folder},  # type: ignore[call-overload]
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert not witness.exists(), f"tiffin {words} ran a planted program: {witness.read_text()}"

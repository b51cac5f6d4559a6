"""The gallery of examples: the commands of each page do what the page says, on a Debian base."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, assert_nothing_left
from tests.support.servers import Registry
from tests.support.unprivileged import WITHOUT_IDS, Users, interpreter

EXAMPLES = CHECKOUT / "examples"
SECONDS = 600
TESTED_ELSEWHERE = {
    "base": "test_quickstart",
    "hello": "test_quickstart",
    "web": "test_debian",
    "compose": "test_compose_application",
}
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
GALLERY = [name for name in FOLDERS if name not in TESTED_ELSEWHERE]
WITHOUT_PRIVILEGE = {"slurm"}  # as a user of a cluster


def blocks(page: str) -> tuple[str, str]:
    """Return the commands of a page, and what they print."""
    commands, printed = (re.findall(rf"^```{kind}\n(.*?)^```", page, re.M | re.S) for kind in ("sh", "text"))
    assert len(commands) == len(printed) == 1, "a page has one block of commands and one of output"
    return commands[0], printed[0]


@pytest.fixture(scope="module")
def hub(debian: str, registry: Registry) -> str:
    """The URL of a mirror of Docker Hub that has the bases of the examples."""
    target = f"docker://{registry.host}/library/debian:bookworm"
    argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{debian}", target]
    subprocess.run(argv, check=True, timeout=SECONDS)
    return f"http://{registry.host}"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state directory for all, so that packages are downloaded once."""
    path = tmp_path_factory.mktemp("gallery")
    yield path
    if any(path.iterdir()):  # an example without privilege has one of its own
        assert_nothing_left(path)


@pytest.mark.userns
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.xdist_group("debian")
@pytest.mark.parametrize("name", GALLERY)
def test_the_commands_of_a_page_do_what_it_says(tmp_path: Path, state: Path, users: Users, hub: str, name: str) -> None:
    commands, printed = blocks((EXAMPLES / name / "README.md").read_text())
    environ = {**os.environ, "TIFFIN_ROOT": str(state)}
    folder, identity, python = tmp_path / name, dict[str, object](), sys.executable
    if name in WITHOUT_PRIVILEGE:
        environ, identity, python = users.environ(WITHOUT_IDS), users.identity(WITHOUT_IDS), interpreter()
        folder = users.home(WITHOUT_IDS) / name
    shutil.copytree(EXAMPLES / name, folder)
    programs = folder / ".programs"
    programs.mkdir()
    (programs / "tiffin").write_text(f'#!/bin/sh\nexec "{python}" -m tiffin "$@"\n')
    (programs / "tiffin").chmod(0o755)
    if identity:
        users.own(WITHOUT_IDS, folder)
    environ |= {"TIFFIN_REGISTRY_MIRRORS": hub, "PATH": f"{programs}:{environ['PATH']}"}
    done = subprocess.run(  # type: ignore[call-overload]
        ["sh", "-eu"],
        input=commands,
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        **identity,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in printed.splitlines()] == printed.splitlines(), done.stdout


@pytest.mark.parametrize("name", FOLDERS)
def test_every_example_has_a_page(name: str) -> None:
    page = (EXAMPLES / name / "README.md").read_text()
    assert page.startswith("# ") and len(page.splitlines()) < 40
    assert f"]({name}/README.md)" in (EXAMPLES / "README.md").read_text()

"""`manifest` beside docker's own, which needs no daemon for it; lists in layouts are judged by skopeo."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.servers import Registry

pytestmark = pytest.mark.network
Make = Callable[..., Path]


def knows_oci() -> bool:
    """Whether docker's own command line is here, and not older than its reading of OCI manifests there."""
    program = shutil.which("docker")
    if program is None:
        return False
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"Docker version (\d+)\.", said)
    return found is not None and int(found[1]) >= 28


@pytest.fixture
def pushed(tiffin: Run, context: Make, registry: Registry) -> str:
    name = f"{registry.host}/tools/list"
    for platform in ("amd64", "arm64"):
        folder = context("FROM scratch\nCOPY f /f\n", f=platform)
        tiffin("build", "-q", f"--platform=linux/{platform}", "-t", f"{name}:{platform}", "--push", folder)
    return name


@pytest.mark.skipif(not knows_oci(), reason="there is no docker whose manifest command knows the OCI's types")
def test_lists_are_those_of_docker(tiffin: Run, pushed: str, tmp_path: Path) -> None:
    def docker(*words: str) -> str:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_CONFIG": str(tmp_path / "docker"), "HOME": str(tmp_path),
            "DOCKER_CLI_EXPERIMENTAL": "enabled"}  # fmt: skip
        done = subprocess.run(["docker", "manifest", *words], capture_output=True, text=True, env=env, timeout=60)
        return f"{done.stdout}{done.stderr}{done.returncode}"

    def ours(*words: str) -> str:
        done = tiffin("manifest", *words, check=False)
        return f"{done.stdout}{done.stderr.removeprefix('error: ').partition(';')[0].rstrip()}{done.returncode}"

    a, b, both = f"{pushed}:amd64", f"{pushed}:arm64", f"{pushed}:1"
    for line in (
        ("create", "--insecure", both, a, b), ("create", "--insecure", both, a), ("annotate", both, f"{pushed}:none"),
        ("annotate", "--os", "linux", "--arch", "foo", both, b),
        ("annotate", "--arch", "arm", "--variant", "v7", "--os-version", "10", "--os-features", "x,y", both, b),
        ("inspect", "--insecure", both), ("inspect", "--insecure", "-v", both), ("inspect", "--insecure", both, a),
        ("inspect", "--insecure", "-v", both, b), ("push", "--insecure", both), ("rm", both), ("rm", both),
        ("inspect", "--insecure", both), ("inspect", "--insecure", "-v", both), ("inspect", "--insecure", "-v", a),
        ("inspect", "--insecure", a), ("push", "--insecure", f"{pushed}:none"),
        ("create", "--insecure", f"{pushed}:2", both), ("create", "--insecure", f"{pushed}:2", f"{pushed}:none"),
    ):  # fmt: skip
        wanted, made = docker(*line), ours(*line)
        assert made.replace("\n", "") == wanted.replace("\n", ""), line


def test_lists_are_made_of_layouts_and_in_layouts(tiffin: Run, pushed: str, tmp_path: Path) -> None:
    layout = f"oci-layout://{tmp_path}/layout"
    tiffin("manifest", "create", f"{layout}:all", f"{pushed}:amd64", f"{pushed}:arm64")
    tiffin("manifest", "push", "--purge", f"{layout}:all")
    copy = ["skopeo", "copy", "--all", f"oci:{tmp_path}/layout:all", f"dir:{tmp_path}/copied"]
    subprocess.run(copy, check=True, capture_output=True)
    tiffin("buildx", "imagetools", "create", "-t", f"{pushed}:back", f"{layout}:all")
    back = json.loads(tiffin("buildx", "imagetools", "inspect", "--raw", f"{pushed}:back").stdout)
    assert [row["platform"]["architecture"] for row in back["manifests"]] == ["amd64", "arm64"]
    one = f"{layout}@{back['manifests'][0]['digest']}"
    tiffin("manifest", "create", f"{layout}:one", one)
    tiffin("manifest", "push", f"{layout}:one")
    names = [row["annotations"]["org.opencontainers.image.ref.name"]
        for row in json.loads((tmp_path / "layout/index.json").read_text())["manifests"]]  # fmt: skip
    assert names == ["all", "one"]


def test_a_name_that_is_amended_is_looked_up_again(tiffin: Run, pushed: str, context: Make) -> None:
    """Docker keeps what it saw first, which surprises its users (docker/cli 954)."""
    tiffin("manifest", "create", f"{pushed}:1", f"{pushed}:amd64", f"{pushed}:arm64")
    folder = context("FROM scratch\nCOPY f /f\n", f="another")
    tiffin("build", "-q", "--platform=linux/arm64", "-t", f"{pushed}:arm64", "--push", folder)
    tiffin("manifest", "create", "--amend", f"{pushed}:1", f"{pushed}:arm64")
    tiffin("manifest", "push", f"{pushed}:1")
    raw = tiffin("buildx", "imagetools", "inspect", "--raw", f"{pushed}:1").stdout
    digest = tiffin("buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", f"{pushed}:arm64").stdout
    assert [row["digest"] for row in json.loads(raw)["manifests"]][1] == digest.strip()

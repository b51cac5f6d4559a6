"""Indexes made in registries of images that are there, judged by skopeo."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.servers import Registry, running_registry

pytestmark = pytest.mark.network
Make = Callable[..., Path]


def raw(name: str) -> dict[str, Any]:
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    found: dict[str, Any] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    return found


def digest_of(name: str) -> str:
    argv = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def pushed(tiffin: Run, context: Make, registry: Registry) -> str:
    """Images of two platforms under tags of their own, as the jobs of a matrix push them."""
    name = f"{registry.host}/tools/app"
    for platform in ("amd64", "arm64"):
        folder = context("FROM scratch\nCOPY f /f\n", f=platform)
        tiffin("build", "-q", f"--platform=linux/{platform}", "-t", f"{name}:{platform}", "--push", folder)
    return name


def test_an_index_is_made_of_what_a_matrix_pushed(tiffin: Run, pushed: str, tmp_path: Path) -> None:
    words = ["--metadata-file", tmp_path / "meta", "--annotation", "org.example.team=web"]
    digests = [digest_of(f"{pushed}:{platform}") for platform in ("amd64", "arm64")]
    elsewhere = ["-t", f"{pushed}:1", "-t", f"{pushed}-twin:1"]
    assert tiffin("buildx", "imagetools", "create", *elsewhere, *digests, check=False).returncode, "of which is it?"
    done = tiffin("buildx", "imagetools", "create", "-t", f"{pushed}:1", "-t", f"{pushed}:latest", *words, *digests)
    index = raw(f"{pushed}:1")
    assert [row["digest"] for row in index["manifests"]] == digests
    assert [row["platform"]["architecture"] for row in index["manifests"]] == ["amd64", "arm64"]
    assert index["annotations"] == {"org.example.team": "web"}
    assert raw(f"{pushed}:latest") == index and f"pushed {pushed}:latest@sha256:" in done.stderr
    told = json.loads((tmp_path / "meta").read_text())
    shown = tiffin("buildx", "imagetools", "inspect", f"{pushed}:1", "--format", "{{.Manifest.Digest}}").stdout
    assert told["containerimage.digest"] == shown.strip()


def test_another_registry_gets_all_that_an_index_lists(tiffin: Run, pushed: str, tmp_path: Path) -> None:
    tiffin("buildx", "imagetools", "create", "-t", f"{pushed}:all", f"{pushed}:amd64", f"{pushed}:arm64")
    with running_registry(tmp_path) as other:
        tiffin("buildx", "imagetools", "create", "-t", f"{other.host}/copy:1", f"{pushed}:all")
        assert raw(f"{other.host}/copy:1") == raw(f"{pushed}:all"), "one index is copied as it is"
        copy = ["skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{other.host}/copy:1"]
        subprocess.run([*copy, f"oci:{tmp_path}/layout"], check=True, capture_output=True)
        words = ["--append", "-p", "linux/arm64", "-t", f"{other.host}/copy:1", f"{pushed}:arm64"]
        tiffin("buildx", "imagetools", "create", *words)
        assert [row["platform"]["architecture"] for row in raw(f"{other.host}/copy:1")["manifests"]] == ["arm64"]


def test_what_is_shown(tiffin: Run, pushed: str) -> None:
    tiffin("buildx", "imagetools", "create", "-t", f"{pushed}:one", "--prefer-index=false", f"{pushed}:amd64")
    assert raw(f"{pushed}:one") == raw(f"{pushed}:amd64")
    made = tiffin("buildx", "imagetools", "create", "--dry-run", f"{pushed}:amd64", f"{pushed}:arm64").stdout
    assert len(json.loads(made)["manifests"]) == 2
    text = tiffin("buildx", "imagetools", "inspect", f"{pushed}:amd64").stdout
    assert text.splitlines()[0] == f"Name:      {pushed}:amd64"
    assert json.loads(tiffin("buildx", "imagetools", "inspect", "--raw", f"{pushed}:amd64").stdout)["layers"]
    image = tiffin("buildx", "imagetools", "inspect", f"{pushed}:amd64", "--format", "{{json .Image}}").stdout
    assert json.loads(image)["architecture"] == "amd64"
    whole = json.loads(tiffin("buildx", "imagetools", "inspect", f"{pushed}:amd64", "--format", "{{json .}}").stdout)
    assert whole["image"]["architecture"] == "amd64" and "Digest" not in whole["manifest"]
    both = (f"{pushed}:amd64", f"{pushed}:arm64")
    tiffin("buildx", "imagetools", "create", "-t", f"{pushed}:team", "--annotation", "org.example.team=web", *both)
    index = ("create", "--dry-run", "--platform", "linux/arm64", f"{pushed}:team")
    assert json.loads(tiffin("buildx", "imagetools", *index).stdout)["annotations"] == {"org.example.team": "web"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["create", "NAME:amd64"], "no name to push to"),
        (["create", "-t", "NAME:x"], "no source"),
        (["create", "-t", "NAME:x", "NAME:nothere"], "not found"),
        (["create", "-t", "NAME:x", "--annotation", "manifest:k=v", "NAME:amd64"], "would change its digest"),
        (["create", "--dry-run", "sha256:" + "0" * 64], "in which repository"),
        (["create", "-t", "NAME:x", "-f", "/no/such"], "/no/such"),
        (["inspect", "NAME:nothere"], "not found"),
    ],
)
def test_bad_lines_are_named(tiffin: Run, pushed: str, words: list[str], part: str) -> None:
    done = tiffin("buildx", "imagetools", *(word.replace("NAME", pushed) for word in words), check=False)
    assert done.returncode and part in done.stderr

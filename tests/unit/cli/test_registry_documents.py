"""Indexes and provenance in a registry, by whole commands in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import Fake, fake_registry
from tests.support.commands import Commands


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_registry(lists_referrers=True) as served:
        yield served


@pytest.fixture
def pushed(tiffin_here: Commands, fake: Fake, tmp_path: Path) -> str:
    """Images of two platforms, each with its provenance."""
    name = f"{fake.host}/team/app"
    for platform in ("amd64", "arm64"):
        folder = tmp_path / platform
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\nARG A\nCOPY f /f\n")
        (folder / "f").write_text(platform)
        words = [f"--platform=linux/{platform}", "--provenance=mode=max", "--build-arg=A=1", "--label=k=v"]
        tiffin_here("build", "-q", *words, "-t", f"{name}:{platform}", "--push", folder)
    return name


def manifest(fake: Fake, tag: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(fake.manifests[tag][0])
    return found


def test_a_statement_refers_to_each_image(fake: Fake, pushed: str) -> None:
    artifacts = [json.loads(data) for data, _ in fake.manifests.values() if b'"subject"' in data]
    assert len(artifacts) == 2
    for artifact in artifacts:
        assert artifact["subject"]["digest"] in fake.manifests or any(
            artifact["subject"]["size"] == len(data) for data, _ in fake.manifests.values()
        )
        statement = json.loads(fake.blobs[artifact["layers"][0]["digest"]])
        asked = statement["predicate"]["buildDefinition"]["externalParameters"]["request"]
        assert (asked["args"]["A"], asked["labels"]) == ("1", {"k": "v"})


def test_tags_are_joined(fake: Fake, pushed: str, tiffin_here: Commands, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.write_text(f"{pushed}:amd64\n")
    words: list[str | Path] = ["-f", sources, "--annotation", "index:k=v", "--metadata-file", tmp_path / "meta"]
    tiffin_here("buildx", "imagetools", "create", *words, "-t", f"{pushed}:all", f"{pushed}:arm64")
    index = manifest(fake, "all")
    rows = index["manifests"]
    assert isinstance(rows, list)
    assert [row["platform"]["architecture"] for row in rows] == ["amd64", "arm64"]
    assert index["annotations"] == {"k": "v"}
    digest = json.loads((tmp_path / "meta").read_text())["containerimage.digest"]
    shown = tiffin_here("buildx", "imagetools", "inspect", f"{pushed}:all").out
    assert digest in shown and shown.count("Platform:  linux/") == 2
    images = tiffin_here("buildx", "imagetools", "inspect", "--format", "{{json .Image}}", f"{pushed}:all").out
    assert sorted(json.loads(images)) == ["linux/amd64", "linux/arm64"]
    assert (
        tiffin_here("buildx", "imagetools", "inspect", "--raw", f"{pushed}:all").raw.rstrip(b"\n")
        == (fake.manifests["all"][0])
    )
    alone = tiffin_here("buildx", "imagetools", "create", "--dry-run", "-p", "linux/arm64", f"{pushed}:all").out
    assert len(json.loads(alone)["manifests"]) == 1


@pytest.mark.thorough
def test_copies_are_the_same(pushed: str, tiffin_here: Commands) -> None:
    with fake_registry() as other:
        target = f"{other.host}/copies/app:1"
        tiffin_here("buildx", "imagetools", "create", "--no-prefer-index", "-t", target, f"{pushed}:amd64")
        assert len(other.blobs) == 4, "configuration and layer, statement and the empty configuration"
        tiffin_here("buildx", "imagetools", "create", "--append", "-t", target, f"{pushed}:arm64")
        rows = manifest(other, "1")["manifests"]
        assert isinstance(rows, list) and len(rows) == 2
        done = tiffin_here("buildx", "imagetools", "create", "-t", target, check=False)
        assert "no source" in done.err

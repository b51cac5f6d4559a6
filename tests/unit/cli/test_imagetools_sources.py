"""imagetools create as buildx 0.36 has it: descriptors as sources, platforms, types of indexes, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import Fake, fake_registry
from tests.support.commands import Commands, Done
from tests.support.contexts import context_at
from tiffin.builder.oci.spec import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST

Create = Callable[..., Done]


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_registry() as served:
        yield served


@pytest.fixture
def name(tiffin_here: Commands, fake: Fake, tmp_path: Path) -> str:
    """Tags amd64, arm64 and docker, the last with Docker's media types, in one repository."""
    repository = f"{fake.host}/team/app"
    folder = context_at(tmp_path)("FROM scratch\nCOPY f /f\n", f="f")
    for platform in ("amd64", "arm64"):
        words = ["--platform", f"linux/{platform}", "-t", f"{repository}:{platform}"]
        tiffin_here("build", "-q", *words, "--push", folder)
    tiffin_here("build", "-q", "--format=docker", "-t", f"{repository}:docker", "--push", folder)
    return repository


@pytest.fixture
def create(tiffin_here: Commands, name: str) -> Create:
    return lambda *words, **more: tiffin_here("buildx", "imagetools", "create", "-t", f"{name}:made", *words, **more)


def index(fake: Fake, tag: str = "made") -> Any:
    return json.loads(fake.manifests[tag][0])


def digest(fake: Fake, tag: str) -> str:
    return "sha256:" + hashlib.sha256(fake.manifests[tag][0]).hexdigest()


def test_no_index_is_made_of_nothing(fake: Fake, name: str, create: Create) -> None:
    done = create("-p", "linux/s390x", f"{name}:amd64", f"{name}:arm64", check=False)
    assert done.code == 2 and "no source has an image for linux/s390x; choose of linux/amd64, linux/arm64" in done.err
    assert "made" not in fake.manifests
    done = create("-p", "linux/s390x,linux/arm64", f"{name}:amd64", f"{name}:arm64")
    assert "no source has an image for linux/s390x" in done.err
    assert [row["platform"]["architecture"] for row in index(fake)["manifests"]] == ["arm64"]


def test_descriptors_are_sources(fake: Fake, name: str, create: Create, tmp_path: Path) -> None:
    size = len(fake.manifests["amd64"][0])
    platform = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1", "os.features": ["win32k"]}
    first = {"digest": digest(fake, "amd64"), "mediaType": OCI_MANIFEST, "size": size, "platform": platform}
    (tmp_path / "first").write_text(json.dumps({**first, "annotations": {"a": "b"}}, indent=2) + "\n")
    create("-f", tmp_path / "first", json.dumps({"digest": digest(fake, "arm64")}))
    rows = index(fake)["manifests"]
    assert rows[0]["platform"] == platform and rows[0]["annotations"] == {"a": "b"} and rows[0]["size"] == size
    assert rows[1]["digest"] == digest(fake, "arm64") and rows[1]["platform"]["architecture"] == "arm64"
    create("--append", f"{name}:docker")  # an index that is read and written keeps what it says of platforms
    assert index(fake)["manifests"][0] == rows[0] and len(index(fake)["manifests"]) == 3
    for text, message in (
        (json.dumps({**first, "size": size + 1}), "its descriptor says"),
        (fake.manifests["amd64"][0].decode(), "is a manifest, and not a descriptor"),
        ('{"mediaType": "x"}', "descriptor.digest: expected text"),
        ('{"digest": ', "descriptor is not JSON"),
    ):
        done = create(text, check=False)
        assert done.code and message in done.err, text
    done = create("-t", f"{name}-other:1", json.dumps(first), check=False)
    assert done.code == 2 and "does not say in which repository it is" in done.err


def test_what_is_said_twice_of_an_image_is_joined(fake: Fake, name: str, create: Create) -> None:
    create(f"{name}:amd64", f"{name}:arm64")
    again = {"digest": digest(fake, "amd64"), "annotations": {"k": "v"}}
    create("--append", json.dumps(again))
    assert [(row["digest"], row.get("annotations")) for row in index(fake)["manifests"]] == [
        (digest(fake, "amd64"), {"k": "v"}),
        (digest(fake, "arm64"), None),
    ]


def test_an_index_of_docker_manifests_has_dockers_type(fake: Fake, name: str, create: Create) -> None:
    for words, wanted in (
        ((f"{name}:docker",), DOCKER_INDEX),
        ((f"{name}:docker", f"{name}:arm64"), OCI_INDEX),
        (("--annotation", "index:a=b", f"{name}:docker"), OCI_INDEX),  # Docker's lists know no annotations
    ):
        create(*words)
        assert (index(fake)["mediaType"], fake.manifests["made"][1]) == (wanted, wanted)


@pytest.mark.thorough
@pytest.mark.parametrize("text", ['"index:a=b"', "org.example:a=b", "idnex:a=b", "index[linux/amd64:a=b"])
def test_types_of_annotations_are_known(fake: Fake, name: str, create: Create, text: str) -> None:
    done = create("--annotation", text, f"{name}:amd64", check=False)
    assert done.code == 2 and "unknown type" in done.err and "made" not in fake.manifests


def test_raw_is_what_its_digest_is_of(fake: Fake, name: str, create: Create, tiffin_here: Commands) -> None:
    create(f"{name}:amd64", f"{name}:arm64")
    assert tiffin_here("buildx", "imagetools", "inspect", "--raw", f"{name}:made").raw == fake.manifests["made"][0]
    shown = tiffin_here("buildx", "imagetools", "inspect", f"{name}:made", "--format", "{{json .Manifest}}").out
    assert f'\n  "digest": "{digest(fake, "made")}",' in shown, "jobs look for lines"
    shown = tiffin_here("buildx", "imagetools", "inspect", f"{name}:made", "--format", "{{json .Manifest.Digest}}").out
    assert shown == f'"{digest(fake, "made")}"\n'

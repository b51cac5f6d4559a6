"""--format of build and push, as buildah and podman have it: media types of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.registry import fake_registry
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.oci.spec import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
)

TEXT = "FROM scratch\nCOPY a /\n"


def types_of(data: bytes) -> set[str]:
    manifest = json.loads(data)
    return {manifest["mediaType"], manifest["config"]["mediaType"], *(row["mediaType"] for row in manifest["layers"])}


def test_builds_have_the_types_that_are_asked_for(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as registry:
        name = f"{registry.host}/app"

        def pushed(tag: str) -> bytes:
            return registry.manifests[tag][0]

        tiffin_here("bud", "--format=docker", "-t", f"{name}:d", folder)
        tiffin_here("push", "--format", "v2s2", f"{name}:d")
        assert types_of(pushed("d")) == {DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP}
        monkeypatch.setenv("BUILDAH_FORMAT", "docker")
        tiffin_here("build", "-t", f"{name}:e", "--push", folder)
        assert pushed("e") == pushed("d")
        tiffin_here("build", "--format", "oci", "-t", f"{name}:o", "--push", folder)
        assert OCI_MANIFEST in types_of(pushed("o"))
        for form, tag, remedy in (("docker", "o", "--format=docker"), ("oci", "d", "--format=oci")):
            refused = tiffin_here("push", "--format", form, f"{name}:{tag}", check=False)
            assert refused.code == 2 and "media types, and a push changes none" in refused.err and remedy in refused.err
        monkeypatch.setenv("BUILDAH_FORMAT", "tar")
        refused = tiffin_here("build", folder, check=False)
        assert refused.code == 2 and 'BUILDAH_FORMAT="tar" is not a form of images' in refused.err


@pytest.mark.thorough
def test_an_index_of_docker_images_is_dockers(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    several = ("--format=docker", "--platform", "linux/amd64,linux/arm64")
    with fake_registry() as registry:
        name = f"{registry.host}/app"

        def type_of(tag: str, *words: str) -> str:
            tiffin_here("build", *words, "-t", f"{name}:{tag}", "--push", folder)
            found, sent_as = registry.manifests[tag]
            assert json.loads(found)["mediaType"] == sent_as
            return sent_as

        assert type_of("1", *several) == DOCKER_INDEX
        tiffin_here("push", f"{name}:1", f"{name}:2")
        assert registry.manifests["2"] == registry.manifests["1"]
        assert type_of("3", *several, "--annotation", "index:a=b") == OCI_INDEX
        assert type_of("4", *several, "--provenance=true", "--attest-form=index") == OCI_INDEX
        assert type_of("5", "--format=docker", "--merge") == DOCKER_INDEX
        assert type_of("5", "--platform=linux/s390x", "--merge") == OCI_INDEX, "of both kinds"


def test_an_index_is_judged_by_its_images(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as registry:
        name = f"{registry.host}/app:1"
        tiffin_here("build", "--platform", "linux/amd64,linux/arm64", "-t", name, folder)
        assert tiffin_here("push", "-f", "docker", name, check=False).code == 2
        assert not registry.manifests
        tiffin_here("push", "-f", "oci", name)
        assert "1" in registry.manifests


def test_destinations_of_buildah_are_read(tiffin_here: Commands, tmp_path: Path) -> None:
    tiffin_here("build", "-t", "app:1", context_at(tmp_path)(TEXT, a="A"))
    with fake_registry() as registry:
        tiffin_here("push", "app:1", f"docker://{registry.host}/team/app:2")
        assert "2" in registry.manifests
        tiffin_here("rmi", "app:1")
        assert tiffin_here("pull", f"docker://{registry.host}/team/app:2").out == f"{registry.host}/team/app:2\n"
        tiffin_here("tag", f"{registry.host}/team/app:2", "app:1")
    for text, remedy in (
        ("docker-archive:app.tar", "tiffin save -o FILE"),
        ("oci-archive:app.tar:1", "tiffin save -o FILE"),
        ("oci:layout", "type=oci,tar=false"),
        ("dir:/tmp/x", "type=oci,tar=false"),
        ("docker-daemon:app:1", "docker load"),
        ("containers-storage:app:1", "are here already"),
    ):
        refused = tiffin_here("push", "app:1", text, check=False)
        assert refused.code == 2 and "is not in a registry" in refused.err and remedy in refused.err

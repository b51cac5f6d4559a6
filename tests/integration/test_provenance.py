"""Provenance of images that are pushed, read back with programs and requests that are not tiffin's."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.servers import Registry
from tests.support.serving import serving_folder

pytestmark = pytest.mark.network
Make = Callable[..., Path]
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def fetch(registry: Registry, path: str, accept: str = MANIFEST) -> tuple[dict[str, Any], str]:
    request = urllib.request.Request(f"http://{registry.host}/v2/{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer), answer.headers.get("Docker-Content-Digest", "")


def statements(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    """What the registry has beside a manifest, by the referrers tag."""
    listed, _ = fetch(registry, f"{repository}/manifests/{digest.replace(':', '-')}", INDEX)
    found = []
    for row in listed["manifests"]:
        assert row["artifactType"] == "application/vnd.in-toto+json"
        artifact, _ = fetch(registry, f"{repository}/manifests/{row['digest']}")
        assert artifact["subject"]["digest"] == digest
        found.append(fetch(registry, f"{repository}/blobs/{artifact['layers'][0]['digest']}")[0])
    return found


def test_a_push_has_a_statement_beside_it(
    tiffin: Run, base: str, context: Make, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/proof/app"
    (tmp_path / "file").write_text("from elsewhere\n")
    (tmp_path / "secret").write_text("s3cret-value")
    with serving_folder(tmp_path) as address:
        url = address.replace("http://", "http://who:pa55@") + "/file?sig=abc"
        text = f"FROM {base}\nARG VERSION\nADD {url} /f\nRUN --mount=type=secret,id=tok true\n"
        words = ["--build-arg=VERSION=7", f"--secret=id=tok,src={tmp_path}/secret", f"--metadata-file={tmp_path}/meta"]
        tiffin("build", "--provenance=true", *words, "-t", f"{name}:min", "--push", context(text))
        attest = "--attest=type=provenance,mode=max,builder-id=https://ci.example/run/1"
        tiffin("build", attest, *words, "-t", f"{name}:max", "--push", context(text))
    manifest, digest = fetch(registry, "proof/app/manifests/min")
    assert manifest["mediaType"] == MANIFEST, "the image stays one manifest"
    assert fetch(registry, "proof/app/manifests/max")[1] == digest
    least, most = sorted(
        statements(registry, "proof/app", digest), key=lambda item: item["predicate"]["runDetails"]["builder"]["id"]
    )
    for statement in (least, most):
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["subject"][0]["digest"] == {"sha256": digest.partition(":")[2]}
        for word in ("s3cret-value", "pa55", "sig=abc"):
            assert word not in json.dumps(statement)
        materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert materials[0]["uri"].endswith("/file")
        assert all(len(item["digest"]["sha256"]) == 64 for item in materials)
    assert "args" not in least["predicate"]["buildDefinition"]["externalParameters"]["request"]
    asked = most["predicate"]["buildDefinition"]["externalParameters"]["request"]
    assert asked["args"] == {"VERSION": "7"} and asked["secrets"] == [{"id": "tok"}]
    assert json.loads((tmp_path / "meta").read_text())["buildx.build.provenance"]["runDetails"]["builder"]["id"]


def test_each_platform_has_its_own(tiffin: Run, context: Make, registry: Registry) -> None:
    name = f"{registry.host}/proof/both:1"
    folder = context("FROM scratch\nCOPY f /f\n", f="x")
    tiffin("build", "--provenance=mode=min", "--platform=linux/amd64,linux/arm64", "-t", name, "--push", folder)
    index, _ = fetch(registry, "proof/both/manifests/1", INDEX)
    assert len(index["manifests"]) == 2, "no entry of an unknown platform"
    for row in index["manifests"]:
        (statement,) = statements(registry, "proof/both", row["digest"])
        platform = statement["predicate"]["buildDefinition"]["internalParameters"]["platform"]
        assert platform == f"linux/{row['platform']['architecture']}"


def test_without_an_image_there_is_nothing_to_attest(tiffin: Run, context: Make, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY f /f\n", f="x")
    done = tiffin("build", "--provenance=true", "-o", f"{tmp_path}/out", folder)
    assert "attestations belong to an image, and no output is an image" in done.stderr

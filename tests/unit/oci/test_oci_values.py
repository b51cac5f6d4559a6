"""References, platforms, manifests, configurations: strict in, canonical out."""

from __future__ import annotations

import json

import pytest

from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_INDEX, OCI_MANIFEST, Index, Manifest, Platform, chain_id
from tiffin.cache.foundation.digest import Digest

HEX = "a" * 64
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{HEX}", "size": 3}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{HEX}", "size": 2}


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("index.docker.io/a", "docker.io/library/a:latest", "a:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("h:5000/a/b-c_d.e:t", "h:5000/a/b-c_d.e:t", "h:5000/a/b-c_d.e:t"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        (f"g.io/a@sha256:{HEX}", f"g.io/a@sha256:{HEX}", f"g.io/a@sha256:{HEX}"),
        (f"g.io/a:t@sha256:{HEX}", f"g.io/a:t@sha256:{HEX}", f"g.io/a:t@sha256:{HEX}"),
    ],
)
def test_references(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(full) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the name is empty"),
        ("Debian", "lower case"),
        ("a:b:c", "is not a valid tag"),
        ("a@sha256:12", "is not a valid digest"),
        ("a//b", "is not a valid name"),
        ("a/../b", "is not a valid name"),
        ("-a", "is not a valid name"),
        ("a:" + "t" * 129, "is not a valid tag"),
        ("x/" + "a" * 300, "longer than"),
        ("h_h.io/a", "is not a valid host name"),
    ],
)
def test_bad_references(text: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1:5", True), ("localhost", True), ("[::1]:5", True), ("a.io", False), ("10.0.0.1:5", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Reference(registry=host, repository="x").is_loopback == loopback


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("arm64/v8", "linux/arm64"),
        ("s390x", "linux/s390x"),
        ("linux/foo", "linux/foo"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("aarch64", "linux/arm64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_platforms(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected


@pytest.mark.parametrize(("text", "reason"), [("a/b/c/d", "invalid platform"), ("foo", '"foo" is not a known')])
def test_bad_platform(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Platform.parse(text)


def manifest(**changes: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER], **changes}).encode()


def test_manifest_comes_back_as_it_was() -> None:
    once = Manifest.decode(manifest())
    assert Manifest.decode(once.encode()) == once
    assert once.encode() == Manifest.decode(once.encode()).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a":' * 10**5, "is not JSON"),
        (manifest(manifests=[]), "both a manifest and an index"),
        (manifest(config="x"), "manifest.config: expected an object"),
        (manifest(layers=[{**LAYER, "size": -1}]), r"layers\[0\].size"),
        (manifest(layers=[{**LAYER, "size": True}]), r"layers\[0\].size"),
        (manifest(layers=[{**LAYER, "digest": 5}]), r"layers\[0\].digest"),
        (manifest(mediaType="text/plain"), "media type"),
    ],
)
def test_bad_manifests(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        Manifest.decode(data)


def test_transport_and_document_must_agree() -> None:
    with pytest.raises(ImageError, match="was sent as"):
        Manifest.decode(manifest(mediaType=OCI_MANIFEST), OCI_INDEX)


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", "linux/arm64"),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/amd64"], "linux/arm64", None),
        (["unknown/unknown"], "linux/amd64", None),
    ],
)
def test_index_selection(there: list[str], wanted: str, chosen: str | None) -> None:
    rows = [{**CONFIG, "platform": Platform.parse(text).to_json()} for text in there]
    found = Index.decode(json.dumps({"manifests": rows}).encode()).select(Platform.parse(wanted))
    assert (str(found.platform) if found else None) == chosen


def test_config_keeps_docker_extensions() -> None:
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": {
            "Env": ["A=b"],
            "Cmd": [],
            "Shell": ["/bin/bash"],
            "OnBuild": ["RUN x"],
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5},
            "ExposedPorts": {"80/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{HEX}"]},
        "history": [{"created_by": "x", "empty_layer": True}],
    }
    config = ImageConfig.decode(json.dumps(document).encode())
    assert ImageConfig.decode(config.encode()) == config
    assert config.config.cmd == () and config.config.entrypoint is None
    assert json.loads(config.encode())["config"]["Healthcheck"] == {"Test": ["CMD", "x"], "Interval": 5}


def test_chain_id_of_the_specification() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([one]) == one
    assert chain_id([one, two]) == Digest.of(f"{one} {two}".encode())
    assert chain_id([]) != chain_id([one])

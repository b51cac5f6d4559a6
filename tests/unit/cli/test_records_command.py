"""Records of builds without RUN steps: base images, files of ADD, the lock; and what policies find beside images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.fakes.registry import fake_registry
from tests.support.commands import Commands
from tests.support.serving import serving_folder
from tiffin.builder.oci.spec import OCI_MANIFEST
from tiffin.cache.foundation.digest import Digest


def test_a_record_brings_all_sources(
    tiffin_here: Commands, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder, record = tmp_path / "site", tmp_path / "context", tmp_path / "record"
    site.mkdir()
    folder.mkdir()
    (site / "file").write_text("first")
    elsewhere = Commands(tmp_path / "other", capfdbinary, monkeypatch)
    with serving_folder(site) as address:
        text = f"# syntax=docker/dockerfile:1\nFROM base\nADD {address}/file?sig=s3cret /f\n"
        (folder / "Dockerfile").write_text(text)
        words = ("build", "-q", "--timestamp=1", folder)
        first = tiffin_here(*words, "--record", record).out
        assert "there is a record already" in tiffin_here(*words, "--record", record, check=False).err
        (site / "file").write_text("second")
    assert elsewhere(*words, "--replay", record).out == first
    document = json.loads((record / "record.json").read_text())
    assert [image["name"] for image in document["images"]] == ["base"] and len(document["files"]) == 1
    assert "s3cret" not in "".join(path.read_text() for path in record.iterdir() if path.is_file())
    both = elsewhere(*words, "--replay", record, "--record", tmp_path / "new", check=False)
    assert both.code == 2 and "exclude each other" in both.err
    assert "is not a record" in elsewhere(*words, "--replay", site, check=False).err
    (folder / "Dockerfile").write_text(text + "ADD https://h.example/r.git /\n")
    refused = elsewhere(*words, "--replay", record, check=False)
    assert refused.code == 1 and "https://h.example/r.git is not in Dockerfile.lock" in refused.err
    index = (record / "record.json").read_text()
    (record / "record.json").write_text(index.replace(document["images"][0]["reference"], "docker.io/library/base:1"))
    assert "is not the digest of its image" in elsewhere(*words, "--replay", record, check=False).err
    (record / "record.json").write_text(index)
    for blob in (record / "blobs/sha256").iterdir():
        blob.write_bytes(b"other")
    assert (
        "is damaged"
        in Commands(tmp_path / "third", capfdbinary, monkeypatch)(*words, "--replay", record, check=False).err
    )


def test_a_record_in_a_registry(
    tiffin_here: Commands, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder = tmp_path / "site", tmp_path / "context"
    site.mkdir()
    folder.mkdir()
    (site / "file").write_text("first")
    elsewhere = Commands(tmp_path / "other", capfdbinary, monkeypatch)
    with fake_registry() as fake, serving_folder(site) as address:
        (folder / "Dockerfile").write_text(f"FROM base\nADD {address}/file /f\n")
        words, place = ("build", "-q", "--timestamp=1", folder), f"docker-image://{fake.host}/app:record"
        made = tiffin_here("build", "--timestamp=1", folder, "--record", place)
        digest = Digest.of(fake.manifests["record"][0])
        assert f"the record is {place}@{digest}" in made.err
        manifest = json.loads(fake.manifests["record"][0])
        assert manifest["artifactType"] == "application/vnd.tiffin.record.v1"
        assert [layer["digest"] in fake.blobs for layer in manifest["layers"]] == [True] * len(manifest["layers"])
        (site / "file").write_text("second")
        first = tiffin_here("build", "-q", "--timestamp=1", folder, "--replay", place).out
        assert elsewhere(*words, "--replay", place).out == first
        assert elsewhere(*words, "--replay", f"{place}@{digest}").out == first
        assert tiffin_here(*words).out != first
        body = next(layer for layer in manifest["layers"] if layer["mediaType"] == "application/octet-stream")
        fake.blobs[body["digest"]] = b"x" * body["size"]
        third = Commands(tmp_path / "third", capfdbinary, monkeypatch)
        assert third(*words, "--replay", place, check=False).code == 1
        fake.manifests["image"] = (json.dumps({**manifest, "artifactType": ""}).encode(), OCI_MANIFEST)
        refused = third(*words, "--replay", place.replace(":record", ":image"), check=False)
        assert refused.code == 2 and "is not a record; make one with --record" in refused.err
        fixed = third(*words, "--record", f"{place}@{digest}", check=False)
        assert fixed.code == 2 and "is a digest; name a tag" in fixed.err
    lost = tiffin_here(*words, "--record", place, check=False)
    assert lost.code == 1 and "Step" not in lost.err, "the registry is asked before anything is built"


def repository(place: Path, *, module: str = "") -> str:
    """A repository as a plain web server has it, in `place`/repo.git; its commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", "-C", str(place)]
    subprocess.run([*git, "init", "-q", "-b", "main", "work"], check=True)
    (place / "work/sub").mkdir()
    (place / "work/sub/file").write_text("from git\n")
    if module:
        subprocess.run([*git, "-C", "work", "submodule", "--quiet", "add", module, "inner"], check=True)
    for words in (["-C", "work", "add", "."], ["-C", "work", "commit", "-qm", "m"],
                  ["clone", "-q", "--bare", "work", "repo.git"], ["-C", "repo.git", "update-server-info"]):  # fmt: skip
        subprocess.run([*git, *words], check=True, capture_output=True)
    told = subprocess.run([*git, "-C", "work", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.mark.thorough
def test_repositories_of_add_are_recorded(
    tiffin_here: Commands, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder, record = tmp_path / "site", tmp_path / "context", tmp_path / "record"
    (site / "more").mkdir(parents=True)
    folder.mkdir()
    commit = repository(site)
    words = ("build", "-q", "--timestamp=1", folder)
    with serving_folder(site) as address:
        url = f"{address}/repo.git"
        (folder / "Dockerfile").write_text(f"FROM base\nADD {url}#main:sub /a/\nADD {url}#{commit} /b/\n")
        first = tiffin_here(*words, "--record", record).out
        (folder / "Other").write_text(f"FROM base\nADD --keep-git-dir {url} /a/\n")
        kept = tiffin_here(*words, "-f", folder / "Other", "--record", tmp_path / "kept", check=False)
        assert kept.code == 1 and "a record has no .git" in kept.err
        repository(site / "more", module=str(site / "repo.git"))
        (folder / "Other").write_text(f"FROM base\nADD {address}/more/repo.git /a/\n")
        several = tiffin_here(*words, "-f", folder / "Other", "--record", tmp_path / "several", check=False)
        assert several.code == 1
    [one] = {row["key"]: row for row in json.loads((record / "record.json").read_text())["repositories"]}.values()
    elsewhere = Commands(tmp_path / "other", capfdbinary, monkeypatch)
    assert elsewhere(*words, "--replay", record).out == first, "the server is gone"
    pack = record / "blobs/sha256" / one["pack"]
    pack.write_bytes(pack.read_bytes()[:-30] + b"x" * 30)
    third = Commands(tmp_path / "third", capfdbinary, monkeypatch)
    assert third(*words, "--replay", record, check=False).code == 1


def test_egress_of_a_build_without_run(tiffin_here: Commands, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM base\n")
    tiffin_here("build", "-q", "--egress=deny", tmp_path)
    assert "--egress some is not understood" in tiffin_here("build", "--egress=some", tmp_path, check=False).err


def test_what_is_found_beside_an_image(tiffin_here: Commands, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private, policy = tmp_path / "key.pem", tmp_path / "p.toml"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "release.pub").write_bytes(public)
    (tmp_path / "Dockerfile").write_text("FROM base\nCOPY package.json /usr/lib/node_modules/left-pad/\n")
    (tmp_path / "package.json").write_text('{"name": "left-pad", "version": "1.3.0", "license": "MIT"}')
    name = "localhost:1/app:1"
    attest = "--attest=type=provenance,builder-id=https://ci.example/1"
    tiffin_here("build", "-q", attest, f"--sign=key={private}", "-t", name, tmp_path)

    def denied(rule: str, section: str = "images") -> str:
        policy.write_text(f"schema = 1\n[[{section}]]\n{rule}\n")
        done = tiffin_here("policy", "eval", "--policy", policy, name, check=False)
        assert done.code in (0, 3), done.err
        return done.err

    assert denied('signed-by = ["release.pub"]') == ""
    attested = 'signed-by = ["release.pub"]\nattested-by = '
    assert denied(f'{attested}["https://ci.example/*"]') == ""
    assert "is attested by https://ci.example/1" in denied(f'{attested}["https://other/*"]')
    assert denied('packages-denied = ["left-pad>2"]') == ""
    assert "left-pad 1.3.0 is what left-pad denies" in denied('packages-denied = ["left-pad"]')
    policy.write_text('schema = 1\n[[result]]\nlicenses-denied = ["MIT"]\n')
    made = tiffin_here("build", "--policy", policy, "--label", "a=b", tmp_path, check=False)
    assert made.code == 3 and "left-pad 1.3.0 has the license MIT" in made.err
    (tmp_path / "Packages").write_bytes(b"\0\1")
    (tmp_path / "Dockerfile").write_text("FROM base\nCOPY Packages /var/lib/rpm/\n")
    hidden = tiffin_here("build", "--policy", policy, tmp_path, check=False)
    assert hidden.code == 1 and "cannot be told: /var/lib/rpm/Packages was not read" in hidden.err

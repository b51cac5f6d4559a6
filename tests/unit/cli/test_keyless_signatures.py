"""Signatures of identities, verified by the package sigstore with a trusted root of our own; nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.registry import Fake, fake_registry
from tests.support.commands import Commands
from tests.support.own_sigstore import NOW, TEN_MINUTES, OwnSigstore
from tiffin.builder.image.attached.artifact import referrer
from tiffin.builder.image.attached.referrers import push_artifact
from tiffin.builder.image.signing.envelope import bundled
from tiffin.builder.image.signing.statements import SIGN_PREDICATE
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.spec import OCI_MANIFEST, Descriptor
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest

pytest.importorskip("sigstore")
ME, ISSUER = "me@example.com", "https://issuer.example"
WHO = (f"--certificate-identity={ME}", f"--certificate-oidc-issuer={ISSUER}")


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_registry(lists_referrers=True) as served:
        yield served


@pytest.fixture
def image(fake: Fake, tiffin_here: Commands, tmp_path: Path) -> str:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /f\n")
    tiffin_here("build", "-q", "-t", f"{fake.host}/team/app:1", "--push", folder)
    return f"{fake.host}/team/app:1"


def statement(digest: Digest) -> bytes:
    subject = [{"digest": {"sha256": digest.hex}}]
    return canonical(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subject,
            "predicateType": SIGN_PREDICATE,
            "predicate": {},
        }
    )


def put_beside(fake: Fake, bundle: bytes) -> None:
    data = fake.manifests["1"][0]
    subject = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(data), size_bytes=len(data))
    client = RegistryClient(fake.host, DockerConfig.load({"HOME": "/"}), RegistryOptions())
    push_artifact(client, "team/app", referrer(subject, bundled(bundle, SIGN_PREDICATE, "x")))


@pytest.mark.thorough
def test_an_identity_is_verified(fake: Fake, image: str, tiffin_here: Commands, tmp_path: Path) -> None:
    sigstore = OwnSigstore()
    root = f"--trusted-root={sigstore.write_root(tmp_path / 'root.json')}"
    put_beside(fake, sigstore.bundle(statement(Digest.of(fake.manifests["1"][0])), ME, ISSUER))
    assert "1 good" in tiffin_here("verify", image, *WHO, root).out
    patterns = ["--certificate-identity-regexp=.*@example.com", "--certificate-oidc-issuer-regexp=https://.*"]
    assert "1 good" in tiffin_here("verify", image, *patterns, root).out
    for words, told in (
        (["--certificate-identity=you@example.com", WHO[1]], f"the certificate is for {ME}"),
        ([WHO[0], "--certificate-oidc-issuer=https://other.example"], f"{ISSUER} vouched for"),
        (["--certificate-identity-regexp=.*@example.org", WHO[1]], f"the certificate is for {ME}"),
    ):
        done = tiffin_here("verify", image, *words, root, check=False)
        assert done.code == 1 and told in done.err
    other = f"--trusted-root={OwnSigstore().write_root(tmp_path / 'other.json')}"
    assert tiffin_here("verify", image, *WHO, other, check=False).code == 1
    (tmp_path / "none.json").write_text("{}")
    done = tiffin_here("verify", image, *WHO, f"--trusted-root={tmp_path}/none.json", check=False)
    assert done.code == 2 and "cannot read the trusted root" in done.err


@pytest.mark.thorough
@pytest.mark.parametrize("minutes", [-1, 11], ids=["before", "after"])
def test_a_certificate_that_had_expired_is_refused(
    minutes: int, fake: Fake, image: str, tiffin_here: Commands, tmp_path: Path
) -> None:
    sigstore = OwnSigstore()
    moment = NOW + minutes * TEN_MINUTES / 10
    put_beside(fake, sigstore.bundle(statement(Digest.of(fake.manifests["1"][0])), ME, ISSUER, signed_at=moment))
    root = f"--trusted-root={sigstore.write_root(tmp_path / 'root.json')}"
    done = tiffin_here("verify", image, *WHO, root, check=False)
    assert done.code == 1 and "none of 1 signatures" in done.err and "certificate" in done.err


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["payload", "body", "checkpoint", "another image"])
def test_what_was_changed_or_replayed_is_refused(
    what: str, fake: Fake, image: str, tiffin_here: Commands, tmp_path: Path
) -> None:
    sigstore = OwnSigstore()
    digest = Digest.of(fake.manifests["1"][0])
    bundle = json.loads(sigstore.bundle(statement(Digest.of(b"x") if what == "another image" else digest), ME, ISSUER))
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    if what == "payload":
        theirs = json.loads(sigstore.bundle(statement(digest) + b" ", ME, ISSUER))
        bundle["dsseEnvelope"]["payload"] = theirs["dsseEnvelope"]["payload"]
    elif what == "body":
        theirs = json.loads(sigstore.bundle(statement(digest), ME, ISSUER))
        entry["canonicalizedBody"] = theirs["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"]
    elif what == "checkpoint":
        entry["inclusionProof"]["checkpoint"]["envelope"] = "log.example\n1\nAAAA\n\n— log.example AAAAAAAA\n"
    put_beside(fake, json.dumps(bundle).encode())
    root = f"--trusted-root={sigstore.write_root(tmp_path / 'root.json')}"
    done = tiffin_here("verify", image, *WHO, root, check=False)
    assert done.code == 1 and "none of 1 signatures" in done.err
    assert ("signs another image" in done.err) == (what == "another image")


BUILDER = "https://github.com/docker/github-builder/.github/workflows/build.yml@refs/tags/v1.0.0"
CLAIMS = {9: BUILDER, 11: "github-hosted", 12: "https://github.com/org/app", 14: "refs/tags/v1.2.3"}
BUILT = """package docker

default allow := false

allow if docker_github_builder_tag(input.image, "org/app", "v1.2.3")

allow if {
    some made in input.image.signatures
    made.signer.subjectAlternativeName == "me@example.com"
    made.signer.issuer == "https://issuer.example"
    made.timestamps[0].timestamp == "2026-01-02T12:05:00Z"
}

decision := {"allow": allow}
"""


def test_rego_sees_who_signed(
    fake: Fake, image: str, tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature of the attestations in an index, as GitHub's builder makes it, and one of an image."""
    pytest.importorskip("regopy")
    sigstore = OwnSigstore(common_name="sigstore-intermediate", organization="sigstore.dev")
    policy = tmp_path / "a.rego"
    policy.write_text(BUILT)

    def is_allowed(name: str) -> bool:
        done = tiffin_here("policy", "eval", "--policy", policy, f"docker-image://{name}", check=False)
        assert done.code in (0, 3), done.err
        return done.code == 0

    put_beside(fake, sigstore.bundle(statement(Digest.of(fake.manifests["1"][0])), ME, ISSUER))
    assert not is_allowed(image), "the public Sigstore did not certify that"
    monkeypatch.setenv("TIFFIN_TRUSTED_ROOT", str(sigstore.write_root(tmp_path / "root.json")))
    assert is_allowed(image)
    assert tiffin_here("verify", image, *WHO).code == 0
    built = f"{fake.host}/team/app:2"
    attest = ("--provenance=mode=min", "--attest-form=index")
    tiffin_here("build", "-q", "--no-cache", *attest, "-t", built, "--push", tmp_path / "context")
    assert not is_allowed(built)
    rows = json.loads(fake.manifests["2"][0])["manifests"]
    attested = Digest.parse(next(row["digest"] for row in rows if row["platform"]["os"] == "unknown"))
    for identity, workflow, is_good in ((ME, "elsewhere", False), (BUILDER, "builder", True)):
        claims = CLAIMS if workflow == "builder" else {**CLAIMS, 9: "https://github.com/org/app/.github/workflows/x"}
        issuer = "https://token.actions.githubusercontent.com"
        bundle = sigstore.bundle(statement(attested), identity, issuer, claims=claims)
        data = fake.manifests[str(attested)][0]
        subject = Descriptor(media_type=OCI_MANIFEST, digest=attested, size_bytes=len(data))
        client = RegistryClient(fake.host, DockerConfig.load({"HOME": "/"}), RegistryOptions())
        push_artifact(client, "team/app", referrer(subject, bundled(bundle, SIGN_PREDICATE, workflow)))
        assert is_allowed(built) is is_good, workflow

"""Images that are signed, and what `verify` says where something is amiss."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.fakes.registry import Fake, fake_registry
from tests.support.commands import Commands
from tiffin.builder.image.signing.envelope import sign
from tiffin.builder.image.signing.keys import read_signing_key
from tiffin.cache.foundation.digest import Digest

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
SLSA = "https://slsa.dev/provenance/v1"


@pytest.fixture(params=[True, False], ids=["referrers", "tags"])
def fake(request: pytest.FixtureRequest) -> Iterator[Fake]:
    with fake_registry(lists_referrers=request.param) as served:
        yield served


@pytest.fixture
def listing() -> Iterator[Fake]:
    with fake_registry(lists_referrers=True) as served:
        yield served


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key pair: `key.pem` and `key.pub`."""
    return make_key(tmp_path, "key")


def make_key(folder: Path, name: str) -> Path:
    made = ec.generate_private_key(ec.SECP256R1())
    path = folder / f"{name}.pem"
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def context(folder: Path, text: str = "x") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (folder / "f").write_text(text)
    return folder


def built(tiffin: Commands, key: Path, name: str, *words: str) -> str:
    """Build, sign and push; the digest."""
    folder = context(key.parent / "context")
    meta = key.parent / "meta"
    tiffin("build", f"--sign=key={key}", f"--metadata-file={meta}", *words, "-t", name, "--push", folder)
    return str(json.loads(meta.read_text())["containerimage.digest"])


def bundles(fake: Fake, predicate: str) -> dict[str, tuple[dict[str, object], bytes]]:
    """The manifests that have bundles of a predicate, and those bundles."""
    found = {}
    for digest, (data, _) in fake.manifests.items():
        document = json.loads(data)
        if document.get("artifactType") == BUNDLE and predicate in json.dumps(document["annotations"]):
            found[digest] = (document, fake.blobs[document["layers"][0]["digest"]])
    return found


def replace_bundle(fake: Fake, digest: str, bundle: bytes) -> None:
    """Put another bundle into an artifact, as who has the registry can."""
    document = json.loads(fake.manifests.pop(digest)[0])
    document["layers"][0] |= {"digest": fake.put(bundle), "size": len(bundle)}
    data = json.dumps(document).encode()
    fake.manifests[str(Digest.of(data))] = (data, document["mediaType"])


@pytest.mark.thorough
def test_a_signed_image_is_verified(fake: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{fake.host}/team/app:1"
    digest = built(tiffin_here, key, name, "--provenance=mode=max")
    public = key.with_suffix(".pub")
    done = tiffin_here("verify", name, "--key", public, "--type", "provenance")
    assert digest in done.out and SLSA in done.out
    assert tiffin_here("attest", "verify", name, "--key", public).code == 0
    told = json.loads(tiffin_here("verify", name, "--key", public, "-o", "json").out)
    assert told["digest"] == digest and told["attestations"][0].startswith(SLSA)
    listed = tiffin_here("attest", "ls", name).out
    assert SLSA in listed and SIGN in listed and listed.count("signed") == 2
    assert tiffin_here("attest", "ls", "-q", name).out.split() == [SLSA, SIGN]
    shown = json.loads(tiffin_here("attest", "show", name, "--type", "provenance").out)
    assert shown["subject"][0]["digest"]["sha256"] == digest.partition(":")[2]
    predicate = json.loads(tiffin_here("attest", "show", name, "--predicate").out)
    assert predicate["buildDefinition"]["internalParameters"]["buildConfig"]["steps"][0]["result"] == "ran"
    template = tiffin_here("buildx", "imagetools", "inspect", name, "--format", "{{json .Provenance}}").out
    assert json.loads(template)["SLSA"] == predicate
    for words in (["--type", "sbom"], ["--type", "https://example/none"]):
        done = tiffin_here("verify", name, "--key", public, *words, check=False)
        assert done.code == 1 and "has no signed attestation of type" in done.err


def test_the_form_is_that_of_cosign(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    """specs/BUNDLE_SPEC.md of sigstore/cosign, and the bundle of sigstore/protobuf-specs."""
    name = f"{listing.host}/team/app:1"
    digest = built(tiffin_here, key, name)
    ((manifest, data),) = bundles(listing, SIGN).values()
    assert manifest["annotations"] == manifest["annotations"] | {  # type: ignore[operator]
        "dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": SIGN,
    }  # fmt: skip
    bundle = json.loads(data)
    assert bundle["mediaType"] == BUNDLE and bundle["verificationMaterial"]["publicKey"]["hint"]
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["subject"] == [{"digest": {"sha256": digest.partition(":")[2]}}]
    assert (statement["predicateType"], statement["predicate"]) == (SIGN, {})
    tiffin_here("sign", name, "--key", key, "--format", "simple", "-a", "who=me")
    signatures = json.loads(listing.manifests[f"{digest.replace(':', '-')}.sig"][0])
    payload = json.loads(listing.blobs[signatures["layers"][0]["digest"]])
    assert payload["critical"]["image"] == {"docker-manifest-digest": digest}
    assert payload["critical"]["type"] == "cosign container image signature" and payload["optional"] == {"who": "me"}
    assert "2 good" in tiffin_here("verify", name, "--key", key.with_suffix(".pub")).out


def test_other_keys_do_not_verify(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    built(tiffin_here, key, name)
    other = make_key(key.parent, "other")
    tiffin_here("sign", name, "--key", key, "--format", "simple")
    done = tiffin_here("verify", name, "--key", other.with_suffix(".pub"), check=False)
    assert done.code == 1 and "none of 2 signatures" in done.err and "is not a signature of the key" in done.err
    tiffin_here("sign", name, "--key", other)
    assert tiffin_here("verify", name, "--key", other.with_suffix(".pub")).code == 0
    identity = ["--certificate-identity=me@example.com", "--certificate-oidc-issuer=https://issuer.example"]
    pytest.importorskip("sigstore")
    done = tiffin_here("verify", name, *identity, check=False)
    assert "it was signed by a key, not by an identity" in done.err


def test_nobody_is_trusted_by_default(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    built(tiffin_here, key, name)
    assert "whose signature is wanted?" in tiffin_here("verify", name, check=False).err
    assert "who vouches" in tiffin_here("verify", name, "--certificate-identity=me", check=False).err


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["payload", "signature", "digest"])
def test_a_changed_byte_is_seen(what: str, listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    digest = built(tiffin_here, key, name)
    ((artifact, (_, data)),) = bundles(listing, SIGN).items()
    bundle = json.loads(data)
    envelope = bundle["dsseEnvelope"]
    if what == "signature":
        changed = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
        changed[-1] ^= 1
        envelope["signatures"][0]["sig"] = base64.b64encode(changed).decode()
    else:
        payload = base64.b64decode(envelope["payload"])
        old, new = (digest[-1:], "0" if digest[-1] != "0" else "1") if what == "digest" else ("v1", "v2")
        envelope["payload"] = base64.b64encode(payload.replace(old.encode(), new.encode())).decode()
    replace_bundle(listing, artifact, json.dumps(bundle).encode())
    done = tiffin_here("verify", name, "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 1 and ("none of 1 signatures" in done.err or "is not signed" in done.err)


def test_a_bundle_of_another_image_is_refused(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    """Good, and replayed: the signature of the first image stands beside the second."""
    first, second = f"{listing.host}/team/app:1", f"{listing.host}/team/app:2"
    digest = built(tiffin_here, key, first)
    ((artifact, (_, good)),) = bundles(listing, SIGN).items()
    context(key.parent / "context", "something else")
    tiffin_here("build", "-q", "--provenance=false", "-t", second, "--push", key.parent / "context")
    tiffin_here("sign", second, "--key", make_key(key.parent, "other"))
    (theirs,) = bundles(listing, SIGN).keys() - {artifact}
    replace_bundle(listing, theirs, good)
    done = tiffin_here("verify", second, "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 1 and f"it signs another image: {digest}" in done.err
    assert tiffin_here("verify", first, "--key", key.with_suffix(".pub")).code == 0


def test_a_simple_signature_of_another_image_is_refused(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    first, second = f"{listing.host}/team/app:1", f"{listing.host}/team/app:2"
    for number, name in enumerate((first, second)):
        tiffin_here("build", "-q", "-t", name, "--push", context(key.parent / "context", str(number)))
    tiffin_here("sign", first, "--key", key, "--format", "simple")
    one, two = (str(Digest.of(listing.manifests[tag][0])).replace(":", "-") for tag in ("1", "2"))
    listing.manifests[f"{two}.sig"] = listing.manifests[f"{one}.sig"]
    done = tiffin_here("verify", second, "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 1 and "it signs another image" in done.err


def test_a_stripped_attestation_is_missed(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    built(tiffin_here, key, name, "--provenance=mode=min")
    for digest in bundles(listing, SLSA):
        del listing.manifests[digest]
    done = tiffin_here("verify", name, "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 1 and f"attestations that are no longer there: {SLSA}" in done.err


def test_an_attestation_that_was_added_is_not_covered(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    built(tiffin_here, key, name)
    folder = key.parent / "context"
    tiffin_here("build", "-q", "--provenance=mode=min", "-t", name, "--push", folder)  # without a signature
    public = key.with_suffix(".pub")
    assert tiffin_here("verify", name, "--key", public).code == 0
    done = tiffin_here("attest", "verify", name, "--key", public, check=False)
    assert done.code == 1 and "that nobody vouches for" in done.err
    tiffin_here("sign", name, "--key", key)
    assert tiffin_here("attest", "verify", name, "--key", public, "--type=provenance").code == 0


@pytest.mark.thorough
def test_what_was_said_is_not_said_again(fake: Fake, key: Path, tiffin_here: Commands) -> None:
    """A rebuild with nothing changed makes no other attestation; another key, other arguments and steps that ran do."""
    name, folder = f"{fake.host}/team/app:1", context(key.parent / "context")
    words = ["build", "-q", f"--sign=key={key}", "--provenance=mode=max", "-t", name, "--push", str(folder)]
    tiffin_here(*words)
    before = set(bundles(fake, ""))
    tiffin_here(*words)
    assert set(bundles(fake, "")) == before and len(before) == 2
    other = make_key(key.parent, "other")
    for number, more in enumerate(([f"--sign=key={other}"], ["--label=k=v"], ["--no-cache"]), 2):
        tiffin_here(*words, *more)
        assert len(bundles(fake, "")) >= 2 * number
        public = (other if number == 2 else key).with_suffix(".pub")
        assert SLSA in tiffin_here("verify", name, "--key", public).out
    key.write_text("no key any more")
    assert "is not a private key in PEM" in tiffin_here(*words, check=False).err


def test_without_a_signature_it_is_said(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    name = f"{listing.host}/team/app:1"
    tiffin_here("build", "-q", "-t", name, "--push", context(key.parent / "context"))
    done = tiffin_here("verify", name, "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 1 and "is not signed; sign it" in done.err
    assert "has no attestation" in tiffin_here("attest", "show", name, check=False).err


def test_a_changed_manifest_in_a_layout_is_seen(key: Path, tiffin_here: Commands, tmp_path: Path) -> None:
    layout, meta = tmp_path / "layout", tmp_path / "meta"
    words = [f"--sign=key={key}", f"--metadata-file={meta}", f"--output=type=oci,tar=false,dest={layout}"]
    tiffin_here("build", "-q", *words, str(context(tmp_path / "context")))
    verify = ["verify", f"oci-layout://{layout}", "--key", str(key.with_suffix(".pub"))]
    assert "1 good" in tiffin_here(*verify).out
    digest = json.loads(meta.read_text())["containerimage.digest"]
    manifest = layout / "blobs" / digest.replace(":", "/")
    manifest.write_bytes(manifest.read_bytes().replace(b'"size":', b'"size": '))
    done = tiffin_here(*verify, check=False)
    assert done.code == 1 and f"{digest} in {layout} has other content" in done.err


@pytest.mark.parametrize(
    "kind", ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"]
)
def test_a_layout_in_which_an_image_has_an_artifact_type(
    key: Path, tiffin_here: Commands, tmp_path: Path, kind: str
) -> None:
    """As crane writes it: of a manifest that says none, the type is that of its configuration."""
    layout = tmp_path / "layout"
    folder = key.parent / "layout-context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM base\n")
    tiffin_here("build", "-q", "-o", f"type=oci,tar=false,dest={layout}", folder)
    index = json.loads((layout / "index.json").read_text())
    (row,) = index["manifests"]
    row.pop("annotations", None)
    (layout / "index.json").write_text(json.dumps({**index, "manifests": [{**row, "artifactType": kind}]}))
    assert tiffin_here("sign", f"oci-layout://{layout}", "--key", key).code == 0
    assert tiffin_here("verify", f"oci-layout://{layout}", "--key", key.with_suffix(".pub")).code == 0
    assert row["digest"] in tiffin_here("load", "-i", layout).out + tiffin_here("images", "--digests").out


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["referrers", "index"])
def test_two_platforms_go_everywhere(form: str, key: Path, tiffin_here: Commands, tmp_path: Path) -> None:
    """Push, copy, layout, archive, push from the store: the signature and attestations are there."""
    with fake_registry(lists_referrers=form == "index") as fake:
        name, public = f"{fake.host}/team/both:1", key.with_suffix(".pub")
        words = ["--provenance=mode=min", f"--attest-form={form}", "--platform=linux/amd64,linux/arm64"]
        built(tiffin_here, key, name, *words, "-o", f"type=oci,dest={tmp_path}/a.tar,name=both:1")
        rows = json.loads(fake.manifests["1"][0])["manifests"]
        assert [row["platform"]["os"] for row in rows].count("unknown") == (2 if form == "index" else 0)
        places = [f"{fake.host}/copies/both:1", f"oci-layout://{tmp_path}/copied:1"]
        for target in places:
            tiffin_here("buildx", "imagetools", "create", "-t", target, name)
        tiffin_here("push", name, f"{fake.host}/pushed/both:1")
        for place in (*places, f"{fake.host}/pushed/both:1", f"oci-archive://{tmp_path}/a.tar"):
            done = tiffin_here("attest", "verify", place, "--key", public, "--type=provenance")
            assert SLSA in done.out, place
        leaf = next(row["digest"] for row in rows if row["platform"]["os"] == "linux")
        assert tiffin_here("verify", f"oci-layout://{tmp_path}/copied@{leaf}", "--key", public).code == 0
        gone = f"oci-layout://{tmp_path}/copied@sha256:{'0' * 64}"
        assert tiffin_here("verify", gone, "--key", public, check=False).code == 1
        assert SLSA in tiffin_here("verify", "--local", name, "--key", public).out
        inspected = tiffin_here("buildx", "imagetools", "inspect", name, "--format", "{{json .Provenance}}").out
        assert sorted(json.loads(inspected)) == ["linux/amd64", "linux/arm64"]


def test_one_image_is_saved_loaded_and_pulled_with_what_is_said_of_it(
    listing: Fake, key: Path, tiffin_here: Commands, tmp_path: Path
) -> None:
    name, public = f"{listing.host}/team/app:1", key.with_suffix(".pub")
    built(tiffin_here, key, name, "--provenance=true")
    tiffin_here("save", "-o", tmp_path / "saved.tar", name)
    assert SLSA in tiffin_here("verify", f"oci-archive://{tmp_path}/saved.tar", "--key", public).out
    for words in (["load", "-i", str(tmp_path / "saved.tar")], ["pull", "--attestations", name]):
        tiffin_here("rmi", name)
        assert not tiffin_here.root.joinpath("images/index.json").read_text().count(BUNDLE)
        tiffin_here(*words)
        assert SLSA in tiffin_here("verify", "--local", name, "--key", public).out
    tiffin_here("system", "prune", "-f")
    assert SLSA in tiffin_here("verify", "--local", name, "--key", public).out
    done = tiffin_here("sign", f"oci-archive://{tmp_path}/saved.tar", "--key", key, check=False)
    assert "is an archive, which is not changed" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sign=keyless,key=x"], "names neither a key nor keyless, or both"),
        (["--sign=format=simple"], "names neither a key nor keyless, or both"),
        (["--sign=key=/nonexistent,format=gpg"], "format gpg is unknown"),
        (["--sign=keys=x"], '"keys" is unknown'),
        (["--sign=,"], "has an empty item"),
        (["--sign=notation"], "signatures of notation are not supported"),
        (["--sign=key=pkcs11:x"], "keys in hardware"),
        (["--sign=key={key},format=simple"], "a build signs with bundles"),
        (["--provenance=true", "--attest-form=index", "-o", "type=docker,dest=x.tar"], "has no index for attestations"),
        (["--provenance=true", "--attest-form=index", "--push", "--merge"], "attestations of one would be lost"),
    ],
)
def test_mistakes_are_told_before_anything_is_built(
    words: list[str], told: str, key: Path, tiffin_here: Commands, tmp_path: Path
) -> None:
    given = [word.format(key=key) for word in words]
    done = tiffin_here("build", *given, "-t", "registry.example/app", context(tmp_path / "context"), check=False)
    assert done.code == 2 and told in done.err and "COPY" not in done.err


def test_a_build_argument_is_in_max_only_and_urls_have_no_credentials(
    listing: Fake, key: Path, tiffin_here: Commands
) -> None:
    name, folder = f"{listing.host}/team/app", context(key.parent / "context")
    text = "FROM scratch\nARG A\nARG PLACE\nCOPY f /f\n# https://who:pa55word@host/x?sig=s1gnature\n"
    (folder / "Dockerfile").write_text(text)
    arguments = ["--build-arg=A=value-of-a", "--build-arg=PLACE=https://who:pa55word@host/x?sig=s1gnature"]
    for mode in ("min", "max"):
        words = [f"--provenance=mode={mode}", *arguments]
        tiffin_here("build", "-q", *words, "-t", f"{name}:{mode}", "--push", folder)
        shown = tiffin_here("attest", "show", f"{name}:{mode}", "--type=slsaprovenance1").out
        documents = [item for item in shown.split("\n}\n") if item.strip()]
        last = json.loads(documents[-1] + "}")["predicate"]
        source = last["runDetails"]["metadata"].get("buildkit_metadata", {}).get("source", {"infos": [{"data": ""}]})
        plain = json.dumps(last) + base64.b64decode(source["infos"][0]["data"]).decode()
        assert "pa55word" not in plain and "s1gnature" not in plain
        assert ("value-of-a" in plain) == (mode == "max") and ("ARG PLACE" in plain) == (mode == "max")


@pytest.mark.thorough
def test_what_cosign_before_3_attached_is_read_and_copied(listing: Fake, key: Path, tiffin_here: Commands) -> None:
    """Envelopes under the tag .att (specs/ATTESTATION_SPEC.md), and signatures under .sig."""
    name, public = f"{listing.host}/team/app:1", key.with_suffix(".pub")
    tiffin_here("build", "-q", "-t", name, "--push", context(key.parent / "context"))
    tiffin_here("sign", name, "--key", key, "--format", "simple")
    subject = Digest.of(listing.manifests["1"][0])
    statement = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "subject": [{"name": "app", "digest": {"sha256": subject.hex}}],
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "predicate": {"builder": {"id": "https://builder.example"}},
        }
    ).encode()
    signed = json.loads(sign(statement, read_signing_key(str(key), {})))["dsseEnvelope"]
    envelope = json.dumps(signed).encode()
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": listing.put(b"{}"), "size": 2}
    layer = {
        "mediaType": "application/vnd.dsse.envelope.v1+json",
        "digest": listing.put(envelope),
        "size": len(envelope),
        "annotations": {"dev.cosignproject.cosign/signature": "", "predicateType": "https://slsa.dev/provenance/v0.2"},
    }
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    listing.manifests[f"sha256-{subject.hex}.att"] = (json.dumps(manifest).encode(), MANIFEST)
    assert "https://slsa.dev/provenance/v0.2" in tiffin_here("attest", "ls", name).out
    assert "v0.2" in tiffin_here("verify", name, "--key", public, "--type", "slsaprovenance").out
    with fake_registry() as other:
        copy = f"{other.host}/copies/app:1"
        tiffin_here("buildx", "imagetools", "create", "--prefer-index=false", "-t", copy, name)
        assert "v0.2" in tiffin_here("attest", "verify", copy, "--key", public, "--type", "provenance").out


@pytest.mark.thorough
def test_signatures_in_another_repository(
    fake: Fake, key: Path, tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cosign: all that is signed is there, and no tag or referrer beside the image."""
    public = key.with_suffix(".pub")
    with fake_registry() as other:
        name = f"{fake.host}/team/app:1"
        monkeypatch.setenv("COSIGN_REPOSITORY", f"{other.host}/signatures")
        digest = built(tiffin_here, key, name, "--provenance=mode=max")
        assert not bundles(fake, "") and set(bundles(other, SIGN)) and set(bundles(other, SLSA))
        tiffin_here("sign", name, "--key", key, "--format", "simple")
        assert f"{digest.replace(':', '-')}.sig" in other.manifests and not _signed_tags(fake)
        assert "2 good" in tiffin_here("verify", name, "--key", public, "--type", "provenance").out
        assert tiffin_here("attest", "verify", name, "--key", public).code == 0
        tiffin_here("sign", name, "--key", key)
        assert not bundles(fake, "") and len(bundles(other, SIGN)) == 2
        copy = f"{fake.host}/copies/app:1"
        tiffin_here("push", name, copy)
        assert not bundles(fake, "") and "good" in tiffin_here("verify", copy, "--key", public).out
        tiffin_here("rmi", name)
        tiffin_here("pull", "-q", "--attestations", name)
        assert "good" in tiffin_here("verify", "--local", name, "--key", public).out
        monkeypatch.delenv("COSIGN_REPOSITORY")
        assert tiffin_here("verify", name, "--key", public, check=False).code == 1


@pytest.mark.parametrize(("text", "reason"), [("a/b:1", "a tag or a digest"), ("A B", "COSIGN_REPOSITORY")])
def test_a_repository_of_signatures_that_is_none(
    text: str, reason: str, fake: Fake, key: Path, tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_REPOSITORY", text)
    done = tiffin_here("verify", f"{fake.host}/team/app:1", "--key", key.with_suffix(".pub"), check=False)
    assert done.code == 2 and reason in done.err


def _signed_tags(fake: Fake) -> list[str]:
    return [tag for tag in fake.manifests if tag.startswith("sha256-") and tag.endswith((".sig", ".att"))]

"""What policies in Rego ask beside names: repositories and their signatures, files, attestations, pins."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import signed_git
from tiffin.builder.api.rules.gate import Gate
from tiffin.builder.api.rules.policies import subject_for
from tiffin.builder.errors import PolicyError, RegistryError, UsageError
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.chosen import judges
from tiffin.builder.policy.facts import Contents, Evidence, Repository, Statement, Subject, VerifiedSignature
from tiffin.builder.policy.rego.git_objects import read_commit, read_tag
from tiffin.builder.policy.rego.key_files import is_file_signed_by, is_signed_by
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import replace

PLATFORM = Platform.parse("amd64")
OLD, NEW, INDEX, OTHER = (f"sha256:{letter * 64}" for letter in "abcd")
REMOTE = "https://h.example/r.git"
WORKFLOW = "https://github.com/org/app/.github/workflows/build.yml@refs/heads/main"
BUILDER = "https://github.com/docker/github-builder/.github/workflows/build.yml@refs/tags/v1"


def named(kind: str, data: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).hexdigest()


def repository(ref: str, commit: bytes, tag: bytes = b"") -> Repository:
    number = named("commit", commit)
    return Repository(
        ref=ref, checksum=named("tag", tag) if tag else number, commit_checksum=number, commit=commit, tag=tag
    )


REPOSITORIES = {
    "": repository("refs/heads/main", signed_git.THIRD),
    "main": repository("refs/heads/main", signed_git.THIRD),
    "light": repository("refs/tags/light", signed_git.FIRST),
    "second": repository("refs/heads/second", signed_git.SECOND),
    "v1.0.0": repository("refs/tags/v1.0.0", signed_git.FIRST, signed_git.TAG_MAINTAINER),
    "v2.0.0": repository("refs/tags/v2.0.0", signed_git.FIRST, signed_git.TAG_ED25519),
    "v3.0.0": repository("refs/tags/v3.0.0", signed_git.THIRD, signed_git.TAG_PLAIN),
}


def signature(workflow: str, ref: str = "refs/heads/main", environment: str = "github-hosted") -> VerifiedSignature:
    return VerifiedSignature(
        signer={
            "certificateIssuer": "CN=sigstore-intermediate,O=sigstore.dev",
            "subjectAlternativeName": workflow,
            "issuer": "https://token.actions.githubusercontent.com",
            "buildSignerURI": workflow,
            "sourceRepositoryURI": "https://github.com/org/app",
            "sourceRepositoryRef": ref,
            "runnerEnvironment": environment,
        },
        timestamps=[{"type": "Tlog", "timestamp": "2026-01-01T00:00:00Z"}],
    )


PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
        "externalParameters": {
            "configSource": {"uri": "https://h.example/app.git", "path": "Dockerfile"},
            "request": {"frontend": "dockerfile.v0", "args": {"build-arg:MODE": "release", "target": "app"}},
        },
        "resolvedDependencies": [
            {"uri": "pkg:docker/base@1?platform=linux%2Famd64", "digest": {"sha256": "b" * 64}},
            {"uri": "https://h.example/app.git#refs/heads/main", "digest": {"sha1": "d" * 40}},
            {"uri": "https://h.example/file.tar", "digest": {"sha256": "e" * 64}},
            {"uri": "what:ever"},
        ],
    },
    "runDetails": {
        "builder": {"id": "https://ci.example/1"},
        "metadata": {"invocationId": "i", "buildkit_reproducible": True},
    },
}
OLD_PROVENANCE = {
    "buildType": "t",
    "builder": {"id": "old"},
    "invocation": {"configSource": {"entryPoint": "Dockerfile"}, "parameters": {"args": {}}},
    "metadata": {"buildStartedOn": "2026-01-01T00:00:00Z", "completeness": {"materials": True}},
    "materials": [],
}


class Known(Evidence):
    """What there is of `app` (provenance, signatures) and `plain` (neither); counts how often a repository is asked."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.asked: list[str] = []

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        return False

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        return ()

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        return reference.repository in ("org/app", "org/built")

    def provenance(self, reference: Reference, digest: str) -> Statement | None:
        kind = "https://slsa.dev/provenance/"
        if reference.repository == "org/app":
            return Statement(predicate_type=f"{kind}v1", predicate=PROVENANCE)
        if reference.repository == "org/built":
            return Statement(predicate_type=f"{kind}v0.2", predicate=OLD_PROVENANCE)
        return None

    def signatures(self, reference: Reference, digest: str) -> Sequence[VerifiedSignature]:
        made = {"org/app": signature(WORKFLOW), "org/built": signature(BUILDER, "refs/tags/v1.2.3")}
        return [made[reference.repository]] if reference.repository in made else []

    def artifact_signature(self, bundle: bytes, digest: str) -> VerifiedSignature | None:
        return signature(BUILDER) if json.loads(bundle).get("digest") == digest else None

    def repository(self, origin: GitOrigin) -> Repository:
        self.asked.append(origin.ref)
        return REPOSITORIES[origin.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")]

    def file(self, origin: UrlOrigin) -> Path:
        assert self._file is not None
        return self._file

    def image(self, reference: Reference, platform: Platform) -> Contents:
        if reference.repository == "library/gone":
            raise RegistryError("it is gone")
        return contents(str(reference.digest or OLD), vendor="us")


def contents(digest: str = OLD, named: str = "", **labels: str) -> Contents:
    config = ImageConfig(platform=PLATFORM, config=RunConfig(labels=labels), created="2026-01-01T00:00:00Z")
    return Contents(digest=digest, named=named, config=config, size_bytes=1)


def policy(folder: Path, rules: str, more: str = "", **files: str) -> Gate:
    folder.joinpath("a.rego").write_text(
        f'package docker\n\ndefault allow := false\n\n{rules}\n\n{more}\n\ndecision := {{"allow": allow}}\n'
    )
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Gate(judges({}, RegistryAccess(policies=(str(folder / "a.rego"),))), None, Known(folder / "file"))


def source(text: str, held: Contents | None = None) -> Subject:
    return replace(subject_for(text, PLATFORM), contents=held)


def allowed(gate: Gate, subject: Subject) -> bool:
    try:
        gate.judge(subject)
    except PolicyError:
        return False
    return True


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ('input.git.tagName == "v1.0.0"', ("v1.0.0", "refs/tags/v1.0.0"), ("v2.0.0", "main", "")),
        ('input.git.branch == "main"', ("", "main", "refs/heads/main"), ("v1.0.0",)),
        ("regex.match(`^v[0-9]+\\.0\\.0$`, input.git.tagName)", ("v1.0.0", "v3.0.0"), ("light", "main")),
        ("input.git.isAnnotatedTag", ("v1.0.0", "v3.0.0"), ("light", "main")),
        ("input.git.commit.pgpSignature != null", ("light", "v1.0.0"), ("main", "second")),
        ("input.git.commit.sshSignature.version == 1", ("second",), ("main", "light")),
        ("input.git.tag.pgpSignature != null", ("v1.0.0",), ("v2.0.0", "v3.0.0", "light")),
        ('input.git.commit.author.email == "maintainer@example.com"', ("main",), ()),
        ('input.git.commit.author.when == "2026-01-01T01:30:00+01:30"', ("main",), ()),
        ('contains(input.git.commit.message, "Signed-off-by: Maintainer")', ("second",), ("main", "light")),
        (f'input.git.commitChecksum == "{named("commit", signed_git.FIRST)}"', ("v1.0.0", "light"), ("main",)),
        (f'input.git.checksum == "{named("tag", signed_git.TAG_MAINTAINER)}"', ("v1.0.0",), ("light",)),
        ('verify_git_signature(input.git.tag, "maintainer.asc")', ("v1.0.0",), ("v2.0.0", "v3.0.0", "light", "main")),
        ('verify_git_signature(input.git.tag, "keys/all.asc")', ("v1.0.0",), ("v2.0.0",)),
        ('verify_git_signature(input.git.tag, "other.asc")', (), ("v1.0.0",)),
        ('verify_git_signature(input.git.tag, "revoked.asc")', (), ("v1.0.0",)),
        ('verify_git_signature(input.git.tag, "id.pub")', ("v2.0.0",), ("v1.0.0", "v3.0.0")),
        ('verify_git_signature(input.git.commit, "maintainer.asc")', ("light", "v1.0.0"), ("main", "second")),
        ('some file in ["other.asc", "id.pub"]; verify_git_signature(input.git.commit, file)', ("second",), ("light",)),
        ("by_us(input.git.commit)", ("light",), ("second",)),
    ],
)
def test_repositories(tmp_path: Path, rule: str, good: Sequence[str], bad: Sequence[str]) -> None:
    found = policy(
        tmp_path,
        f"allow if {{ {rule} }}",
        'by_us(object) if verify_git_signature(object, "maintainer.asc")' if "by_us" in rule else "",
        maintainer_asc=signed_git.MAINTAINER,
        other_asc=signed_git.OTHER,
        revoked_asc=signed_git.REVOKED,
        keys__all_asc=signed_git.OTHER + signed_git.MAINTAINER,
        id_pub=f"me@example.com {signed_git.SSH_ED25519}",
    )
    for refs, is_good in ((good, True), (bad, False)):
        for ref in refs:
            assert allowed(found, source(f"{REMOTE}#{ref}" if ref else REMOTE)) is is_good, ref


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        (signed_git.TAG_ED25519, signed_git.SSH_ED25519),
        (signed_git.TAG_ECDSA, signed_git.SSH_ECDSA),
        (signed_git.TAG_RSA, signed_git.SSH_RSA),
        (signed_git.TAG_MAINTAINER, signed_git.MAINTAINER),
        (signed_git.TAG_EXPIRED, signed_git.EXPIRED),
    ],
)
def test_each_kind_of_key(tag: bytes, key: str) -> None:
    good = read_tag(tag)
    assert is_signed_by(good, key.encode())
    assert not is_signed_by(read_tag(tag.replace(b"type commit", b"type commiT")), key.encode())
    others = (signed_git.SSH_ED25519, signed_git.SSH_ECDSA, signed_git.SSH_RSA, signed_git.MAINTAINER)
    assert [other for other in others if is_signed_by(good, other.encode())] == [key] * (key in others)
    assert not is_signed_by(read_tag(tag[: tag.index(b"-----BEGIN")] + b"-----BEGIN SSH SIGNATURE-----\nU1\n"), b"")


def test_a_signature_is_for_git_alone(tmp_path: Path) -> None:
    """A signature of ssh that was made for something else than git does not count."""
    key, file = tmp_path / "key", tmp_path / "text"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
    unsigned = signed_git.TAG_PLAIN
    file.write_bytes(unsigned)
    for namespace, is_good in (("git", True), ("file", False)):
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        made = (tmp_path / "text.sig").read_bytes()
        (tmp_path / "text.sig").unlink()
        assert is_signed_by(read_tag(unsigned + made), key.with_suffix(".pub").read_bytes()) is is_good


def test_only_what_is_asked_for_is_looked_up(tmp_path: Path) -> None:
    found = policy(tmp_path, 'allow if input.git.host == "h.example"\nallow if input.image.tag == "1"')
    evidence = found._evidence
    assert isinstance(evidence, Known)
    assert allowed(found, source(f"{REMOTE}#main")) and not allowed(found, source("https://other.example/r.git"))
    assert evidence.asked == []
    denied = tmp_path / "first.toml"
    denied.write_text('schema = 1\n[[git]]\ndeny = ["https://h.example/**"]\n')
    (tmp_path / "a.rego").write_text(
        'package docker\nallow := input.git.isAnnotatedTag\ndecision := {"allow": allow}\n'
    )
    both = RegistryAccess(policies=(str(denied), str(tmp_path / "a.rego")))
    assert not allowed(Gate(judges({}, both), None, evidence), source(f"{REMOTE}#v1.0.0")) and evidence.asked == []


def test_files(tmp_path: Path) -> None:
    """A signature of GnuPG over a commit, which is a file here."""
    commit = read_commit(signed_git.FIRST)
    (tmp_path / "file").write_bytes(commit.signed)
    assert is_file_signed_by(tmp_path / "file", commit.signature, signed_git.MAINTAINER.encode())
    found = policy(
        tmp_path,
        'allow if verify_http_pgp_signature(input.http, "file.asc", "maintainer.asc")',
        file_asc=commit.signature.decode(),
        maintainer_asc=signed_git.MAINTAINER,
    )
    assert allowed(found, source("https://h.example/file?x=1"))
    (tmp_path / "file").write_bytes(commit.signed + b"!")
    assert not allowed(found, source("https://h.example/file"))


def test_artifacts(tmp_path: Path) -> None:
    rules = 'allow if docker_github_builder_bundle(input.http, "b.json", "org/app")'
    bundle = json.dumps({"verificationMaterial": {}, "digest": OLD})
    found = policy(tmp_path, rules, b_json=bundle)
    subject = source("https://h.example/file")
    assert isinstance(subject.origin, UrlOrigin)
    known = replace(subject, origin=replace(subject.origin, checksum=OLD), checksum=OLD)
    assert allowed(found, known)
    (tmp_path / "file").write_text("another")
    assert not allowed(found, subject)
    signer = 'allow if artifact_attestation(input.http, "b.json").signer.runnerEnvironment == "github-hosted"'
    assert allowed(policy(tmp_path, signer), known)


QUERY = 'allow if input.http.query.token[_] == "s3cr3t"\n'


def test_queries_are_seen_and_not_told(tmp_path: Path) -> None:
    found = policy(tmp_path, QUERY)
    assert allowed(found, source("https://h.example/f?token=s3cr3t"))
    more = 'deny_msg contains sprintf("%s is not ours", [input.http.url])'
    path = tmp_path / "a.rego"
    path.write_text(
        path.read_text().replace("decision :=", f"{more}\n\ndecision :=").replace("}", ', "deny_msg": deny_msg}')
    )
    with pytest.raises(PolicyError, match=r"https://h.example/f is not ours") as caught:
        Gate(judges({}, RegistryAccess(policies=(str(path),))), None, Known()).judge(
            source("https://me:pass@h.example/f?token=0ther")
        )
    assert "0ther" not in str(caught.value) and "pass" not in str(caught.value)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("input.image.hasProvenance", "org/app", "org/plain"),
        ("count(input.image.signatures) > 0", "org/app", "org/plain"),
        ('input.image.signatures[_].kind == "self-signed-github-repo"', "org/app", "org/built"),
        ('input.image.signatures[_].kind == "docker-github-builder"', "org/built", "org/app"),
        ('some made in input.image.signatures; by_workflow(made, "org/app")', "org/app", "org/built"),
        ('docker_github_builder(input.image, "org/app")', "org/built", "org/app"),
        ('docker_github_builder_tag(input.image, "org/app", "v1.2.3")', "org/built", "org/app"),
        ('docker_github_builder(input.image, "org/other")', "", "org/built"),
        ('input.image.provenance.builderID == "https://ci.example/1"', "org/app", "org/built"),
        ('input.image.provenance.buildArgs.MODE == "release"', "org/app", "org/built"),
        ('input.image.provenance.configSource.path == "Dockerfile"', "org/built", "org/plain"),
        ("input.image.provenance.reproducible", "org/app", "org/plain"),
        ("input.image.provenance.completeness.materials", "org/built", "org/app"),
        ('input.image.provenance.materials[0].image.repo == "base"', "org/app", "org/built"),
        ("input.image.provenance.materials[0].env.depth == 1", "org/app", "org/built"),
        (f'input.image.provenance.materials[1].git.commitChecksum == "{"d" * 40}"', "org/app", "org/built"),
        (f'input.image.provenance.materials[2].http.checksum == "sha256:{"e" * 64}"', "org/app", "org/built"),
        ('input.image.provenance.materials[_].image.labels.vendor == "us"', "org/app", "org/built"),
        (f'input.image.checksum == "{INDEX}"', "org/app:1", ""),
        ('input.image.tag == "3"', f"org/app:3@{OLD}", f"org/app@{OLD}"),
    ],
)
def test_images(tmp_path: Path, rule: str, good: str, bad: str) -> None:
    helper = (
        'by_workflow(made, repository) if startswith(made.signer.buildSignerURI, sprintf("https://github.com/%s/", '
        "[repository]))"
    )
    found = policy(tmp_path, f"allow if {{ {rule} }}", helper if "by_workflow" in rule else "")
    assert not good or allowed(found, source(good, contents(named=INDEX)))
    assert not bad or not allowed(found, source(bad, contents()))


def test_materials_that_cannot_be_looked_up(tmp_path: Path) -> None:
    found = policy(tmp_path, "allow if not input.image.provenance.materials[_].image.labels.bad")
    definition = PROVENANCE["buildDefinition"]
    assert isinstance(definition, dict)
    dependencies = definition["resolvedDependencies"]
    dependencies.append({"uri": "pkg:docker/gone@1"})
    try:
        with pytest.raises(UsageError, match=r"a policy asks what docker.io/library/gone:1 is: it is gone"):
            found.judge(source("org/app", contents()))
        names = policy(tmp_path, 'allow if input.image.provenance.materials[_].image.repo == "gone"')
        assert allowed(names, source("org/app", contents()))
    finally:
        dependencies.pop()


PIN = f"""
digests := {{"1.0": "{OLD}", "1.1": "{NEW}", "0.9": "{INDEX}", "0.9.1": "{OTHER}"}}

patched := {{"1.0": "1.1", "0.9": "0.9.1"}}

allow if {{
    input.image.repo == "alpine"
    some version
    patched[version]
    input.image.checksum == digests[version]
    pin_image(input.image, digests[patched[version]])
}}

allow if {{
    input.image.repo == "alpine"
    input.image.checksum == "{NEW}"
}}

allow if {{
    input.image.repo == "both"
    pin_image(input.image, "{NEW}")
    pin_image(input.image, "{INDEX}")
}}

allow if {{
    input.image.tag == "given"
    pin_image(input.image, input.env.args.DIGEST)
}}

allow if {{ input.image.repo == "free" }}

allow if input.image.repo == "plain"

allow if {{ input.image.repo == "plain"; input.image.tag == "2"; pin_image(input.image, "{NEW}") }}
"""
HELPED = f"""
allow if {{ input.image.repo == "alpine"; pinned("{NEW}") }}

pinned(digest) if pin_image(input.image, digest)
"""


@pytest.mark.thorough
def test_pins(tmp_path: Path) -> None:
    found = policy(tmp_path, PIN)
    held, pinner = found.pin(source("alpine:3", contents(OLD)))
    assert held == NEW and pinner is not None
    found.judge(source(f"alpine:3@{NEW}", contents(NEW)), pinner)
    assert (
        found.pin(source("alpine:2", contents(INDEX)))[0] == OTHER
        and found.pin(source("plain:2", contents()))[0] == NEW
    )
    for name, digest in (("alpine:3", NEW), ("alpine:3", OTHER), ("free", OLD), ("debian", OLD), ("plain:1", OLD)):
        assert found.pin(source(name, contents(digest))) == ("", None)
    with pytest.raises(PolicyError, match=f"alpine:3 is pinned to {NEW}; use docker.io/library/alpine@{NEW}"):
        found.judge(source("alpine:3", contents(OLD)))  # where nothing can be given in its place
    with pytest.raises(UsageError, match=f"pins both to {NEW} and to {INDEX}"):
        found.pin(source("both", contents(OLD)))
    given = source("x:given", contents(OLD))
    environment = replace(given.environment, args={"DIGEST": INDEX})
    assert found.pin(replace(given, environment=environment))[0] == INDEX
    helped = policy(tmp_path, HELPED)
    assert helped.pin(source("alpine:3", contents(OLD)))[0] == NEW
    assert helped.pin(source("debian", contents(OLD))) == ("", None)


def test_imports_are_called_as_they_are_imported(tmp_path: Path) -> None:
    """A file says another package than it is imported as, and calls functions."""
    lists = "package anything\n\nimport data.lists.names\n\nours if names.known[input.image.repo]\n"
    names = 'package names\n\nknown := load_json("lists/known.json")\n'
    found = policy(
        tmp_path,
        "allow if ours.ours",
        lists__ours_rego=lists,
        lists__names_rego=names,
        lists__known_json='{"alpine": true}',
    )
    path = tmp_path / "a.rego"
    path.write_text(path.read_text().replace("package docker", "package docker\n\nimport data.lists.ours"))
    found = Gate(judges({}, RegistryAccess(policies=(str(path),))), None, Known())
    assert allowed(found, source("alpine", contents())) and not allowed(found, source("debian", contents()))


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ('allow if verify_git_signature(input.git.tag, "none.asc")', "cannot read .*none.asc"),
        ('allow if verify_git_signature(input.git.tag, "empty.asc")', "empty.asc, which has no key"),
        ('allow if verify_git_signature(input.git.tag, "../a.asc")', "which is not below"),
        ('allow if github_attestation(input.http, "o/r")', "uses github_attestation, which tiffin does not answer"),
        ("allow if github_release_attestation(input.http)", "uses github_release_attestation"),
        ("allow if time.parse_rfc3339_ns(input.image.createdTime) > 0", "uses time.parse_rfc3339_ns, which regopy"),
        ('allow if http.send({"method": "get"}).status == 200', "uses http.send, which regopy does not answer"),
        ('allow if regex.match("(?i)x", input.git.host)', r"\(\?i\) is not known to regopy"),
        ("allow if nothing_known(1)", "cannot be evaluated by regopy"),
    ],
)
def test_what_is_refused(tmp_path: Path, rules: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        policy(tmp_path, rules, empty_asc="").judge(source(f"{REMOTE}#v1.0.0"))


@pytest.mark.thorough
def test_versions_are_compared_as_in_semver(tmp_path: Path) -> None:
    """regopy takes 1.10.0 for less than 1.9.0."""
    order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.9.0", "1.10.0", "9.0.0"]
    for at, version in enumerate(order):
        rule = f'allow if semver.compare(input.image.tag, "{version}") >= 0 # semver.compare, not sprintf('
        found = policy(tmp_path, rule)
        assert [allowed(found, source(f"a:{tag}", contents())) for tag in order] == [
            other >= at for other in range(len(order))
        ]
    assert not allowed(found, source("a:latest", contents()))

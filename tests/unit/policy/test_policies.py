"""Policies allow and deny: a table for those in TOML and policy.json, and one for those in Rego."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tiffin.builder.api.rules.gate import Gate
from tiffin.builder.api.rules.policies import subject_for
from tiffin.builder.errors import PolicyError, Span, TiffinError, UsageError
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.chosen import judges
from tiffin.builder.policy.facts import (
    Contents,
    Environment,
    Evidence,
    Package,
    Repository,
    Statement,
    VerifiedSignature,
)
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import replace

PLATFORM = Platform.parse("amd64")
DIGEST = "sha256:" + "a" * 64
COMMIT = "c" * 40
RESULT = "result"
SPAN = Span(file="Dockerfile", first_line=7, last_line=7)


class KnownEvidence(Evidence):
    """Signatures of release.pub, provenance of one builder that it vouches for."""

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        return key.endswith("release.pub") and reference.repository.startswith("signed/")

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        return ("https://ci.example/builder@v1",) if self.signed_by(reference, digest, key) else ()

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        return reference.repository.startswith("signed/")

    def provenance(self, reference: Reference, digest: str) -> Statement | None:
        return None

    def signatures(self, reference: Reference, digest: str) -> Sequence[VerifiedSignature]:
        return ()

    def artifact_signature(self, bundle: bytes, digest: str) -> VerifiedSignature | None:
        return None

    def repository(self, origin: GitOrigin) -> Repository:
        raise NotImplementedError

    def file(self, origin: UrlOrigin) -> Path:
        raise NotImplementedError

    def image(self, reference: Reference, platform: Platform) -> Contents:
        raise NotImplementedError


PACKAGES = (
    Package(name="openssl", version="3.0.2-0ubuntu1", kind="deb", licenses=("Apache-2.0",), line="Dockerfile:3"),
    Package(name="left-pad", version="1.3.0", kind="npm", licenses=("MIT OR AGPL-3.0-only",)),
)


def contents(user: str = "", env: Sequence[str] = (), size: int = 0, created: str = "", **labels: str) -> Contents:
    config = RunConfig(user=user, env=tuple(env), labels=labels)
    described = ImageConfig(platform=PLATFORM, config=config, created=created)
    return Contents(digest=DIGEST, config=described, size_bytes=size, packages=lambda: PACKAGES)


SIGNED_BY = 'signed-by = ["release.pub"]'
IMAGES, GIT, URLS, MADE = "[[images]]", "[[git]]", "[[urls]]", "[[result]]"
# table, rules, what is judged, what it holds, the rule that denies it ("" for none)
CASES: tuple[tuple[str, str, str, Contents | None, str], ...] = (
    (IMAGES, 'registries = ["docker.io"]', "debian:12", None, ""),
    (IMAGES, 'registries = ["docker.io"]', "quay.io/a/b", None, "registries"),
    (IMAGES, 'registries = ["*.corp.example"]', "r.corp.example/a", None, ""),
    (IMAGES, 'registries = ["*.corp.example"]', "corp.example.evil.example/a", None, "registries"),
    (IMAGES, 'registries = ["localhost:5000"]', "localhost:5000/a", None, ""),
    (IMAGES, 'registries = ["localhost:5000"]', "localhost:5001/a", None, "registries"),
    (IMAGES, 'names = ["docker.io/library/*"]', "debian", None, ""),
    (IMAGES, 'names = ["docker.io/library/*"]', "someone/debian", None, "names"),
    (IMAGES, 'names = ["docker.io/**"]', "someone/deep/er", None, ""),
    (IMAGES, 'names = ["docker.io/library/debian:12*"]', "debian:12-slim", None, ""),
    (IMAGES, 'names = ["docker.io/library/debian:12*"]', "debian:11", None, "names"),
    (IMAGES, 'deny = ["docker.io/library/node:*"]', "node:18", None, "deny"),
    (IMAGES, 'deny = ["docker.io/library/node:*"]', "nodejs:18", None, ""),
    (IMAGES, "pinned = true", "debian:12", None, "pinned"),
    (IMAGES, "pinned = true", f"debian@{DIGEST}", None, ""),
    (IMAGES, "pinned = false", "debian:12", None, ""),
    (IMAGES, "no-latest = true", "debian", None, "no-latest"),
    (IMAGES, "no-latest = true", "debian:latest", None, "no-latest"),
    (IMAGES, "no-latest = true", "debian:12", None, ""),
    (IMAGES, "no-latest = true", f"debian@{DIGEST}", None, ""),
    (IMAGES, 'for = ["quay.io/**"]\npinned = true', "debian:12", None, ""),
    (IMAGES, 'for = ["quay.io/**"]\npinned = true', "quay.io/a/b:1", None, "pinned"),
    (IMAGES, 'except = ["r.example/**"]\npinned = true', "r.example/a:1", None, ""),
    (IMAGES, 'signed-by = ["release.pub"]', "signed/a:1", contents(), ""),
    (IMAGES, 'signed-by = ["release.pub"]', "other/a:1", contents(), "signed-by"),
    (IMAGES, 'signed-by = ["other.pub"]', "signed/a:1", contents(), "signed-by"),
    (IMAGES, f'{SIGNED_BY}\nattested-by = ["https://ci.example/*"]', "signed/a:1", contents(), ""),
    (IMAGES, f'{SIGNED_BY}\nattested-by = ["https://other.example/*"]', "signed/a:1", contents(), "attested-by"),
    (IMAGES, 'max-size = "1k"', "debian:12", contents(size=1024), ""),
    (IMAGES, 'max-size = "1k"', "debian:12", contents(size=1025), "max-size"),
    (IMAGES, 'max-age = "90d"', "debian:12", contents(created="2100-01-01T00:00:00Z"), ""),
    (IMAGES, 'max-age = "90d"', "debian:12", contents(created="2020-01-01T00:00:00Z"), "max-age"),
    (IMAGES, 'max-age = "90d"', "debian:12", contents(created=""), "max-age"),
    (IMAGES, "no-root = true", "debian:12", contents(user="app"), ""),
    (IMAGES, "no-root = true", "debian:12", contents(user="0:0"), "no-root"),
    (GIT, "https = true", "https://h.example/r.git", None, ""),
    (GIT, "https = true", "git://h.example/r.git", None, "https"),
    (GIT, "commit = true", "https://h.example/r.git#main", None, "commit"),
    (GIT, "commit = true", f"https://h.example/r.git#{COMMIT}", None, ""),
    (GIT, 'names = ["https://h.example/org/*"]', "https://h.example/org/r.git", None, ""),
    (GIT, 'names = ["https://h.example/org/*"]', "https://h.example/other/r.git", None, "names"),
    (GIT, "commit = true", "https://h.example/file", None, ""),
    (URLS, "https = true", "https://h.example/file", None, ""),
    (URLS, "https = true", "http://h.example/file", None, "https"),
    (URLS, "checksum = true", "https://h.example/file", None, "checksum"),
    (URLS, 'deny = ["https://*.evil.example/**"]', "https://a.evil.example/x/y", None, "deny"),
    (MADE, "no-root = true", RESULT, contents(user="app"), ""),
    (MADE, "no-root = true", RESULT, contents(), "no-root"),
    (MADE, "no-root = true", RESULT, contents(user="root:root"), "no-root"),
    (MADE, "no-root = true", RESULT, contents(user="00"), "no-root"),
    (MADE, "no-root = true", RESULT, contents(user="+0:1000"), "no-root"),
    (MADE, "no-root = true", RESULT, contents(user="10"), ""),
    (MADE, "no-secrets-in-env = true", RESULT, contents(env=["PATH=/bin", "KEY_FILE=/k"]), ""),
    (MADE, "no-secrets-in-env = true", RESULT, contents(env=["API_TOKEN=x"]), "no-secrets-in-env"),
    (MADE, "no-secrets-in-env = true", RESULT, contents(env=["API_TOKEN="]), ""),
    (MADE, "no-secrets-in-env = true", RESULT, contents(env=["X=AKIA" + "A" * 16]), "no-secrets-in-env"),
    (MADE, "no-secrets-in-env = true", RESULT, contents(env=["U=https://a:b@h/"]), "no-secrets-in-env"),
    (MADE, 'labels = ["source"]', RESULT, contents(source="here"), ""),
    (MADE, 'labels = ["source"]', RESULT, contents(), "labels"),
    (MADE, 'licenses-denied = ["AGPL-*"]', RESULT, contents(), "licenses-denied"),
    (MADE, 'licenses-denied = ["GPL-*"]', RESULT, contents(), ""),
    (MADE, 'packages-denied = ["openssl<3.0.7"]', RESULT, contents(), "packages-denied"),
    (MADE, 'packages-denied = ["openssl<3.0.2"]', RESULT, contents(), ""),
    (MADE, 'packages-denied = ["npm/openssl"]', RESULT, contents(), ""),
    (MADE, 'packages-denied = ["left-*>=1.3"]', RESULT, contents(), "packages-denied"),
    (MADE, 'max-size = "10m"', RESULT, contents(size=20 << 20), "max-size"),
    (MADE, 'registries = ["r.example"]', RESULT, contents(), "registries"),
    (MADE, "pinned = true", "debian:12", None, "is not a rule"),
)


def gate(path: Path) -> Gate:
    return Gate(judges({}, RegistryAccess(policies=(str(path),))), None, KnownEvidence())


def ask(found: Gate, source: str, held: Contents | None) -> None:
    if source == RESULT:
        assert held is not None
        subject = replace(subject_for("app:1", PLATFORM), span=SPAN)
        found.judge_result([Reference.parse("app:1")], held, subject)
        return
    subject = replace(subject_for(source, PLATFORM), span=SPAN)
    found.judge(subject)
    if held is not None:
        found.judge(replace(subject, contents=held))


@pytest.mark.parametrize(("table", "rules", "source", "held", "denied"), CASES)
def test_toml(tmp_path: Path, table: str, rules: str, source: str, held: Contents | None, denied: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"schema = 1\n{table}\n{rules}\n")
    if denied == "is not a rule":
        with pytest.raises(UsageError, match='has no rule "pinned"'):
            gate(path)
    elif not denied:
        ask(gate(path), source, held)
    else:
        with pytest.raises(PolicyError) as caught:
            ask(gate(path), source, held)
        assert caught.value.rules == (f"{path}: {table.strip('[]')}.{denied}",)
        assert str(caught.value).startswith("Dockerfile:7: ") and caught.value.remedy and caught.value.exit_code == 3


def test_a_provenance_counts_with_a_signature(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('schema = 1\n[[images]]\nattested-by = ["https://ci.example/*"]\n')
    with pytest.raises(UsageError, match="a provenance that nobody signed can be written by anyone") as caught:
        gate(path)
    assert caught.value.remedy == 'write signed-by = ["release.pub"] in the same table'


ACCEPT, REJECT = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
SIGNED = [{"type": "sigstoreSigned", "keyPath": "release.pub", "signedIdentity": {"type": "matchRepository"}}]


@pytest.mark.parametrize(
    ("scopes", "source", "denied"),
    [
        ({}, "debian:12", "reject"),
        ({"": ACCEPT}, "debian:12", ""),
        ({"docker.io/library": ACCEPT}, "debian:12", ""),
        ({"docker.io/library": ACCEPT, "docker.io/library/debian": REJECT}, "debian:12", "reject"),
        ({"docker.io/library/debian:12": ACCEPT}, "debian:12", ""),
        ({"docker.io/library/debian:12": ACCEPT}, "debian:11", "reject"),
        ({f"docker.io/library/debian@{DIGEST}": ACCEPT}, f"debian@{DIGEST}", ""),
        ({"*.corp.example": ACCEPT}, "r.corp.example/a", ""),
        ({"docker.io": SIGNED}, "signed/a", ""),
        ({"docker.io": SIGNED}, "other/a", "sigstoreSigned"),
        ({}, "https://h.example/file", ""),
    ],
)
def test_policy_json(tmp_path: Path, scopes: dict[str, object], source: str, denied: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": REJECT, "transports": {"docker": scopes, "dir": {"": ACCEPT}}}))
    if not denied:
        ask(gate(path), source, contents())
        return
    with pytest.raises(PolicyError, match=f": {denied}: "):
        ask(gate(path), source, contents())


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "it needs default"),
        ({"default": []}, "is not a list of requirements"),
        ({"default": [{"type": "maybe"}]}, "unknown requirement"),
        ({"default": [{"type": "reject", "why": 1}]}, '"why" of reject'),
        ({"default": ACCEPT, "transports": {"docker": []}}, "transports is not"),
        ({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "k"}]}, "signedBy needs GPG"),
        ({"default": [{"type": "sigstoreSigned", "fulcio": {}}]}, "with fulcio is not checked"),
    ],
)
def test_policy_json_that_is_not_understood(tmp_path: Path, document: object, error: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=error):
        ask(gate(path), "debian:12", contents())


REGO = """package docker

default allow := false

allow if input.local

hosts := ["docker.io", "r.example"]

allow if {
    input.image.host in hosts
    not startswith(input.image.repo, "bad/")
}

allow if {
    input.image.host == "pinned.example"
    input.image.isCanonical
}

allow if {
    input.image.labels.vendor == "us"
}

allow if {
    input.http.schema == "https"
    input.http.checksum != ""
}

allow if {
    input.git.host == "h.example"
    regex.match(`^v[0-9]+$`, input.git.tagName)
}

allow if input.env.args.LAX == "yes"

deny_msg contains sprintf("%s is not ours", [input.image.ref]) if {
    not allow
    input.image
}

decision := {"allow": allow, "deny_msg": deny_msg}
"""


@pytest.mark.parametrize(
    ("source", "held", "denied"),
    [
        (".", None, ""),
        ("debian:12", contents(), ""),
        ("bad/debian:12", contents(), "docker.io/bad/debian:12 is not ours"),
        ("pinned.example/a:1", contents(), "pinned.example/a:1 is not ours"),
        (f"pinned.example/a@{DIGEST}", contents(), ""),
        ("quay.io/a:1", contents(vendor="us"), ""),
        ("https://h.example/file", None, "https://h.example/file is not allowed"),
        ("https://h.example/r.git?tag=v12", None, ""),
        ("https://h.example/r.git#refs/heads/main", None, "https://h.example/r.git is not allowed"),
    ],
)
def test_rego(tmp_path: Path, source: str, held: Contents | None, denied: str) -> None:
    path = tmp_path / "Dockerfile.rego"
    path.write_text(REGO)
    subject = subject_for(source if source != "." else str(tmp_path), PLATFORM)
    if not denied:
        gate(path).judge(replace(subject, contents=held))
        return
    with pytest.raises(PolicyError) as caught:
        gate(path).judge(replace(subject, contents=held))
    assert denied in caught.value.message
    lax = Environment(args={"LAX": "yes"})
    gate(path).judge(replace(subject, contents=held, environment=lax))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("package docker\ndecision := {", "is not valid Rego"),
        ("package docker\nallow := true\n", "gives no decision"),
        ('package docker\ndecision := {"allow": load_json("none.json")}\n', "cannot read .*none.json"),
        ('package docker\nx := "a"\ndecision := {"allow": load_json(x)}\n', "a name that is not written out"),
        ('package docker\ndecision := {"allow": load_json("../a.json")}\n', "which is not below"),
        ('package docker\ndecision := {"allow": load_json("a.rego")}\n', "cannot read .*a.rego"),
    ],
)
def test_rego_that_cannot_judge(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "a.rego"
    path.write_text(text)
    with pytest.raises(TiffinError, match=error):
        gate(path).judge(replace(subject_for("debian", PLATFORM), contents=contents()))


VERSIONS = """
package docker
import data.helpers

# load_json(anything) in a comment is none
approved_versions = load_json("versions.json")
note := "load_json # not a call"

default allow := false

allow if {
    input.image.repo == "alpine"
    some version in approved_versions.alpine
    input.image.tag == version
}

allow if input.image.repo in helpers.names

decision := {"allow": allow}
"""


@pytest.mark.parametrize(
    ("source", "allowed"), [("alpine:3.19", True), ("alpine:3.18", False), ("golang:1", True), ("node:1", False)]
)
def test_rego_reads_json(tmp_path: Path, source: str, allowed: bool) -> None:
    """The example of buildx's page of built-in functions, and a file that is imported."""
    path = tmp_path / "Dockerfile.rego"
    path.write_text(VERSIONS)
    (tmp_path / "versions.json").write_text('{"alpine": ["3.19", "3.20"], "golang": ["1.21"]}')
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/names.json").write_text('["golang"]')
    (tmp_path / "helpers.rego").write_text("package helpers\nnames := load_json(`lists/names.json`)\n")
    subject = replace(subject_for(source, PLATFORM), contents=contents())
    if allowed:
        return gate(path).judge(subject)
    with pytest.raises(PolicyError):
        gate(path).judge(subject)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ('input.git.branch != "evil"', "https://h.example/r.git#refs/heads/main"),
        ("input.git.checksum", f"https://h.example/r.git#{COMMIT}"),
        ('input.git.subDir == "sub"', "https://h.example/r.git#main:sub"),
        ('input.git.subDir == ""', "https://h.example/r.git#main"),
        ('input.git.fullURL == "https://h.example/r.git"', "https://h.example/r.git#main"),
        ('input.git.host == "h.example"', "https://git@h.example/r.git#main"),
        ("input.env.depth == 0", "https://h.example/r.git#main"),
    ],
)
def test_rego_of_repositories_that_are_not_asked(tmp_path: Path, rule: str, source: str) -> None:
    path = tmp_path / "a.rego"
    path.write_text(f'package docker\ndefault ok := false\nok if {{ {rule} }}\ndecision := {{"allow": ok}}\n')
    gate(path).judge(subject_for(source, PLATFORM))


def test_rego_knows_of_provenance(tmp_path: Path) -> None:
    path = tmp_path / "a.rego"
    path.write_text('package docker\ndefault ok := false\nok if input.image.hasProvenance\ndecision := {"allow": ok}\n')
    gate(path).judge(replace(subject_for("signed/a", PLATFORM), contents=contents()))
    with pytest.raises(PolicyError):
        gate(path).judge(replace(subject_for("other/a", PLATFORM), contents=contents()))

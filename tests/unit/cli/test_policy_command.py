"""tiffin policy, and commands that keep to policies and write an audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Commands

POLICY = """schema = 1
[[images]]
names = ["docker.io/library/*"]
[[result]]
no-secrets-in-env = true
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def context(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "context"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(text)
    return folder


def test_what_init_writes_is_a_policy(tiffin_here: Commands, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    tiffin_here("policy", "init", path)
    assert path.read_text() == tiffin_here("policy", "init").out
    assert tiffin_here("policy", "init", path, check=False).code == 2
    assert tiffin_here("policy", "eval", "--offline", "--policy", path, "debian:12").out == ""
    denied = tiffin_here("policy", "eval", "--offline", "--policy", path, "debian", check=False)
    assert denied.code == 3 and "images.no-latest: debian means the tag latest" in denied.err
    everything = path.read_text().replace("# ", "").splitlines()[2:]
    path.write_text("schema = 1\n" + "\n".join(line.partition("  ")[0] for line in everything))
    assert "denied by policy" in tiffin_here("policy", "eval", "--offline", "--policy", path, "x", check=False).err


def test_a_build_is_denied_with_the_line(tiffin_here: Commands, tmp_path: Path, policy: Path) -> None:
    log = tmp_path / "audit.jsonl"
    words = ("--policy", policy, "--audit-log", log)
    folder = context(tmp_path, "FROM base\nFROM scratch\nCOPY --from=quay.io/a/b /x /x\n")
    denied = tiffin_here("build", *words, folder, check=False)
    assert denied.code == 3
    assert "Dockerfile:3: quay.io/a/b is denied by policy" in denied.err and "images.names" in denied.err
    folder = context(tmp_path, 'FROM base\nLABEL a=b\nENV API_TOKEN="s3cret-value"\n')
    denied = tiffin_here("build", *words, "-t", "made", folder, check=False)
    assert denied.code == 3 and "Dockerfile:3: " in denied.err and "API_TOKEN looks like a secret" in denied.err
    assert "made" not in tiffin_here("images").out, "what is denied goes nowhere"
    folder = context(tmp_path, "FROM base\nARG X\nLABEL a=b\n")
    tiffin_here("build", *words, "--build-arg", "X=s3cret-value", "-t", "made", folder)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert "s3cret-value" not in log.read_text()
    assert [(row["event"], row.get("outcome", row.get("allowed"))) for row in rows if row["event"] == "build"] == [
        ("build", "denied"), ("build", "denied"), ("build", "done"),
    ]  # fmt: skip
    assert [row["name"] for row in rows if row.get("allowed") is False] == ["quay.io/a/b", "made:latest"]
    assert tiffin_here("policy", "audit", "verify", log).out.startswith(f"{len(rows)} ")
    log.write_text(log.read_text().replace("quay.io", "docker.io"))
    assert tiffin_here("policy", "audit", "verify", log, check=False).code == 1


def test_the_configuration_and_variables_name_policies(
    tiffin_here: Commands, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context(tmp_path, "FROM scratch\nENV API_TOKEN=x\n")
    config = tmp_path / "config.toml"
    config.write_text(f'[policy]\nfiles = ["{policy}"]\naudit-log = "{tmp_path}/log"\n')
    monkeypatch.setenv("TIFFIN_CONFIG", str(config))
    assert tiffin_here("build", folder, check=False).code == 3
    assert tiffin_here("build", "--policy", "disabled=true", folder, check=False).code == 3, "it is the machine's"
    assert (tmp_path / "log").exists()
    config.write_text("[policy]\nfile = 1\n")
    assert "policy.file is not understood" in tiffin_here("build", folder, check=False).err
    monkeypatch.delenv("TIFFIN_CONFIG")
    monkeypatch.setenv("TIFFIN_POLICY", str(policy))
    assert tiffin_here("build", folder, check=False).code == 3


def test_rego_beside_the_dockerfile(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context(tmp_path, "FROM base\n")
    (folder / "Dockerfile.rego").write_text(
        "package docker\ndefault allow := false\nallow if input.local\n"
        'allow if input.image.repo == "other"\ndecision := {"allow": allow}\n'
    )
    (folder / "Dockerfile_test.rego").write_text(
        "package docker\n"
        'test_other if decision.allow with input as {"image": {"repo": "other"}}\n'
        'test_wrong if {\n  not decision.allow with input as {"image": {"repo": "x"}}\n'
        '  decision.allow with input as {\n    "image": {"repo": "base"}\n  }\n}\n'
    )
    assert tiffin_here("build", folder, check=False).code == 3
    tiffin_here("build", "--policy", "reset=true", folder)
    tiffin_here("build", "--policy", "disabled=true", folder)
    assert "not understood" in tiffin_here("build", "--policy", "nothing=1", folder, check=False).err
    assert tiffin_here("build", "--policy", "reset=true,strict=true", folder, check=False).code == 2
    tested = tiffin_here("policy", "test", folder, check=False)
    assert tested.code == 1 and tested.out.splitlines() == [
        "test_other: PASS",
        "test_wrong: FAIL (it is not true)",
    ]
    assert tiffin_here("policy", "test", "--run", "other", folder).out == "test_other: PASS\n"
    asked = json.loads(tiffin_here("policy", "eval", "--print", "docker-image://alpine:3.19").out)["image"]
    assert asked["ref"] == "docker.io/library/alpine:3.19" and asked["repo"] == "alpine" and asked["tag"] == "3.19"
    asked = json.loads(tiffin_here("policy", "eval", "--print", "--fields=image.labels", "base").out)["image"]
    assert asked["checksum"].startswith("sha256:")


def test_cases_in_toml(tiffin_here: Commands, tmp_path: Path, policy: Path) -> None:
    policy.write_text(f'{POLICY}[[git]]\nnames = ["https://**"]\n')
    (tmp_path / "policy_test.toml").write_text(
        '[[case]]\nsource = "debian:12"\nallow = true\n'
        '[[case]]\nname = "others"\nsource = "quay.io/a/b"\nallow = false\nrule = "images.names"\n'
        '[[case]]\nkind = "result"\nsource = "app"\nenv = ["API_TOKEN=x"]\nallow = true\n'
        f'[[case]]\nname = "by digest"\nsource = "debian@sha256:{"0" * 64}"\nallow = true\n'
        '[[case]]\nname = "by ssh"\nsource = "git@h.example:a/b"\nallow = false\nrule = "git.names"\n'
    )
    done = tiffin_here("policy", "test", policy, check=False)
    assert done.code == 1
    assert [line.partition(" (")[0] for line in done.out.splitlines()] == [
        "1: debian:12: PASS", "others: PASS", "3: app: FAIL", "by digest: PASS", "by ssh: PASS",
    ]  # fmt: skip


def test_push_keeps_to_it(tiffin_here: Commands, policy: Path) -> None:
    policy.write_text('schema = 1\n[[images]]\nno-root = true\n[[result]]\nregistries = ["r.example"]\n')
    tiffin_here("tag", "base", "other.example/base:1")
    denied = tiffin_here("push", "--policy", policy, "other.example/base:1", check=False)
    assert denied.code == 3 and "result.registries" in denied.err


TESTED = """package docker

default allow := false

allow if input.image.repo == "alpine"

deny_msg contains "only alpine" if not allow

decision := {"allow": allow, "deny_msg": deny_msg}
"""
TESTS = """package docker

# not a test: test_nothing if false
test_allowed if {
    decision.allow with input as {"image": {
        "repo": "alpine",  # the text "}" ends nothing
    }}
}

test_denied if not decision.allow with input as {"image": {"repo": "ubuntu"}}

test_message if {
    result := data.docker.decision with input as {"image": {"repo": "ubuntu"}}
    not result.allow; count(result.deny_msg) == 1
    sprintf("only %s", ["alpine"]) in result.deny_msg
}

test_wrong if {
    result := decision with input as {"image": {"repo": "ubuntu"}}
    result.allow
}

test_by_builder if docker_github_builder_tag({"hasProvenance": true, "signatures": [{
    "kind": "docker-github-builder",
    "type": "bundle-v0.3",
    "signer": {
        "certificateIssuer": "CN=sigstore-intermediate,O=sigstore.dev",
        "issuer": "https://token.actions.githubusercontent.com",
        "sourceRepositoryURI": "https://github.com/org/repo",
        "sourceRepositoryRef": "refs/tags/v1",
        "runnerEnvironment": "github-hosted"
    },
    "timestamps": [{"type": "tlog"}]
}]}, "org/repo", "v1")
"""


@pytest.mark.thorough
def test_tests_of_rego_are_found_below(tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms that buildx's documentation shows, and those of its own tests."""
    (tmp_path / "app.rego").write_text(TESTED)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/one_test.rego").write_text(TESTS)
    monkeypatch.chdir(tmp_path)
    wanted = {"test_allowed", "test_denied", "test_message", "test_by_builder"}
    for path in (".", "tests", "tests/one_test.rego"):
        done = tiffin_here("policy", "test", "--filename", "app", path, check=False)
        outcomes = dict(line.split(": ", 1) for line in done.out.splitlines())
        assert done.code == 1 and {name for name, text in outcomes.items() if text == "PASS"} == wanted
        assert outcomes.keys() - wanted == {"test_wrong"}
    assert tiffin_here("policy", "test", "--filename", "app.rego", "--run", "denied", ".").out == "test_denied: PASS\n"

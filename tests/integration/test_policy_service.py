"""Policies and the audit log, with a registry and containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.conftest import Run
from tests.support.servers import Registry
from tests.support.serving import serving_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
Make = Callable[..., Path]


def test_pull_push_run_and_builds(tiffin: Run, base: str, context: Make, registry: Registry, tmp_path: Path) -> None:
    policy, log = tmp_path / "policy.toml", tmp_path / "audit.jsonl"
    policy.write_text(
        f'schema = 1\n[[images]]\nfor = ["{registry.host}/**"]\nnames = ["{registry.host}/ok/*"]\nmax-age = "1d"\n'
        '[[images]]\nnames = ["**"]\ndeny = ["docker.io/library/bad"]\n'
    )
    words = ("--policy", policy, "--audit-log", log)
    for name in ("ok/app", "other/app"):
        folder = context(f"FROM {base}\nCMD echo {name}\n")
        tiffin("build", "-t", f"{registry.host}/{name}:1", "--push", "--audit-log", log, folder)
        tiffin("rmi", f"{registry.host}/{name}:1")
    good, other = f"{registry.host}/ok/app:1", f"{registry.host}/other/app:1"
    denied = tiffin("pull", *words, other, check=False)
    assert denied.returncode == 3 and "images.names" in denied.stderr
    tiffin("pull", *words, good)
    assert tiffin("run", "--rm", *words, good).stdout == "ok/app\n"
    assert tiffin("run", "--rm", *words, other, check=False).returncode == 125
    tiffin("tag", base, "bad")
    denied = tiffin("run", "--rm", *words, "bad", "true", check=False)
    assert denied.returncode == 125 and "images.deny" in denied.stderr
    denied = tiffin(
        "build", *words, "--progress=plain", context(f"FROM scratch\nCOPY --from={other} / /\n"), check=False
    )
    assert denied.returncode == 3 and "Dockerfile:2: " in denied.stderr
    epoch = {"SOURCE_DATE_EPOCH": "1"}
    folder = context(f"FROM {base}\nCMD old\n")
    tiffin(
        "build",
        "-t",
        f"{registry.host}/ok/old:1",
        "--push",
        *(f"--build-arg={k}={v}" for k, v in epoch.items()),
        folder,
    )
    tiffin("rmi", f"{registry.host}/ok/old:1")
    denied = tiffin("pull", *words, f"{registry.host}/ok/old:1", check=False)
    assert denied.returncode == 3 and "images.max-age" in denied.stderr
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert {row["event"] for row in rows} == {"build", "decision", "pull", "run"}
    assert [row["outcome"] for row in rows if row["event"] == "build"] == ["done", "done", "denied"]
    tiffin("policy", "audit", "verify", log)


def test_signatures_provenance_and_packages(
    tiffin: Run, base: str, context: Make, registry: Registry, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "release.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed, plain, late = (f"{registry.host}/proof/{word}:1" for word in ("signed", "plain", "late"))
    folder = context(f"FROM {base}\nCOPY package.json /usr/lib/node_modules/left-pad/\n")
    (folder / "package.json").write_text('{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}')
    attest = "--attest=type=provenance,mode=max,builder-id=https://ci.example/run/1"
    tiffin("build", attest, f"--sign=key={private}", "-t", signed, "--push", folder)
    tiffin("build", "-t", plain, "--push", "--label=other=1", folder)
    policy = tmp_path / "policy.toml"

    def pull(rule: str, name: str) -> str:
        policy.write_text(f"schema = 1\n[[images]]\n{rule}\n")
        done = tiffin("pull", "--policy", policy, name, check=False)
        assert done.returncode in (0, 3), done.stderr
        return done.stderr if done.returncode else ""

    assert pull('signed-by = ["release.pub"]', signed) == ""
    assert "has no signature of release.pub" in pull('signed-by = ["release.pub"]', plain)
    attested = 'signed-by = ["release.pub"]\nattested-by = '
    assert pull(f'{attested}["https://ci.example/*"]', signed) == ""
    assert "is attested by https://ci.example/run/1" in pull(f'{attested}["https://other/*"]', signed)
    tiffin("build", attest, "--label=other=1", "-t", plain, "--push", folder)  # anyone may write such a provenance
    assert "signed-by" in pull(f'{attested}["https://ci.example/*"]', plain)
    tiffin("build", "--label=third=1", f"--sign=key={private}", "-t", late, "--push", folder)
    tiffin(
        "build", attest, "--label=third=1", "-t", late, "--push", folder
    )  # and put it beside an image that is signed
    assert pull('signed-by = ["release.pub"]', late) == ""
    told = pull(f'{attested}["https://ci.example/*"]', late)
    assert "has no provenance that release.pub vouches for" in told
    assert pull('packages-denied = ["left-pad<1.3"]', plain) == ""
    assert "left-pad 1.3.0 is what npm/left-pad denies" in pull('packages-denied = ["npm/left-pad"]', plain)
    assert "has the license WTFPL" in pull('licenses-denied = ["wtfpl"]', plain)
    policy.write_text('schema = 1\n[[result]]\npackages-denied = ["left-pad"]\n')
    denied = tiffin("build", "--policy", policy, "--label=new=1", folder, check=False)
    assert denied.returncode == 3 and "Dockerfile:2" in denied.stderr and "left-pad 1.3.0" in denied.stderr


PINNED = """package docker

default allow := false

allow if input.local

allow if {{
    input.image.repo == "rego/app"
    pin_image(input.image, "{digest}")
}}

allow if verify_git_signature(input.git.commit, "key.pub")

decision := {{"allow": allow}}
"""


def test_rego_pins_images_and_verifies_repositories(
    tiffin: Run, base: str, context: Make, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/rego/app"
    for tag in ("1", "2"):
        tiffin("build", "-t", f"{name}:{tag}", "--push", context(f"FROM {base}\nRUN echo {tag} > /which\n"))
    told = json.loads(tiffin("buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", f"{name}:1").stdout)
    files = tmp_path / "served"
    checkout, key = tmp_path / "checkout", tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
    for words in (
        ["init", "-q", "-b", "main", str(checkout)],
        ["-C", str(checkout), "commit", "-q", "--allow-empty", "-m", "not signed"],
        ["-C", str(checkout), "branch", "plain"],
        ["-C", str(checkout), "commit", "-q", "--allow-empty", "-S", "-m", "signed"],
        ["clone", "-q", "--bare", str(checkout), str(files / "r.git")],
        ["-C", str(files / "r.git"), "update-server-info"],
    ):
        settings = {"user.name": "me", "user.email": "me@example.com", "gpg.format": "ssh", "user.signingkey": str(key)}
        flags = [word for item in settings.items() for word in ("-c", "=".join(item))]
        subprocess.run(["git", *flags, *words], check=True, stdin=subprocess.DEVNULL)
    with serving_folder(files) as address:
        folder = context(f"FROM {name}:2\nADD {address}/r.git#main /r\nRUN test $(cat /which) = 1\n")
        (folder / "Dockerfile.rego").write_text(PINNED.format(digest=told["digest"]))
        (folder / "key.pub").write_bytes(key.with_suffix(".pub").read_bytes())
        tiffin("build", "--no-cache", folder)
        tiffin("lock", folder)
        assert told["digest"] in (folder / "Dockerfile.lock").read_text()
        tiffin("build", "--no-cache", "--locked", folder)
        dockerfile = folder / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("#main", "#plain"))
        denied = tiffin("build", "--progress=plain", folder, check=False)
        assert denied.returncode == 3 and f"Dockerfile:2: {address}/r.git is denied" in denied.stderr
    denied = tiffin("pull", "--policy", folder / "Dockerfile.rego", f"{name}:2", check=False)
    assert denied.returncode == 3 and f"is pinned to {told['digest']}" in denied.stderr

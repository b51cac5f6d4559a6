"""A secret is nowhere but where it was asked for: not in layers, history, records, logs, errors, reports."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import sqlite3
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import Harness, error_of
from tests.fakes.registry import PASSWORD, USER, fake_registry
from tests.support.minimal_image import base_files
from tests.support.unprivileged import readable

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.xdist_group("attacks")]
CANARY = "c4nary-of-a-s3cret"
ENCODED = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()


def forms() -> list[bytes]:
    """How the secret may be written."""
    plain = CANARY.encode()
    return [
        plain,
        base64.b64encode(plain)[:20],
        ENCODED.encode()[8:28],
        plain.hex().encode(),
        CANARY.replace("-", "%2D").encode(),
    ]


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes as they lie, and as what they are compressed from."""
    yield data
    for unpack in (gzip.decompress, zlib.decompress):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            yield unpack(data)


def places(folder: Path) -> list[str]:
    """The files below `folder` that hold the secret, by name or content."""
    with readable(folder) as copy:
        return _places(copy)


def _places(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if CANARY in path.name:
            found.append(str(path))
        if path.is_symlink() or not path.is_file():
            continue
        if any(form in data for data in unpacked(path.read_bytes()) for form in forms()):
            found.append(str(path))
        if path.suffix == ".db":
            with contextlib.closing(sqlite3.connect(path)) as base:
                rows = [
                    row
                    for (table,) in base.execute("select name from sqlite_master where type='table'").fetchall()
                    for row in base.execute(f'select * from "{table}"')
                ]
            cells = [cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row]
            if any(form in data for cell in cells for data in unpacked(cell) for form in forms()):
                found.append(f"{path}: a row")
    return found


def said(done: subprocess.CompletedProcess[str]) -> None:
    text = done.stdout + done.stderr
    assert not [form for form in forms() if form.decode() in text], f"a secret is shown: {text}"


@pytest.mark.attack("T24")
@pytest.mark.parametrize("fails", [False, True])
def test_secrets_of_a_build_stay_in_it(each_harness: Harness, fails: bool) -> None:
    """Secret mounts as file and variable, with every report there is, at --debug, when it works and when it fails."""
    cli = each_harness.cli
    reports = cli.folder / "reports"
    reports.mkdir(exist_ok=True)
    cli.own(reports)
    secret = cli.folder / "secret-file"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    cli.own(secret)
    step = (
        "RUN --mount=type=secret,id=one --mount=type=secret,id=two,env=TWO "
        "--mount=type=secret,id=one,target=/etc/deep/s,mode=0444 "
        'test "$(cat /run/secrets/one)" = "$TWO" && test -s /etc/deep/s && touch /made'
    )
    folder = each_harness.context(
        f'FROM minimal\n{step}\nRUN test ! -e /etc/deep && test -z "$TWO" {"&& exit 7" if fails else ""}\n'
    )
    before = set(places(each_harness.state))
    done = each_harness.run(
        *(
            "--debug",
            "build",
            "--no-cache",
            "--progress=plain",
            "-t",
            "secretive",
            "--iidfile",
            reports / "iid",
            "--metadata-file",
            reports / "meta",
            "--profile",
            reports / "profile",
        ),
        *("--cache-to", f"type=local,dest={reports}/cache", "-o", f"type=docker,dest={reports}/image.tar"),
        *("--secret", f"id=one,src={secret}", "--secret", "id=two,env=TWO_OF_THE_HOST", folder),
        env={"TWO_OF_THE_HOST": CANARY},
    )
    said(done)
    assert (done.returncode != 0) == fails, done.stderr
    assert set(places(each_harness.state)) == before, "a secret is in the state directory"
    assert places(reports) == [], "a secret is in a report, a shared cache or an image"
    if not fails:
        with tarfile.open(reports / "image.tar") as tar:
            streams = [stream for member in tar if (stream := tar.extractfile(member)) is not None]
            assert all(CANARY.encode() not in data for stream in streams for data in unpacked(stream.read()))
    for words in (("history", "secretive"), ("inspect", "secretive"), ("cache", "ls"), ("images",)):
        said(each_harness.run("--debug", *words))
    subprocess.run(["rm", "-rf", reports, secret], check=True)


@pytest.mark.attack("T24")
def test_missing_and_odd_secrets_are_not_quoted(harness: Harness) -> None:
    for words in (
        ("--secret", f"id=a,src=/nowhere,{CANARY}"),
        ("--secret", f"id=a,value={CANARY}"),
        ("--build-context", f"x=https://user:{CANARY}@127.0.0.1:9/x.tar"),
        ("--cache-from", f"type=registry,ref=user:{CANARY}@127.0.0.1:9/x"),
    ):
        done = harness.build("FROM minimal\nRUN --mount=type=secret,id=a,required=true true\n", *words)
        if words[0] != "--secret":
            said(done)
        assert done.returncode == 0 or error_of(done)


@pytest.mark.attack("T24")
@pytest.mark.parametrize("way", ["pull", "push", "build", "login", "wrong", "debug"])
def test_credentials_are_not_shown(harness: Harness, way: str) -> None:
    """CVE-2019-13509: passwords of registries in debug logs and errors."""
    config = harness.cli.folder / "docker-config"
    config.mkdir(exist_ok=True)
    with fake_registry(auth="basic", password=CANARY if way != "wrong" else PASSWORD) as fake:
        (config / "config.json").write_text(json.dumps({"auths": {fake.host: {"auth": ENCODED}}}))
        harness.cli.own(config)
        env = {"DOCKER_CONFIG": str(config)}
        words = {
            "pull": ("--debug", "pull", f"{fake.host}/nothing"),
            "push": ("--debug", "push", f"{fake.host}/secretive:1"),
            "build": ("--debug", "build", "--progress=plain", harness.context(f"FROM {fake.host}/nothing\n")),
            "login": ("--debug", "login", "-u", USER, "--password-stdin", fake.host),
            "wrong": ("--debug", "pull", f"{fake.host}/nothing"),
            "debug": (
                "--debug",
                "build",
                "--push",
                "-t",
                f"{fake.host}/x",
                harness.context("FROM minimal\nRUN true\n"),
            ),
        }[way]
        if way == "push":
            harness.run("tag", "minimal", f"{fake.host}/secretive:1")
        done = harness.run(*words, env=env, input=CANARY if way == "login" else None)
        said(done)
        assert fake.log, "nobody was asked"
        assert places(harness.state) == [], "credentials are in the state directory"
    (config / "config.json").unlink()
    harness.run("rmi", f"{fake.host}/secretive:1")


@pytest.mark.attack("T24")
def test_credentials_in_urls_are_not_shown(harness: Harness) -> None:
    """CVE-2023-26054, CVE-2025-0495: user and password of a URL in errors, history, records."""
    with fake_registry() as fake:
        fake.put(b"content")
        digest = next(iter(fake.blobs))
        at = f"http://{USER}:{CANARY}@{fake.host}/v2/x/blobs"
        git_at = f"http://{USER}:{CANARY}@{fake.host}/repo.git"
        for dockerfile in (
            f"FROM minimal\nADD {at}/{digest} /x\nRUN true\n",
            f"FROM minimal\nADD {at}/sha256:{'0' * 64} /x\n",
            f"FROM minimal\nADD http://{fake.host}/v2/x/blobs/none?signature={CANARY} /x\n",
            f"FROM minimal\nADD {git_at} /x\n",
            f"FROM minimal\nADD {git_at}#main:sub /x\n",
        ):
            done = harness.build(dockerfile)
            errors = "\n".join(line for line in done.stderr.splitlines() if line.startswith(("error:", "warning:")))
            assert CANARY not in errors, f"a password of a URL is in an error: {errors}"
        for words in (
            ("build", f"{git_at}#main"),
            ("build", f"{at}/{digest}"),
            ("build", f"http://{USER}:{CANARY}@127.0.0.1:9/x.tar"),
            ("build", f"http://127.0.0.1:9/x.tar?signature={CANARY}"),
        ):
            said(harness.run("--debug", *words, env={}))


@pytest.mark.attack("T24")
def test_tokens_for_git_are_on_no_command_line(harness: Harness, tmp_path: Path) -> None:
    """Git's own processes can be seen by everybody on a machine."""
    seen = harness.cli.folder / "seen"
    folder = harness.cli.folder / "fake-bin"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\necho "$0 $@" >> {seen}\nexit 1\n')
    (folder / "git").chmod(0o755)
    harness.cli.own(folder)
    context = harness.context("FROM minimal\nADD https://127.0.0.1:9/x.git /x\n")
    done = harness.run(
        *("--debug", "build", "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN_OF_GIT", context),
        env={"PATH": f"{folder}:/usr/bin:/bin", "TOKEN_OF_GIT": CANARY},
    )
    said(done)
    assert seen.exists(), "git was not asked"
    assert (
        CANARY not in seen.read_text()
        and base64.b64encode(f"x-access-token:{CANARY}".encode()).decode() not in seen.read_text()
    )
    seen.unlink()
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.mark.attack("T24")
def test_secrets_of_an_image_build_on_it_only(harness: Harness) -> None:
    """A build argument is the Dockerfile's own and stays in history, as with docker; one that only RUN sees is in no
    configuration.
    """
    harness.cli.make_image(base_files(), name="minimal", config={"Env": ["PATH=/bin"]})
    harness.output(
        f'FROM minimal\nARG TOKEN\nRUN test "$TOKEN" = {CANARY}\n', "-t", "argued", "--build-arg", f"TOKEN={CANARY}"
    )
    config = json.loads(harness.run("inspect", "argued").stdout)[0]["Config"]
    assert CANARY not in json.dumps(config), "a build argument became a variable of the image"
    harness.run("rmi", "argued")

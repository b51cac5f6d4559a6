"""Who we are to registries, by the commands: login and logout, and the files that others read too."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.registry import PASSWORD, USER, fake_registry
from tests.support.servers import running_registry
from tests.unit.registry.test_auth import entry, write

pytestmark = pytest.mark.network

KEY = '{\n  "type": "service_account",\n  "private_key": "-----BEGIN\\nx\\n-----END\\n"\n}'


@pytest.mark.parametrize(
    ("secret", "given"),
    [
        (KEY, KEY),
        (KEY, f"{KEY}\n"),
        (f"{KEY}\n", f"{KEY}\n\n"),
        ("word", "word\r\n"),
        (" spaced ", " spaced \n"),
        ("pässwörd", "pässwörd\n"),
    ],
)
def test_whole_of_stdin_is_the_password(tiffin: Run, tmp_path: Path, secret: str, given: str) -> None:
    """Google's keys have many lines; one end of a line at the end is not theirs."""
    with fake_registry(auth="basic", password=secret) as fake:
        env = {**os.environ, "DOCKER_CONFIG": str(tmp_path)}
        done = tiffin("login", "-u", USER, "--password-stdin", f"https://{fake.host}/v2/", input=given, env=env)
        assert done.stdout == "Login Succeeded\n" and secret not in done.stderr
        auths = json.loads((tmp_path / "config.json").read_text())["auths"]
        assert base64.b64decode(auths[fake.host]["auth"]).decode() == f"{USER}:{secret}"
        tiffin("logout", f"http://{fake.host}/", env=env)
        assert json.loads((tmp_path / "config.json").read_text())["auths"] == {}


@pytest.mark.parametrize("given", [b"", b"\n", b"\r\n", b"\xff\xfe\n"])
def test_stdin_that_is_no_password(root: Path, given: bytes) -> None:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "login", "-u", "x", "--password-stdin", "127.0.0.1:1"]
    done = subprocess.run(argv, input=given, capture_output=True, check=False)
    assert done.returncode == 2 and b"stdin" in done.stderr and b"Traceback" not in done.stderr


def test_skopeo_and_tiffin_read_the_same_files(tiffin: Run, base: str, tmp_path: Path) -> None:
    """A part of a registry, by podman's file: both push to it, and neither elsewhere."""
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(folder, htpasswd=(USER, PASSWORD)) as server:
        auths = {server.host: entry(USER, "wrong"), f"{server.host}/team": entry(USER, PASSWORD)}
        file = write(tmp_path / "run/containers/auth.json", {"auths": auths})
        env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")}
        del env["REGISTRY_AUTH_FILE"]
        for name in ("team/app", "other"):
            tiffin("tag", base, f"{server.host}/{name}:1")
            pushed = tiffin("push", f"{server.host}/{name}:1", check=False, env=env)
            words = [
                "skopeo",
                "inspect",
                "--tls-verify=false",
                "--authfile",
                str(file),
                f"docker://{server.host}/{name}:1",
            ]
            looked = subprocess.run(words, capture_output=True, text=True, check=False)
            assert (pushed.returncode == 0) == (looked.returncode == 0) == (name == "team/app"), (
                pushed.stderr,
                looked.stderr,
            )
            assert PASSWORD not in pushed.stderr + pushed.stdout

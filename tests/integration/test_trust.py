"""Whose certificates count, everywhere: registries, ADD and git, by the commands."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.registry import fake_registry
from tests.support.certificates import Authority
from tests.support.serving import serving
from tests.support.unprivileged import Users
from tests.unit.registry.test_certificates import VARIABLES, ask, authority, certs, pair

pytestmark = pytest.mark.network
DATA = b"layer" * 1000


__all__ = ["authority", "pair"]  # fixtures


def hashed(folder: Path, certificate: Path) -> str:
    """As c_rehash does: the certificate under the name by which OpenSSL looks for it."""
    words = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    name = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    (folder / f"{name}.0").write_bytes(certificate.read_bytes())
    return str(folder)


def test_directory_of_hashed_names_is_trusted(tmp_path: Path, authority: Authority, pair: tuple[Path, Path]) -> None:
    with fake_registry(certificate=pair) as fake:
        assert ask(fake, {"SSL_CERT_DIR": hashed(tmp_path, authority.certificate)})


@pytest.mark.userns
@pytest.mark.parametrize("way", ["directory", "certs.d", "key", "link"])
def test_what_a_user_may_not_read_stops_nothing(
    users: Users, authority: Authority, pair: tuple[Path, Path], way: str
) -> None:
    """Root's own certificates, that of a machine among them, and what leads nowhere."""
    user = users.names[-1]
    home = users.home(user)
    with fake_registry(certificate=pair) as fake:
        folder, closed = certs(home, fake.host), users.code / "closed"
        closed.mkdir(exist_ok=True)
        closed.chmod(0)
        environ = {}
        if way != "directory":
            (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
            (folder / "other.crt").symlink_to("nowhere") if way == "link" else (folder / "other.crt").write_text("x")
            (folder / "client.cert").write_text("x")
            (folder / "client.key").write_text("x")
            (folder / ("client.key" if way == "key" else "client.cert")).chmod(0)
            if way != "link":
                (folder / "other.crt").chmod(0)
        else:
            certificates = home / "certificates"
            certificates.mkdir()
            environ["SSL_CERT_DIR"] = f"{closed}:{hashed(certificates, authority.certificate)}"
        done = users.run(user, ["pull", f"{fake.host}/x:1"], check=False, **environ)
        assert f"{fake.host}/x:1: not found" in done.stderr, done.stderr
        if way == "directory":
            done = users.run(user, ["pull", f"{fake.host}/x:1"], check=False, SSL_CERT_DIR=str(closed))
            assert "not a directory that can be read" in done.stderr and done.returncode == 2, done.stderr
    shutil.rmtree(home / ".config")
    closed.rmdir()


# -- the whole command -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["host", "name", "network", "wildcard", "variable", "file", "plain http"])
def test_insecure_registries(tiffin: Run, base: str, tmp_path: Path, pair: tuple[Path, Path], way: str) -> None:
    """A certificate nobody vouches for will do for a registry that is called insecure, as in docker and podman."""
    with fake_registry(certificate=None if way == "plain http" else pair) as fake:
        flags = {
            "host": fake.host,
            "name": "127.0.0.1",
            "network": "127.0.0.0/8",
            "wildcard": "127.*",
            "plain http": fake.host,
        }
        env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        (tmp_path / "tiffin").mkdir()
        if way == "variable":
            env["TIFFIN_INSECURE_REGISTRIES"] = f"other:5000, {fake.host}"
        elif way == "file":
            (tmp_path / "tiffin/config.toml").write_text(f'[registries]\ninsecure = ["*.corp", "{fake.host}"]\n')
            env["XDG_CONFIG_HOME"] = str(tmp_path)
        words = ["--insecure-registry", flags[way]] if way in flags else []
        tiffin("tag", base, f"{fake.host}/base:1")
        done = tiffin("push", *words, f"{fake.host}/base:1", env=env)
        assert "Warning" not in done.stderr and fake.manifests["1"]
        tiffin("pull", *words, f"{fake.host}/base:1", env=env)
        if way not in ("plain http", "variable", "file"):
            assert "is not trusted" in tiffin("pull", f"{fake.host}/base:1", check=False, env=env).stderr


@pytest.mark.parametrize(
    "text",
    ['[registries]\ninsecure = "x"\n', "registries = 1\n", '[registries]\ninsecure = ["a b"]\n', "[other]\n", "x"],
)
def test_faults_of_the_configuration_file_are_named(tiffin: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    done = tiffin("pull", "127.0.0.1:1/x", check=False, env={**os.environ, "TIFFIN_CONFIG": f"{tmp_path}/config.toml"})
    assert done.returncode == 2 and "config.toml" in done.stderr, done.stderr


@contextlib.contextmanager
def https_server(folder: Path, pair: tuple[Path, Path]) -> Iterator[str]:
    """The files of a folder over https: yields `https://127.0.0.1:PORT`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"https://127.0.0.1:{server.server_address[1]}"


def served_files(folder: Path) -> None:
    """A file, and a git repository as a plain web server has it."""
    (folder / "file").write_text("over https\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-C", str(folder)]
    work = folder / "work"
    for words in (["init", "-q", "work"], ["-C", "work", "add", "."], ["-C", "work", "commit", "-qm", "m"],
                  ["clone", "-q", "--bare", "work", "repo.git"], ["-C", "repo.git", "update-server-info"]):  # fmt: skip
        subprocess.run([*git, *words], check=True, capture_output=True)
        if words[0] == "init":
            (work / "from-git").write_text("from git\n")


@pytest.mark.userns
@pytest.mark.parametrize("way", ["system", "file", "certs.d", "flag", "none"])
def test_one_place_decides_for_registries_add_and_git(
    root: Path, authority: Authority, pair: tuple[Path, Path], tmp_path: Path, context: Callable[..., Path], way: str
) -> None:
    """The system's store is what update-ca-certificates writes: here a file over it, in a namespace of mounts."""
    site, home = tmp_path / "site", tmp_path / "home"
    site.mkdir()
    home.mkdir()
    served_files(site)
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES} | {"HOME": str(home)}
    with https_server(site, pair) as url, fake_registry(certificate=pair) as fake:
        ca, words = str(authority.certificate), []
        if way == "file":
            env["SSL_CERT_FILE"] = ca
        elif way == "certs.d":
            for host in (fake.host, url.removeprefix("https://")):
                (certs(home, host) / "ca.crt").write_bytes(authority.certificate.read_bytes())
        elif way == "flag":
            words = ["--registry-cert", ca]
        dockerfile = f"FROM scratch\nADD {url}/file /a/\nADD {url}/repo.git#main /b/\n"
        folder = context(dockerfile)
        store = "/etc/ssl/certs/ca-certificates.crt"
        shell = f'mount --bind {ca} {store} && exec "$@"' if way == "system" else 'exec "$@"'
        enter = ["unshare", "-rm", "sh", "-c", shell, "sh", sys.executable, "-m", "tiffin", "--root", str(root)]
        for line in (
            ["build", *words, "-t", f"{fake.host}/x:1", "--push", str(folder)],
            ["pull", *words, f"{fake.host}/x:1"],
        ):
            done = subprocess.run([*enter, *line], env=env, capture_output=True, text=True, check=False)
            assert (done.returncode == 0) == (way != "none"), done.stderr
        if way == "none":
            for source in (f"{url}/file", f"{url}/repo.git#main"):
                refused = context(f"FROM scratch\nADD {source} /a/\n", name="refused")
                done = subprocess.run(
                    [*enter, "build", str(refused)], env=env, capture_output=True, text=True, check=False
                )
                assert done.returncode == 1 and "certificate" in done.stderr and "Traceback" not in done.stderr, (
                    done.stderr
                )

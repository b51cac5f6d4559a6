"""https through a real proxy (tinyproxy, CONNECT): registries and ADD, with a password, and what is the proxy's
fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.certificates import make_authority
from tests.support.servers import Registry, free_port, running_registry, serving

pytestmark = [pytest.mark.network, pytest.mark.userns]
Make = Callable[..., Path]
NAME = "registry.example"  # the proxy alone knows where that is
INSIDE = 'mount --bind "$1" /etc/hosts && exec tinyproxy -d -c "$2"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    place: str
    log: Path

    def env(self, user: str = "", **more: str) -> dict[str, str]:
        """The environment of a command that uses it."""
        plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        return {**plain, "HTTPS_PROXY": f"http://{user}{self.place}", **more}

    def asked(self) -> list[str]:
        """The requests that came, and are forgotten."""
        lines = [line.partition("): ")[2] for line in self.log.read_text().splitlines() if "Request (" in line]
        self.log.write_text("")
        return lines


@contextlib.contextmanager
def proxy(folder: Path, *lines: str) -> Iterator[Proxy]:
    """tinyproxy with an /etc/hosts of its own."""
    if not shutil.which("tinyproxy"):
        pytest.skip("tinyproxy is not installed")
    folder.mkdir()
    port, hosts, log = free_port(), folder / "hosts", folder / "requests"
    log.touch()
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    settings = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Connect", f'LogFile "{log}"', *lines]
    (folder / "conf").write_text("\n".join(settings) + "\n")
    own = ["unshare", *(["--user", "--map-root-user"] if os.getuid() != 0 else []), "--mount", "sh", "-c", INSIDE, "sh"]
    with serving([*own, str(hosts), str(folder / "conf")], port, folder / "log"):
        yield Proxy(place=f"127.0.0.1:{port}", log=log)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry over TLS, whose certificate is for its name."""
    folder = tmp_path_factory.mktemp("registry")
    pair = make_authority(folder / "authority").issue("server", f"DNS:{NAME}")
    with running_registry(folder, certificate=pair) as server:
        yield server


@pytest.fixture
def host(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name and port; its authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.data.parent / "authority/ca.crt"))
    return f"{NAME}:{registry.host.rpartition(':')[2]}"


def test_push_pull_and_add(tiffin: Run, context: Make, tmp_path: Path, host: str) -> None:
    folder = context(f"FROM scratch\nADD https://{host}/v2/ /answer\n")
    with proxy(tmp_path / "proxy") as made:
        tiffin("build", "-t", f"{host}/x:1", "--push", folder, env=made.env())
        assert set(made.asked()) == {f"CONNECT {host} HTTP/1.1"} or all(host in line for line in made.asked())
        tiffin("system", "reset", "-f")
        tiffin("pull", f"{host}/x:1", env=made.env())
        assert made.asked()
        (tmp_path / "config.json").write_text(
            json.dumps({"proxies": {"default": {"httpsProxy": f"http://{made.place}"}}})
        )
        bare = {name: value for name, value in made.env(DOCKER_CONFIG=str(tmp_path)).items() if name != "HTTPS_PROXY"}
        tiffin("push", f"{host}/x:1", env=bare)
        assert made.asked(), "config.json's"
        done = tiffin("pull", f"{host}/x:1", env={**made.env(), "NO_PROXY": ".example"}, check=False)
        assert f"no host is called {NAME}" in done.stderr and not made.asked()


@pytest.mark.parametrize("job", ["push", "pull", "add"])
def test_password(tiffin: Run, context: Make, tmp_path: Path, host: str, job: str) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /\n")
    add = context(f"FROM scratch\nADD https://{host}/v2/ /answer\n", name="add")
    tiffin("build", "-q", "-t", f"{host}/{job}:1", folder)
    words: list[str | Path] = ["build", add] if job == "add" else [job, f"{host}/{job}:1"]
    with proxy(tmp_path / "proxy", "BasicAuth me s3cret") as made:
        for user in ("", "me:wr0ng@", "you:s3cret@"):
            done = tiffin(*words, env=made.env(user), check=False)
            assert f"the proxy {made.place} wants a user and a password" in done.stderr, done.stderr
            assert "HTTPS_PROXY=" in done.stderr and "wr0ng" not in done.stderr and "s3cret" not in done.stderr
        if job == "pull":
            tiffin("push", f"{host}/{job}:1", env=made.env("me:s3cret@"))
        tiffin(*words, env=made.env("me:s3cret@"))


FAULTS = {
    "port": (["ConnectPort 443"], NAME, "answered 403"),
    "filter": (["FilterDefaultDeny Yes", 'Filter "{folder}/filter"'], NAME, "answered 403"),
    "unknown host": ([], "nobody.example", "answered 500"),
    "client": (["Allow 192.0.2.1"], NAME, "answered 403"),
}


@pytest.mark.parametrize(("lines", "name", "answer"), FAULTS.values(), ids=FAULTS)
def test_what_the_proxy_refuses_is_told_as_its_own(
    tiffin: Run, context: Make, tmp_path: Path, host: str, lines: list[str], name: str, answer: str
) -> None:
    place = host.replace(NAME, name)
    folder = context(f"FROM {place}/base:1\nLABEL a=b\n")
    (tmp_path / "filter").write_text("^other$\n")
    with proxy(tmp_path / "proxy", *(line.format(folder=tmp_path) for line in lines)) as made:
        for words in (["pull", f"{place}/x:1"], ["build", folder]):
            done = tiffin(*words, env=made.env(), check=False)
            assert done.returncode and f"the proxy {made.place} {answer}" in done.stderr, done.stderr


def test_a_proxy_that_is_gone(tiffin: Run, host: str, tmp_path: Path) -> None:
    with proxy(tmp_path / "proxy") as made:
        pass
    done = tiffin("pull", f"{host}/x:1", env=made.env(), check=False)
    assert f"the proxy {made.place} refused the connection" in done.stderr
    done = tiffin("pull", f"{host}/x:1", env=made.env(HTTPS_PROXY="http://nobody.invalid:3128"), check=False)
    assert "could not resolve the proxy nobody.invalid:3128" in done.stderr


def test_the_registrys_faults_stay_the_registrys(tiffin: Run, host: str, tmp_path: Path) -> None:
    with proxy(tmp_path / "proxy") as made:
        done = tiffin("pull", f"{host}/nothing:1", env=made.env(), check=False)
        assert "proxy" not in done.stderr and f"{host}/nothing" in done.stderr
        done = tiffin(
            "pull", f"{host}/x:1", env=made.env(SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"), check=False
        )
        assert "certificate" in done.stderr and "proxy" not in done.stderr

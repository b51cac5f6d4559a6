"""A registry as companies run them: docker-registry behind nginx with TLS of a private authority, client
certificates, tokens and a limit of bodies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.certificates import make_authority
from tests.support.servers import Registry, free_port, nginx_before, running_registry
from tests.support.token_service import SERVICE, TokenService, token_service

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("company registry")]
LIMIT_BYTES = 20 << 20
USERS = {"dev": "dev-s3cret", "root": "root-s3cret"}
RIGHTS = {
    "dev": {"team/": "pull,push", "base/": "pull"},
    "root": {"": "pull,push"},
    "": {"base/": "pull"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """`home` is that of who has the certificates and `dev`'s password."""

    host: str
    home: Path
    tokens: TokenService
    log: Path

    def env(self, home: Path | None = None) -> dict[str, str]:
        names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "REGISTRY_AUTH_FILE")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        return {**kept, "HOME": str(home or self.home)}


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    folder.chmod(0o755)  # nginx's workers are another user
    authority = make_authority(folder / "authority")
    certificate, key = authority.issue("registry")
    (folder / "registry").mkdir()
    with contextlib.ExitStack() as stack:
        tokens = stack.enter_context(token_service(folder, USERS, RIGHTS))
        port = free_port()
        host = f"127.0.0.1:{port}"
        realm = f"https://{host}/auth/token"
        auth = f"{{token: {{realm: {realm}, service: {SERVICE}, issuer: {SERVICE}, rootcertbundle: {tokens.bundle}}}}}"
        server = stack.enter_context(running_registry(folder / "registry", auth=auth))
        directives = (
            f"ssl_certificate {certificate}; ssl_certificate_key {key}; client_max_body_size 20m;"
            f" ssl_client_certificate {authority.certificate}; ssl_verify_client on;"
            f" proxy_set_header X-Forwarded-Proto https;"
            f" location /auth/ {{ proxy_pass http://127.0.0.1:{tokens.port}; }}"
        )
        stack.enter_context(nginx_before(server.host, folder, directives, port=port, tls=True))
        home = folder / "home"
        certs = home / ".config/containers/certs.d" / host
        certs.mkdir(parents=True)
        shutil.copy(authority.certificate, certs / "ca.crt")
        for source, name in zip(authority.issue("workstation"), ("client.cert", "client.key"), strict=True):
            shutil.copy(source, certs / name)
        found = Company(host=host, home=home, tokens=tokens, log=folder / "nginx.log")
        log_in(found, home, "dev")
        yield found


def tool(
    state: Path, home_env: dict[str, str], *words: str | Path, check: bool = True, given: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tiffin", "--root", str(state), *map(str, words)]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, env=home_env, check=False, timeout=120)
    reported = done.stdout + done.stderr
    assert "Traceback" not in reported and not any(secret in reported for secret in USERS.values()), reported
    assert not check or done.returncode == 0, reported
    return done


def log_in(company: Company, home: Path, user: str) -> None:
    done = tool(
        home / "state",
        company.env(home),
        "login",
        "-u",
        user,
        "--password-stdin",
        company.host,
        given=f"{USERS[user]}\n",
    )
    assert done.stdout == "Login Succeeded\n"


@pytest.fixture
def admin(company: Company, tmp_path: Path) -> dict[str, str]:
    """The environment of who may push everywhere."""
    home = tmp_path / "admin"
    shutil.copytree(company.home / ".config", home / ".config")
    log_in(company, home, "root")
    return company.env(home)


def skopeo(company: Company, *words: str) -> str:
    argv = ["skopeo", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=company.env(), check=True).stdout


def big_context(make: Callable[..., Path], name: str) -> Path:
    """Two layers of what does not compress: one is larger than the limit."""
    text = "FROM scratch\nCOPY big /big\nCOPY small /small\nLABEL n={}\n"
    return make(text.format(name), name=name, big=os.urandom(LIMIT_BYTES * 5 // 4), small=os.urandom(1000))


def test_build_push_pull(root: Path, tmp_path: Path, company: Company, context: Callable[..., Path]) -> None:
    folder, name = big_context(context, "one"), f"{company.host}/team/one:1"
    company.tokens.busy = 1
    tool(root, company.env(), "build", "-t", name, "--push", folder)
    layers = skopeo(company, "inspect", "--format", "{{len .Layers}}", f"docker://{name}")
    assert layers.strip() == "2"
    other = tmp_path / "other"
    tool(other, company.env(), "pull", name)
    out = tmp_path / "out"
    tool(other, company.env(), "build", "-o", f"type=local,dest={out}", context(f"FROM {name}\n", name="from"))
    assert (out / "big").read_bytes() == (folder / "big").read_bytes()
    skopeo(company, "copy", f"docker://{name}", f"oci:{tmp_path}/copied:1")
    again = tool(root, company.env(), "push", name)
    assert "@sha256:" in again.stdout


def test_cache_in_the_registry(root: Path, tmp_path: Path, company: Company, context: Callable[..., Path]) -> None:
    folder, place = big_context(context, "two"), f"type=registry,ref={company.host}/team/cache"
    tool(root, company.env(), "build", "--cache-to", f"{place},mode=max,required=true", folder)
    other = tool(tmp_path / "other", company.env(), "build", "--progress=plain", "--cache-from", place, "-t",
                 f"{company.host}/team/two:1", "--push", folder)  # fmt: skip
    assert " DONE " not in other.stderr and "warning" not in other.stderr, other.stderr
    assert other.stderr.count("CACHED") >= 2


def test_proxy_that_tells_the_registry_nothing_of_tls(root: Path, tmp_path: Path, context: Callable[..., Path]) -> None:
    """Without X-Forwarded-Proto the registry sends uploads to http of the same address: they stay on https."""
    authority = make_authority(tmp_path / "authority")
    certificate, key = authority.issue("registry")
    tmp_path.chmod(0o755)
    (tmp_path / "registry").mkdir()
    directives = f"ssl_certificate {certificate}; ssl_certificate_key {key}; client_max_body_size 0;"
    with (
        running_registry(tmp_path / "registry") as server,
        nginx_before(server.host, tmp_path, directives, tls=True) as host,
    ):
        env = {**os.environ, "SSL_CERT_FILE": str(authority.certificate)}
        folder = context("FROM scratch\nCOPY f /f\n", f=os.urandom(10_000))
        tool(root, env, "build", "-t", f"{host}/x:1", "--push", folder)
        tool(tmp_path / "other", env, "pull", f"{host}/x:1")


@pytest.mark.parametrize("refused", ["HEAD", "mount"])
@pytest.mark.parametrize("status", [403, 405])
def test_proxy_that_refuses_what_only_saves_work(
    tiffin: Run, base: str, tmp_path: Path, registry: Registry, refused: str, status: int
) -> None:
    """As ECR answers a role without the right to read, and proxies with a list of methods."""
    tmp_path.chmod(0o755)
    name = f"saves/{refused.lower()}{status}"
    rule = "$request_method = HEAD" if refused == "HEAD" else "$arg_mount"
    with nginx_before(registry.host, tmp_path, f"if ({rule}) {{ return {status}; }} client_max_body_size 0;") as host:
        for repository in (f"{name}/one", f"{name}/two"):
            tiffin("tag", base, f"{host}/{repository}:1")
            tiffin("push", f"{host}/{repository}:1")
            assert skopeo_sees(f"{registry.host}/{repository}:1")


def skopeo_sees(name: str) -> bool:
    words = ["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("others", ["given", "left out", 401, 403])
def test_image_of_another_repository_is_mounted_or_goes_up(
    root: Path, tmp_path: Path, company: Company, admin: dict[str, str], context: Callable[..., Path], others: str | int
) -> None:
    """Pull a base, give it a name of the team's, push: with a token service that knows two repositories, or one."""
    key = str(others).replace(" ", "")
    base, name = f"{company.host}/base/{key}:1", f"{company.host}/team/{key}:1"
    folder = context("FROM scratch\nCOPY f /f\n", name=key, f=os.urandom(100_000))
    tool(tmp_path / "admin-state", admin, "build", "-t", base, "--push", folder)
    tool(root, company.env(), "pull", base)
    tool(root, company.env(), "tag", base, name)
    company.tokens.others = others
    company.tokens.asked.clear()
    try:
        done = tool(root, company.env(), "push", "--progress=plain", name)
        built = context(
            f"FROM {base}\nLABEL by=team\n", name=f"{key}-from"
        )  # its layers are not here when they are pushed
        tool(tmp_path / "built", company.env(), "build", "-t", f"{company.host}/team/{key}-from:1", "--push", built)
    finally:
        company.tokens.others = "given"
    assert any(len(scopes) == 2 for scopes in company.tokens.asked), "nothing was asked to be mounted"
    assert ("mounted" in done.stderr) == (others == "given"), done.stderr
    for pushed in (name, f"{company.host}/team/{key}-from:1"):
        tool(tmp_path / "third", company.env(), "pull", pushed)
    refused = tool(root, company.env(), "push", base, check=False)
    assert refused.returncode == 1 and "access denied" in refused.stderr


@pytest.mark.parametrize("lacks", ["all", "authority", "certificate", "password"])
def test_who_lacks_what_is_told_that(root: Path, tmp_path: Path, company: Company, lacks: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(company.home, home)
    certs = home / ".config/containers/certs.d" / company.host
    remove = {"all": [certs], "authority": [certs / "ca.crt"], "password": [home / ".docker"],
              "certificate": [certs / "client.cert", certs / "client.key"]}[lacks]  # fmt: skip
    for path in remove:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = tool(root, company.env(home), "pull", f"{company.host}/team/one:1", check=False)
    words = {"password": "access denied", "certificate": "client.cert and client.key"}.get(lacks, "is not trusted")
    assert done.returncode == 1 and words in done.stderr, done.stderr
    if lacks != "password":
        insecure = tool(
            root, company.env(home), "pull", "--insecure-registry", "127.0.0.0/8", f"{company.host}/base/x", check=False
        )
        reported = "not found" if lacks == "authority" else "SSL certificate"
        assert reported in insecure.stderr, insecure.stderr


def test_nobody_pulls_what_is_public(
    root: Path, company: Company, admin: dict[str, str], tmp_path: Path, context: Callable[..., Path]
) -> None:
    """Without a password, with a helper that is not installed."""
    tool(
        tmp_path / "admin-state",
        admin,
        "build",
        "-t",
        f"{company.host}/base/public:1",
        "--push",
        context("FROM scratch\nCOPY f /\n", f="x"),
    )
    home = tmp_path / "home"
    shutil.copytree(company.home / ".config", home / ".config")
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"credsStore": "desktop.exe"}')
    tool(root, company.env(home), "pull", f"{company.host}/base/public:1")
    refused = tool(root, company.env(home), "push", f"{company.host}/base/public:1", check=False)
    assert "docker-credential-desktop.exe is not installed" in refused.stderr

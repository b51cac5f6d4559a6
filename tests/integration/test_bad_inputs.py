"""Every bad input: a non-zero exit and one line with the cause and the remedy."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.servers import Registry, free_port, make_certificate, running_registry
from tests.support.serving import serving

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


def error_of(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line of the error."""
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "; " in lines[0], lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("FORM x\n", 'Dockerfile:1: unknown instruction: FORM; did you mean "FROM"?'),
        ("FROM base\nCOPY missing /x\n", 'Dockerfile:2: "missing" not found'),
        ("FROM base\nCOPY readm /x\n", 'did you mean "readme"?'),
        ("FROM base\nCOPY --chwon=1 f /x\n", 'unknown flag for COPY: --chwon; did you mean "--chown"?'),
        ("FROM base\nCOPY --chown=nobodyhere readme /x\n", 'no user is called "nobodyhere"'),
        ("FROM base\nUSER nobodyhere\nRUN true\n", 'no user is called "nobodyhere"'),
        (
            "FROM base AS one\nFROM base\nCOPY --from=oen /x /y\n",
            'no stage or context is named "oen"; did you mean "one"?',
        ),
        ("FROM base\nCOPY --from=later /x /y\nFROM base AS later\n", "x"),
        ("FROM $NOTHING\n", "base name ($NOTHING) should not be blank"),
        ('ARG X=${Y:?"give Y"}\nFROM base\n', "Y: give Y"),
        ("FROM base\nENV A=${B:=x}\n", "unsupported modifier (:=)"),
        ('FROM base\nENV A="x\n', "matching double-quote"),
        ("FROM base\nRUN <<EOF\ntrue\n", 'unterminated heredoc "EOF"'),
        ("FROM base\nSHELL bash\n", "SHELL requires the arguments to be in JSON form"),
        ('FROM base\nCMD ["a", 1]\n', "arrays must be comprised of strings only"),
        ("FROM base\nEXPOSE 70000\n", 'invalid port "70000"'),
        ("FROM base\nRUN --mount=type=cache true\n", "cache mounts need a target"),
        (
            "FROM base\nADD http://127.0.0.1:9/x /x\n",
            "cannot fetch http://127.0.0.1:9/x: Connection refused; check",
        ),
        ("FROM base\nONBUILD FROM x\n", "isn't allowed as an ONBUILD trigger"),
        ("FROM base\nCOPY readme /tmp/../bin/busybox/x\n", "is not a directory"),
        ("FROM base\nCOPY readme other /target\n", "several sources need a directory"),
        ("RUN true\n", "no build stage in current context"),
        ("", "cannot be empty"),
        ("# nothing\n", "no instructions"),
        ("ARG A=1\n", "contains no stages"),
    ],
)
def test_dockerfile_faults(tiffin: Run, base: str, context: Make, dockerfile: str, message: str) -> None:
    folder = context(dockerfile, readme="r", other="o")
    if message == "x":  # the later stage is the target: aim at the one that refers to it
        message = 'cannot copy from stage "later"'
        dockerfile = "FROM base AS a\nCOPY --from=later /x /y\nFROM base AS later\nFROM a\n"
        (folder / "Dockerfile").write_text(dockerfile)
    assert message in error_of(tiffin("build", folder, check=False))


def test_all_faults_of_a_dockerfile_are_told_at_once(tiffin: Run, context: Make) -> None:
    done = tiffin("build", context("FROM a b\nCOPY x\nRNU y\n"), check=False)
    assert done.stderr.count("error: ") == 3 and "RNU" in done.stderr
    done = tiffin("build", context("FROM a b\nCOPY x\nSTOPSIGNAL\n"), check=False)
    assert done.stderr.count("error: ") == 3


def test_missing_things(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    assert "has no Dockerfile" in error_of(tiffin("build", tmp_path, check=False))
    assert "is not a directory" in error_of(tiffin("build", tmp_path / "nowhere", check=False))
    folder = context(f"FROM {base} AS build\n")
    assert 'did you mean "build"?' in error_of(tiffin("build", "--target", "biuld", folder, check=False), 2)
    assert "No such object: nothing" in error_of(tiffin("inspect", "nothing", check=False))
    assert "invalid image reference" in error_of(tiffin("build", "-t", "Bad Name", folder, check=False))
    assert "unknown output type" in error_of(tiffin("build", "-o", "type=ocl,dest=x", folder, check=False), 2)
    assert "pushing needs a name" in error_of(tiffin("build", "--push", folder, check=False), 2)
    assert "unknown isolation" in error_of(
        tiffin("build", "--isolation", "vm", "--no-cache", context(f"FROM {base}\nRUN true\n"), check=False), 2
    )


def test_registry_down_and_missing_base(tiffin: Run, registry: Registry, context: Make, base: str) -> None:
    down = f"127.0.0.1:{free_port()}"
    assert f"Dockerfile:1: image {down}/x: {down} refused the connection; is the registry running?" in error_of(
        tiffin("build", context(f"FROM {down}/x\n"), check=False)
    )
    assert "not found" in error_of(tiffin("build", context(f"FROM {registry.host}/x:y\n"), check=False))
    assert "not found" in error_of(tiffin("pull", f"{registry.host}/nothing", check=False))


def test_registry_that_wants_credentials(
    tiffin: Run, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(folder, htpasswd=("cook", "s3cret-word")) as server:
        name = f"{server.host}/base:1"
        tiffin("tag", base, name)
        assert "access denied (401" in error_of(tiffin("push", name, check=False))
        wrong = tiffin("login", "-u", "cook", "--password-stdin", server.host, input="wrong\n", check=False)
        assert "access denied" in error_of(wrong)
        asked = tiffin("login", server.host, input="", check=False)
        assert "not a terminal to ask" in error_of(asked, 2)
        done = tiffin("login", "-u", "cook", "--password-stdin", server.host, input="s3cret-word\n")
        assert done.stdout == "Login Succeeded\n"
        pushed = tiffin("push", name)
        assert pushed.stdout.startswith(f"{server.host}/base@sha256:")
        tiffin("logout", server.host)
        assert "access denied" in error_of(tiffin("pull", name, check=False))
        assert "s3cret-word" not in pushed.stdout + pushed.stderr + wrong.stderr


def test_tls_registry_needs_its_certificate(tiffin: Run, base: str, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    pair = make_certificate(folder)
    with running_registry(folder, certificate=pair) as server:
        name = f"{server.host}/base:1"
        tiffin("tag", base, name)
        reported = error_of(tiffin("push", name, check=False))
        assert (
            "is not trusted (self-signed certificate); put its CA into certs.d/" in reported
            and "--registry-cert" in reported
        )
        tiffin("push", "--registry-cert", pair[0], name)
        tiffin("pull", name, env={**os.environ, "SSL_CERT_FILE": str(pair[0])})


class _Liar(http.server.BaseHTTPRequestHandler):
    """Passes a real registry's answers on, with one fault."""

    upstream = ""
    fault = ""

    def do_GET(self) -> None:
        import urllib.request

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"http://{self.upstream}{self.path}", headers={"Accept": self.headers["Accept"] or "*/*"}
        )
        with opener.open(request, timeout=5) as answer:
            data, status, headers = answer.read(), answer.status, dict(answer.headers)
        blob = "/blobs/" in self.path
        if self.fault == "500":
            status, data = 500, b""
        elif self.fault == "wrong" and blob:
            data = bytes(len(data))
        elif self.fault == "wrong-manifest" and not blob and "/manifests/" in self.path:
            data = data.replace(b"sha256:", b"sha256:", 1) + b" "
        self.send_response(status)
        self.send_header("Content-Type", headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(data)))
        if "Docker-Content-Digest" in headers:
            self.send_header("Docker-Content-Digest", headers["Docker-Content-Digest"])
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.fault == "cut" and blob else data)
        if self.fault == "cut" and blob:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def lying(upstream: str, fault: str) -> Iterator[str]:
    handler = type("Handler", (_Liar,), {"upstream": upstream, "fault": fault})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield f"127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "the registry answered 500"),
        ("wrong", "has the wrong content"),
        ("cut", "ended after"),
        ("wrong-manifest", "has the wrong digest"),
    ],
)
@pytest.mark.attack("T20")
def test_lying_registries(tiffin: Run, root: Path, registry: Registry, base: str, fault: str, message: str) -> None:
    tiffin("push", base, f"{registry.host}/liar:1")
    layers = json.loads(tiffin("inspect", base).stdout)[0]["Manifest"]["Layers"]
    tiffin("system", "reset", "-f")
    with lying(registry.host, fault) as host:
        assert message in error_of(tiffin("pull", f"{host}/liar:1", check=False))
    assert not [layer for layer in layers if (root / "images/blobs/sha256" / layer["digest"][7:]).exists()]
    tiffin("pull", f"{registry.host}/liar:1")


def test_full_disk(busybox: Path, tmp_path: Path) -> None:
    """The disk is one of a mount namespace's own, which takes no root; at the end its state directory is shown."""
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && "$@"; code=$?; ls -A "$0/state/tmp" && echo shown; exit $code'
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(small)]
    tool = [sys.executable, "-m", "tiffin", "--root", str(small / "state"), "build", str(busybox)]
    done = subprocess.run([*own, *tool], capture_output=True, text=True, check=False)
    assert "no space left" in error_of(done)
    assert done.stdout == "shown\n", "temporary files are left"


def test_no_user_namespaces(root: Path, tiffin: Run, base: str, context: Make) -> None:
    """Where they are refused, a Dockerfile without RUN builds and one with RUN says why it cannot."""
    folder, plain = context(f"FROM {base}\nRUN true\n"), context(f"FROM {base}\nCOPY Dockerfile /d\n", name="plain")
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    tool = ["unshare", "-r", "sh", "-c", script, "sh", sys.executable, "-m", "tiffin", "--root", str(root), "build"]
    done = subprocess.run([*tool, "--no-cache", folder], capture_output=True, text=True, check=False)
    line = error_of(done)
    assert "RUN needs a sandbox" in line and "user.max_user_namespaces" in line
    subprocess.run([*tool, plain], check=True, capture_output=True)

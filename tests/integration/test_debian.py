"""The main job on a real distribution, as an unprivileged user: apt-get, wheels, nginx, and tiffin in its own image."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.servers import Registry, free_port
from tests.support.unprivileged import WITH_IDS, Users, interpreter

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("debian")]
SERVE_SECONDS = 20


def test_service_is_built_pushed_and_served(users: Users, debian: str, registry: Registry) -> None:
    source = users.code / "web"
    shutil.copytree(CHECKOUT / "examples/web", source, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX", str(source)], check=True)
    port, name = free_port(), f"{registry.host}/web:1"
    build = ["build", "-t", name, "--build-arg", f"BASE={debian}", "--build-arg", f"PORT={port}"]
    users.run(WITH_IDS, [*build, "--push", source])
    again = users.run(WITH_IDS, [*build, source])
    assert "DONE" not in again.stderr and "warning" not in again.stderr
    template = "{{index .Config.Healthcheck.Test 1}}"
    check = users.run(WITH_IDS, ["inspect", "-f", template, name]).stdout.strip()
    argv = [interpreter(), "-m", "tiffin", "run", "--rm", name]
    server = subprocess.Popen(argv, env=users.environ(WITH_IDS), cwd="/", **users.identity(WITH_IDS))  # type: ignore[call-overload]
    try:
        assert b"rice" in _get(f"http://127.0.0.1:{port}/menu.html")
        assert b"tiffin" in _get(f"http://127.0.0.1:{port}/")
        users.run(WITH_IDS, ["run", "--rm", name, "sh", "-c", check])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    down = users.run(WITH_IDS, ["run", "--rm", name, "sh", "-c", f"{check} 2>/dev/null"], check=False)
    assert down.returncode == 1
    owner = users.run(WITH_IDS, ["run", "--rm", name, "stat", "-c", "%U:%G", "/srv/www/menu.html"]).stdout
    assert owner == "www-data:www-data\n"


def test_own_image_builds_others(users: Users, debian: str, busybox: Path) -> None:
    source = users.code / "self"
    ignore = shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", ".*_cache")
    shutil.copytree(CHECKOUT, source, ignore=ignore, dirs_exist_ok=True)
    shutil.copytree(busybox, source / "busybox", symlinks=True, dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX", str(source)], check=True)
    users.run(WITH_IDS, ["build", "-t", "tiffin", "--build-arg", f"BASE={debian}", source])
    assert users.run(WITH_IDS, ["run", "--rm", "tiffin", "version"]).stdout.startswith("tiffin version ")
    users.run(WITH_IDS, ["build", "--target=kaniko", "-t", "kaniko", "--build-arg", f"BASE={debian}", source])
    assert users.run(WITH_IDS, ["run", "--rm", "kaniko", "version"]).stdout.startswith("Kaniko version")
    script = (
        "tiffin build -q -t base /src/busybox && tiffin build -q -t hello --build-arg BASE=base /src/examples/hello"
        " && tiffin run --rm hello"
    )
    inner = [
        "run",
        "--rm",
        "--security-opt",
        "seccomp=unconfined",
        "--tmpfs",
        "/var/lib/tiffin",
        "-v",
        f"{source}:/src:ro",
        "--entrypoint",
        "sh",
        "tiffin",
    ]
    assert "Hello from the lunch box." in users.run(WITH_IDS, [*inner, "-c", script]).stdout


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + SERVE_SECONDS
    while True:
        try:
            with opener.open(url, timeout=2) as answer:
                data: bytes = answer.read()
                return data
        except OSError:
            assert time.monotonic() < deadline, f"{url} is not served"
            time.sleep(0.1)

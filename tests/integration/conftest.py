"""Fixtures of the tests that need namespaces and servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.client_desk import SHIM, Desk, Programs
from tests.support.servers import Registry
from tests.support.unprivileged import Users, has_ids, interpreter

BOOTSTRAP_SECONDS = 900
WORKERS = ("worker-", "popen-")  # folders of forked workers, and of xdist's, are in one of the run
CA_FILE = "etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module", params=["self", "user"])
def cli(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliRunner]:
    """tiffin and a busybox image `minimal`: as whoever runs the tests, and as an unprivileged user."""
    if request.param == "self":
        with own_cli(tmp_path_factory.mktemp("machine")) as made:
            yield made
    else:
        users: Users = request.getfixturevalue("users")
        with user_cli(users) as made:
            yield made


@pytest.fixture
def nothing_left(cli: CliRunner) -> Iterator[None]:
    """After the test its containers are removed, and nothing else may be there."""
    yield
    cli.remove_containers()
    assert cli.left() == []


@pytest.fixture(scope="session")
def debian(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian base in the registry, made from the machine's own package sources and trusting what the machine
    trusts.
    """
    if os.getuid() != 0 and not has_ids():
        pytest.skip("bootstrapping Debian takes root or subordinate ids (newuidmap, /etc/subuid, /etc/subgid)")
    folder = tmp_path_factory.mktemp("debian")
    os.link(_bootstrapped(tmp_path_factory), folder / "rootfs.tar")
    trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or f"/{CA_FILE}"
    shutil.copy(trusted, folder / "ca.crt")
    (folder / "Dockerfile").write_text(
        f'FROM scratch\nADD rootfs.tar /\nCOPY ca.crt /{CA_FILE}\nENV PIP_CERT=/{CA_FILE}\nCMD ["bash"]\n'
    )
    name = f"{registry.host}/debian:bookworm"
    tool = [sys.executable, "-m", "tiffin", "--root", str(folder / "state")]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run(
        [*tool, "build", "-q", "--push", "-t", name, str(folder)], check=True, env=environ, capture_output=True
    )
    return name


def _bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a Debian, made once for all workers: it takes half a minute."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if base.name.startswith(WORKERS) else base
    made = folder / "debian.tar"
    with (folder / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = folder / "debian-part.tar"
            argv = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(part)]
            subprocess.run(argv, check=True, capture_output=True, timeout=BOOTSTRAP_SECONDS)
            part.rename(made)
    return made


# -- programs that call docker or podman


@pytest.fixture(scope="session")
def programs(users: Users) -> Programs:
    """In the directory that others than root may read, and that goes at the end."""
    return Programs(users.code / "programs")


@pytest.fixture(scope="session")
def calls(users: Users) -> Path:
    """Return the file that docker's and podman's stand-ins write what they are called with to."""
    path = users.code / "calls"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, users: Users, programs: Programs, calls: Path, registry: Registry, busybox: Path
) -> Iterator[Desk]:
    """Of the user with subordinate ids, or where a test asks for it of the one without."""
    user = users.names[-1] if getattr(request, "param", "") == "other" else users.usual
    folder = users.home(user) / "desk"
    made = Desk(users=users, user=user, programs=programs, folder=folder, base=f"{registry.host}/clients:1")
    paths = users.environ(user)["PYTHONPATH"].split(":")
    shim = f"#!{interpreter()}\n{SHIM % (str(calls), paths)}"
    made.write({"shims/docker": shim, "shims/podman": shim})
    shutil.copytree(busybox, folder / "base", symlinks=True)
    # what ansible-builder calls in an image
    made.write({"base/rootfs/bin/bash": '#!/bin/sh\nexec sh "$@"\n', "base/rootfs/usr/bin/python3": "#!/bin/sh\n"})
    made.run("docker", "build", "-q", "--push", "-t", made.base, "base")
    yield made
    shutil.rmtree(folder)

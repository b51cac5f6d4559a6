"""Programs that call docker or podman, as data, and the table of docs/clients.md that is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CHECKOUT

PAGE = CHECKOUT / "docs/clients.md"
BEGIN, END = "<!-- clients: written by ci/clients-table -->\n", "<!-- end of clients -->"
GROUPS = ("builder", "buildx", "compose", "container", "context", "image", "network", "pod", "system", "volume")
HEADINGS = ("program", "version", "as docker", "as podman", "what it calls", "remarks")
NPM = "npm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program; `package` is PyPI's (`npm`: of npm, "": Debian's), `also` what is installed beside it; `program` is
    what is called, `binary` its file where that is called otherwise; `engines` are the names it calls tiffin by.
    """

    title: str
    package: str
    version: str
    program: str
    engines: tuple[str, ...] = ("docker",)
    npm: bool = False
    also: tuple[str, ...] = ()
    binary: str = ""
    remarks: str = ""

    @property
    def requirement(self) -> str:
        """Return what pip or npm is to install."""
        return f"{self.package}@{self.version}" if self.npm else f"{self.package}=={self.version}"


DOCKER, PODMAN = ("docker",), ("podman",)
BOTH = (*DOCKER, *PODMAN)
CLIENTS = (
    Client(
        title="ansible-core, connections community.docker.docker and containers.podman.podman",
        package="ansible-core",
        version="2.19.14",
        program="ansible-playbook",
        engines=BOTH,
        remarks="`mount` is refused, and files go by `cp`",
    ),
    Client(
        title="ansible-builder",
        package="ansible-builder",
        version="3.2.0",
        program="ansible-builder",
        engines=BOTH,
        remarks="`--container-runtime docker` or `podman`",
    ),
    Client(
        title="autopkgtest-virt-docker, autopkgtest-virt-podman",
        package="",
        version="5.28",
        program="autopkgtest",
        engines=BOTH,
        remarks="`autopkgtest … -- docker -- IMAGE`",
    ),
    Client(title="cibuildwheel", package="cibuildwheel", version="4.3.5", program="cibuildwheel"),
    Client(
        title="cwltool",
        package="cwltool",
        version="3.3.20260925135507",
        program="cwltool",
        engines=BOTH,
        remarks="dockerPull, dockerFile, dockerImport, dockerLoad; outputs are yours",
    ),
    Client(
        title="devcontainers CLI",
        package="@devcontainers/cli",
        version="0.89.0",
        program="devcontainer",
        npm=True,
        remarks="build, up, exec, features, compose files. A `remoteUser` other than root takes, as with podman,"
        ' `"runArgs": ["--userns=keep-id"]` and `"containerUser"`',
    ),
    Client(
        title="distrobox",
        package="",
        version="1.4",
        program="distrobox",
        engines=BOTH,
        remarks="`DBX_CONTAINER_MANAGER=docker` or `podman`; as podman your files stay yours",
    ),
    Client(
        title="gitlab-ci-local",
        package="gitlab-ci-local",
        version="4.75.1",
        program="gitlab-ci-local",
        npm=True,
    ),
    Client(
        title="jupyter-repo2docker",
        package="jupyter-repo2docker",
        version="2026.4.0",
        program="repo2docker",
        remarks="with `--no-run`: its run asks docker's API",
    ),
    Client(
        title="molecule, driver podman",
        package="molecule-plugins[podman]",
        version="26.10.12",
        program="molecule",
        also=("ansible-core==2.19.14",),
        engines=PODMAN,
        remarks="the whole `molecule test`; its driver docker asks docker's API",
    ),
    Client(title="podman-compose", package="podman-compose", version="1.6.0", program="podman-compose", engines=PODMAN),
    Client(
        title="pre-commit",
        package="pre-commit",
        version="4.7.0",
        program="pre-commit",
        remarks="hooks of the languages docker and docker_image; what they write is yours",
    ),
    Client(
        title="pytest-container",
        package="pytest-container",
        version="0.4.4",
        program="pytest-container",
        binary="pytest",
        engines=BOTH,
        remarks="`CONTAINER_RUNTIME=docker` or `podman`; as podman it builds with buildah where that is on PATH",
    ),
    Client(
        title="pytest-testinfra",
        package="pytest-testinfra",
        version="10.2.2",
        program="pytest",
        engines=BOTH,
        remarks="`--hosts=docker://NAME` or `podman://NAME`",
    ),
    Client(
        title="python-on-whales",
        package="python-on-whales",
        version="0.81.0",
        program="python-on-whales",
        binary="python",
        remarks="nearly all commands; of its own tests that pass with docker 20.10 all but these: contexts of other"
        " machines, events and prunes as docker 20.10 has them, volumes that"
        " root has to mount, `network connect` of a container that runs with the machine's network",
    ),
)
BY_PROGRAM = {client.program: client for client in CLIENTS}


def command_of(words: list[str]) -> str:
    """Return which command a command line calls: two words in a group, the option where there is no command."""
    first = words[0] if words else ""
    return " ".join(words[:2]) if first in GROUPS else first


def table(called: Mapping[str, set[str]], before: str) -> str:
    """Return the page's table: what programs call by the table from before, and what they called now beyond it.

    Some calls depend on how long something takes, and not every program runs each time.
    """
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for client in CLIENTS:
        known = re.search(rf"^\| {re.escape(client.title)} \|(?:[^|]*\|){{3}} ([^|]*) \|", before, re.MULTILINE)
        seen = {*called.get(client.program, ()), *re.findall("`([^`]*)`", known[1] if known else "")}
        calls = ", ".join(f"`{call}`" for call in sorted(seen))
        marks = ["yes" if engine in client.engines else "" for engine in BOTH]
        cells = (client.title, client.version, *marks, calls, client.remarks)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def calls_of(log: Path) -> dict[str, set[str]]:
    """Read what the stand-ins of docker and podman wrote: a program, and the words it called them with."""
    found: dict[str, set[str]] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        program, *words = line.split("\t")
        if program:
            found.setdefault(program, set()).add(command_of(words))
    return found

"""Programs that put machines and tests into containers run unmodified with tiffin in the place of docker and podman."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support.client_desk import Desk

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("client-programs")]
takes_minutes = pytest.mark.skipif(
    not os.environ.get("TIFFIN_ALL_CLIENTS"), reason="minutes of work of programs; ci/clients-table runs it"
)
PYTHON = """FROM %s
ENV PATH=/usr/local/bin:/usr/bin:/bin
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-setuptools python3-wheel
"""  # the first steps of what cibuildwheel is given, which run once


@pytest.fixture
def with_python(desk: Desk, debian: str) -> str:
    """Return the local image of a Debian with Python, podman's way."""
    desk.write({"python/Dockerfile": PYTHON % debian})
    desk.run("docker", "build", "-q", "-t", "with-python:1", "python")
    return "localhost/with-python:1"


def ansible(desk: Desk) -> list[str]:
    collections = desk.programs.collections("community/docker", "containers/podman")
    return ["env", f"ANSIBLE_COLLECTIONS_PATH={collections}", f"ANSIBLE_HOME={desk.folder}/ansible"]


PLAYBOOK = """- hosts: all
  gather_facts: false
  tasks:
    - copy: {content: "hello {{ inventory_hostname }}\\n", dest: /etc/made, mode: "0640", owner: daemon}
    - command: stat -c '%U %a' /etc/made
      register: seen
    - assert: {that: seen.stdout == "daemon 640"}
    - command: sh -c 'cat; exit 3'
      args: {stdin: given}
      register: failed
      failed_when: failed.rc != 3 or failed.stdout != "given"
    - fetch: {src: /etc/made, dest: fetched}
"""


@takes_minutes
def test_ansible(desk: Desk, with_python: str) -> None:
    hosts = {"hostd": "community.docker.docker", "hostp": "containers.podman.podman"}
    lines = [f"{name} ansible_connection={connection}\n" for name, connection in hosts.items()]
    desk.write({"plays/hosts": "".join(lines), "plays/play.yml": PLAYBOOK})
    for name in hosts:
        desk.run("docker", "run", "-d", "--init", "--name", name, with_python, "sleep", "1000")
    program = desk.programs.path("ansible-playbook")
    done = desk.run(*ansible(desk), program, "-i", "hosts", "play.yml", folder="plays")
    assert done.stdout.count("ok=5    changed=4 ") == 2, done.stdout
    for name in hosts:
        fetched = desk.folder / f"plays/fetched/{name}/etc/made"
        assert fetched.read_text() == f"hello {name}\n" and fetched.stat().st_uid == desk.uid
    desk.run("docker", "rm", "-f", *hosts)


SCENARIO = """dependency: {name: galaxy, enabled: false}
driver: {name: podman}
platforms:
  - {name: instance, image: "%s", pre_build_image: true, command: sleep 1000}
provisioner: {name: ansible}
verifier: {name: ansible}
scenario: {test_sequence: [create, converge, verify, destroy]}
"""
CONVERGE = """- hosts: all
  gather_facts: false
  tasks:
    - copy: {content: "made\\n", dest: /made, mode: "0600"}
"""
VERIFY = """- hosts: all
  gather_facts: false
  tasks:
    - command: stat -c %a /made
      changed_when: false
      register: mode
    - assert: {that: mode.stdout == "600"}
"""


@takes_minutes
def test_molecule(desk: Desk, with_python: str) -> None:
    files = {"molecule.yml": SCENARIO % with_python, "converge.yml": CONVERGE, "verify.yml": VERIFY}
    desk.write({f"role/molecule/default/{name}": text for name, text in files.items()})
    place = str(desk.programs.path("molecule")).rpartition("/")[0]
    environ = [*ansible(desk), f"PATH={place}:{desk.folder}/shims:/usr/bin:/bin", "NO_COLOR=1"]
    done = desk.run(*environ, f"{place}/molecule", "test", folder="role")
    assert "failed=0" in done.stdout + done.stderr
    assert desk.run("docker", "ps", "-aq").stdout == ""


CONTROL = """Source: sample
Maintainer: tester <tester@example.com>

Package: sample
Architecture: all
Description: sample
"""
CHANGES = """sample (1.0) unstable; urgency=low

  * first

 -- tester <tester@example.com>  Mon, 01 Jan 2024 00:00:00 +0000
"""
GOOD = '#!/bin/sh\nset -e\npython3 -c "print(6 * 7)"\necho kept > "$AUTOPKGTEST_ARTIFACTS/kept"\n'


@takes_minutes
@pytest.mark.skipif(shutil.which("autopkgtest") is None, reason="autopkgtest is not installed")
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_autopkgtest(desk: Desk, with_python: str, engine: str) -> None:
    desk.write(
        {
            "sample/debian/control": CONTROL,
            "sample/debian/changelog": CHANGES,
            "sample/debian/tests/control": "Tests: good bad\nDepends: python3\nRestrictions: allow-stderr\n",
            "sample/debian/tests/good": GOOD,
            "sample/debian/tests/bad": "#!/bin/sh\nexit 1\n",
        }
    )
    line = f"autopkgtest --no-built-binaries -o out ./sample -- {engine} {with_python} >log 2>&1"  # opens /dev/stderr
    desk.run("sh", "-c", f"{line}; code=$?; tail -n 40 log; exit $code", "autopkgtest", code=4)  # one test failed
    summary = (desk.folder / "out/summary").read_text()
    assert summary == "good                 PASS\nbad                  FAIL non-zero exit status 1\n"
    assert (desk.folder / "out/good-stdout").read_text() == "42\n"
    assert (desk.folder / "out/artifacts/kept").read_text() == "kept\n"
    assert desk.run("docker", "ps", "-aq").stdout == ""


CONTAINER_TESTS = """from urllib.request import urlopen
from pytest_container import DerivedContainer, auto_container_parametrize
from pytest_container.container import ContainerVolume, PortForwarding
MADE = DerivedContainer(
    base="%s",
    containerfile="RUN mkdir /www && echo word > /www/word\\n"
    'CMD ["httpd", "-f", "-h", "/www", "-p", "8000"]\\n'
    "HEALTHCHECK --interval=1s --start-period=10s CMD test -e /www/word",
    forwarded_ports=[PortForwarding(container_port=8000)],
    volume_mounts=[ContainerVolume("/data")],
)
CONTAINER_IMAGES = [MADE]
def pytest_generate_tests(metafunc):
    auto_container_parametrize(metafunc)
def test_it(auto_container):
    assert auto_container.connection.check_output("cat /www/word") == "word"
    assert auto_container.connection.run_expect([3], "exit 3").rc == 3
    assert auto_container.inspect.config.cmd[:2] == ["httpd", "-f"]
    port = auto_container.forwarded_ports[0].host_port
    assert urlopen(f"http://127.0.0.1:{port}/word").read() == b"word\\n"
"""


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_pytest_container(desk: Desk, engine: str) -> None:
    no_buildah = "#!/bin/sh\nexit 1\n"  # which it prefers to podman's build
    desk.write({"containers/test_it.py": CONTAINER_TESTS % desk.base, "shims/buildah": no_buildah})
    program = desk.programs.path("pytest-container")
    words = ["env", f"CONTAINER_RUNTIME={engine}", program, "-q", "-p", "no:cacheprovider"]
    assert "1 passed" in desk.run(*words, folder="containers").stdout
    assert desk.run("docker", "ps", "-aq").stdout == ""


WHALES = """import pathlib, sys
from python_on_whales import docker
from python_on_whales.exceptions import DockerException
base, place = sys.argv[1], pathlib.Path.cwd()
(place / "Dockerfile").write_text(f"FROM {base}\\nARG WORD\\nRUN echo $WORD > /word\\n")
image = docker.build(place, tags="whales:1", build_args={"WORD": "given"}, progress="plain")
assert image.id == docker.image.inspect("whales:1").id == docker.image.list("whales:1")[0].id
assert docker.run("whales:1", ["cat", "/word"], remove=True) == "given"
volume, network = docker.volume.create("whale-data"), docker.network.create("whale-net")
container = docker.run("whales:1", ["sleep", "1000"], name="whale", detach=True, init=True, hostname="whale-host",
    volumes=[(volume, "/data")], networks=[network], envs={"A": "b"}, labels={"kind": "test"})
assert container.state.running and container.config.labels["kind"] == "test"
assert container.execute(["sh", "-c", "echo $A; hostname"]) == "b\\nwhale-host"
(place / "in").write_text("copied\\n")
container.copy_to(place / "in", "/data/in")
container.copy_from("/data/in", place / "out")
assert (place / "out").read_text() == "copied\\n"
try:
    container.execute(["sh", "-c", "echo failed >&2; exit 3"])
    raise SystemExit("exec did not fail")
except DockerException as error:
    assert error.return_code == 3 and "failed" in error.stderr
assert [one.name for one in docker.ps(filters={"label": "kind=test"})] == ["whale"]
assert docker.network.inspect("whale-net").containers[container.id].name == "whale"
assert docker.stats(["whale"])[0].container_name == "whale"
container.execute(["touch", "/made"])
assert docker.diff(container)["/made"] == "A"
container.pause(); container.reload(); assert container.state.paused
container.unpause(); container.rename("whale2"); container.stop(); container.reload()
assert not container.state.running
container.commit("whales:2"); container.start(); container.restart(); container.remove(force=True)
parts = docker.run("whales:2", ["sh", "-c", "echo out; echo err >&2; test -e /made"], stream=True, remove=True)
assert sorted(parts) == [("stderr", b"err\\n"), ("stdout", b"out\\n")]
docker.save("whales:2", output=place / "image.tar"); docker.image.remove("whales:2")
docker.load(place / "image.tar"); assert docker.image.exists("whales:2")
assert docker.system.info().driver and docker.version().client.version
docker.volume.remove(volume); docker.network.remove(network); docker.image.remove(["whales:1", "whales:2"])
assert not docker.container.exists("whale2") and not docker.volume.exists("whale-data")
"""


def test_python_on_whales(desk: Desk) -> None:
    desk.write({"whales/script.py": WHALES})
    desk.run("python-on-whales", "script.py", desk.base, folder="whales")

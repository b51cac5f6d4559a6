"""tiffin run --network and -p: who reaches whom, with each tool, and that no helper is left."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, own_cli, wait_until
from tests.support.servers import free_port

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.xdist_group("networks")]

TOOLS = ["pasta", "slirp4netns"]
OUTER_ADDRESS = "198.51.100.7"  # TEST-NET-2 of RFC 5737, put on this machine's loopback
LOOPBACK_INSIDE = {"pasta": "127.0.0.1", "slirp4netns": "127.0.0.1 10.0.2.2"}  # what would lead to that of the machine
SERVE = "echo lunch > /index.html; httpd -f -p {port} -h /"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliRunner]:
    """The machine of whoever runs the tests: root may open /dev/net/tun whatever its mode."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun may not be opened")
    with own_cli(tmp_path_factory.mktemp("roots")) as cli:
        yield cli


def fetched(port: int, address: str = "127.0.0.1") -> bytes:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/index.html")
        return connection.getresponse().read()
    finally:
        connection.close()


@contextlib.contextmanager
def serving(cli: CliRunner, *options: str, port: str = "80") -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A web server in a container; the published port."""
    process = cli.start("run", "--rm", *options, "minimal", "sh", "-c", SERVE.format(port=port))
    try:
        found: list[str] = []

        def listed() -> bool:
            assert process.poll() is None, process.communicate()[1]
            found[:] = re.findall(r":(\d+)->", cli.run("ps").stdout)
            return bool(found)

        wait_until(listed, seconds=30)
        yield int(found[0]), process
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: not helpers(cli))
        cli.run("ps")  # sweeps


def helpers(cli: CliRunner) -> list[str]:
    """Tools that run in a container's folder of this state directory."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            program = Path(f"/proc/{name}/exe").readlink().name
            directory = str(Path(f"/proc/{name}/cwd").readlink())
            if program.startswith(("pasta", "passt", "slirp4netns")) and not is_foreign(name, directory, cli):
                found.append(f"{program} {name}")
    return found


def is_foreign(pid: str, directory: str, cli: CliRunner) -> bool:
    """pasta leaves the directory: what it was told to publish says whose it is."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return str(cli.state) not in directory and b"--netns-only" not in line


def answered(port: int) -> bytes:
    answers: list[bytes] = []

    def asked() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(fetched(port))
        return bool(answers)

    wait_until(asked, seconds=30)
    return answers[0]


@pytest.mark.parametrize("tool", TOOLS)
def test_published_port_through_a_tool(tool: str, roots: CliRunner) -> None:
    hidden = free_port()  # of the container's alone
    server = f"80 -h / & httpd -f -p {hidden}"
    with serving(roots, "--init", "--network", tool, "-p", "127.0.0.1::80", port=server) as (port, process):
        assert answered(port) == b"lunch\n"
        for number, address in ((hidden, "127.0.0.1"), (port, "127.0.0.2")):
            with pytest.raises(OSError):  # not published, and not there
                fetched(number, address)
        assert any(name.startswith(("pasta", "passt") if tool == "pasta" else tool) for name in helpers(roots))
        process.terminate()
        assert process.wait(20) == 143
        assert helpers(roots) == []
    assert roots.left() == []


def test_published_port_without_a_tool(cli: CliRunner) -> None:
    """Our own proxy needs no privilege; the server listens on the container's loopback alone."""
    with serving(cli, "--init", "--network", "none", "-p", "127.0.0.1::80", port="127.0.0.1:80") as (port, process):
        assert [answered(port) for _ in range(3)] == [b"lunch\n"] * 3
        process.terminate()
        assert process.wait(20) == 143
    assert cli.left() == []


def test_exposed_ports_are_published(cli: CliRunner) -> None:
    cli.make_image({}, name="exposing", config={"ExposedPorts": {"80/tcp": {}}})
    process = cli.start("run", "--rm", "-P", "--network=none", "exposing", "true")
    process.communicate(timeout=30)
    assert process.returncode in (0, 127)
    with serving(cli, "--network", "none", "-p", "80") as (port, _):
        assert answered(port) == b"lunch\n"
        assert fetched(port, "::1") == b"lunch\n"


@pytest.mark.parametrize("tool", [*TOOLS, "none"])
def test_no_helper_outlives_a_killed_container(tool: str, roots: CliRunner) -> None:
    with serving(roots, "--network", tool, "-p", "127.0.0.1::80") as (port, process):
        answered(port)
        process.kill()
        process.wait()
        wait_until(lambda: not helpers(roots) and not roots.processes())
        with pytest.raises(OSError):
            fetched(port)


@pytest.fixture
def outer_server(roots: CliRunner) -> Iterator[int]:
    """Answers "outside" at an address that is not a loopback one, and "loopback" at 127.0.0.1, on one port."""
    if os.getuid() != 0:
        pytest.skip("only root gives this machine a further address")
    subprocess.run(["ip", "address", "add", f"{OUTER_ADDRESS}/32", "dev", "lo"], check=True)
    try:
        with socket.create_server((OUTER_ADDRESS, 0)) as server:
            threading.Thread(target=_answer, args=(server, b"outside\n"), daemon=True).start()
            with socket.create_server(("127.0.0.1", server.getsockname()[1])) as inner:
                threading.Thread(target=_answer, args=(inner, b"loopback\n"), daemon=True).start()
                yield server.getsockname()[1]
                for sock in (server, inner):
                    sock.shutdown(socket.SHUT_RDWR)
    finally:
        subprocess.run(["ip", "address", "del", f"{OUTER_ADDRESS}/32", "dev", "lo"], check=True)


def _answer(server: socket.socket, text: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(4096)
                connection.sendall(text)
                time.sleep(0.3)  # the same pasta loses what is sent and closed at once


@pytest.mark.parametrize("tool", TOOLS)
def test_private_network_reaches_out_but_not_this_machines_loopback(
    tool: str, roots: CliRunner, outer_server: int
) -> None:
    script = f"""
        for attempt in 1 2 3 4 5; do  # pasta of 2023 may lose an end of file
            (echo hello; sleep 1) | timeout 5 nc {OUTER_ADDRESS} {outer_server} > /answer
            [ ! -s /answer ] || break
        done
        cat /answer
        for host in {LOOPBACK_INSIDE[tool]} $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'); do echo hello | timeout 3 nc $host {outer_server}; done
        ls /sys/class/net | wc -l; cat /proc/sys/net/ipv4/ip_unprivileged_port_start
    """
    assert roots.output("--network", tool, "minimal", "sh", "-c", script).split() == ["outside", "2", "0"]


def test_one_line_says_what_is_missing(cli: CliRunner) -> None:
    if os.access("/dev/net/tun", os.W_OK) and "user" not in cli.identity:
        assert cli.output("--network", "bridge", "minimal", "true") == ""
        return
    done = cli.run("run", "--rm", "--network", "private", "minimal", "true")
    usable = os.stat("/dev/net/tun").st_mode & 0o006 == 0o006
    assert done.returncode == (0 if usable else 125)
    assert usable or (
        done.stderr.count("\n") == 1 and "/dev/net/tun cannot be opened (permission denied)" in done.stderr
    )
    done = cli.run("run", "--rm", "-p", "127.0.0.1::80", "minimal", "cat", "/proc/net/route")
    assert done.returncode == 0
    assert usable or "warning: the container reaches nothing outside, only its published ports work" in done.stderr


def test_port_that_is_taken(cli: CliRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = cli.run("run", "--rm", "--network=none", "-p", f"127.0.0.1:{port}:80", "minimal", "true")
    assert done.returncode == 125 and f"cannot publish 127.0.0.1:{port}/tcp: address already in use" in done.stderr
    assert cli.left() == []


def test_published_ports_of_the_machines_own_network_are_discarded(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "--network", "host", "-p", "1:1", "minimal", "true")
    assert done.returncode == 0 and "warning: published ports are discarded" in done.stderr

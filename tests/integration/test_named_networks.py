"""Networks that containers share: names, addresses, ports; nothing is left of them, whatever is killed."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = pytest.mark.userns
SERVE = "mkdir /www; echo hi >/www/page; exec httpd -f -h /www -p 80"
FETCH = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://{}/page && exit; sleep 0.2; done"


@pytest.fixture(autouse=True)
def nothing_left(cli: CliRunner) -> Iterator[None]:
    yield
    names = cli.run("ps", "-aq").stdout.split()
    if names:
        assert cli.run("rm", "-fv", *names).returncode == 0
    wait_until(lambda: not cli.processes())
    assert cli.run("network", "prune", "-f").returncode == 0
    assert cli.left() == []
    assert list((cli.state / "networks").glob("*")) == []


@pytest.fixture(params=["range", "single"])
def tier(request: pytest.FixtureRequest) -> str:
    return f"--isolation={request.param}"


def make(cli: CliRunner, *words: str) -> None:
    done = cli.run("network", "create", *words)
    assert done.returncode == 0, done.stderr


def begin(cli: CliRunner, *words: str) -> str:
    done = cli.run("run", "-d", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def show(cli: CliRunner, name: str, form: str) -> str:
    return cli.run("inspect", "-f", form, name).stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetched(port: int) -> str:
    line = ["curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", f"http://127.0.0.1:{port}/page"]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60).stdout


def test_containers_reach_each_other_by_name_and_alias(cli: CliRunner, tier: str) -> None:
    make(cli, "back")
    begin(cli, tier, "--network", "back", "--name", "web", "--network-alias", "www", "minimal", "sh", "-c", SERVE)
    for name in ("web", "www", "WEB", "web.back", show(cli, "web", "{{slice .Id 0 12}}")):
        assert cli.output(tier, "--network", "back", "minimal", "sh", "-c", FETCH.format(name)) == "hi\n", name
    address = show(cli, "web", "{{.NetworkSettings.Networks.back.IPAddress}}")
    assert "web.back" in cli.output(tier, "--network", "back", "minimal", "nslookup", address)
    (found,) = json.loads(cli.run("network", "inspect", "back").stdout)
    assert [item["IPv4Address"] for item in found["Containers"].values()] == [f"{address}/16"]
    done = cli.run("network", "rm", "back")
    assert done.returncode == 1
    assert "network back has active endpoints" in done.stderr


def test_published_ports_lead_in(cli: CliRunner, tier: str) -> None:
    make(cli, "back")
    port = free_port()
    begin(cli, tier, "--network", "back", "--name", "web", "-p", f"{port}:80", "minimal", "sh", "-c", SERVE)
    assert fetched(port) == "hi\n"
    assert cli.run("restart", "-t", "0", "web").returncode == 0
    assert fetched(port) == "hi\n"


def test_the_network_of_another_container(cli: CliRunner, tier: str) -> None:
    begin(cli, tier, "--network", "none", "--name", "web", "minimal", "sh", "-c", SERVE)
    assert cli.output(tier, "--network", "container:web", "minimal", "sh", "-c", FETCH.format("127.0.0.1")) == "hi\n"
    assert cli.run("stop", "-t", "0", "web").returncode == 0
    done = cli.run("run", "--rm", tier, "--network", "container:web", "minimal", "true")
    assert done.returncode == 125
    assert "cannot join network of a non running container" in done.stderr

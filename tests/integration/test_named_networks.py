"""Networks that containers share: names, addresses, ports; nothing is left of them, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.cli_runner import CliRunner, wait_until
from tests.support.servers import free_port

pytestmark = pytest.mark.userns
MANY = 20
BACK_ADDRESS = "192.0.2.9"  # which is not one of any network
SERVE = "mkdir /www; echo hi >/www/page; exec httpd -f -h /www -p 80"
FETCH = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://{}/page && exit; sleep 0.2; done"


@pytest.fixture(autouse=True)
def nothing_left(cli: CliRunner) -> Iterator[None]:
    yield
    cli.remove_containers()
    assert cli.run("network", "prune", "-f").returncode == 0
    assert cli.left() == []
    assert list((cli.state / "networks").glob("*")) == []


@pytest.fixture(params=["range", "single"])
def tier(request: pytest.FixtureRequest) -> str:
    return f"--isolation={request.param}"


def make(cli: CliRunner, *words: str) -> None:
    done = cli.run("network", "create", *words)
    assert done.returncode == 0, done.stderr


def show(cli: CliRunner, name: str, form: str) -> str:
    return cli.run("inspect", "-f", form, name).stdout.strip()


def fetched(port: int) -> str:
    line = ["curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", f"http://127.0.0.1:{port}/page"]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60).stdout


def test_containers_reach_each_other_by_name_and_alias(cli: CliRunner, tier: str) -> None:
    make(cli, "back")
    cli.begin(tier, "--network", "back", "--name", "web", "--network-alias", "www", "minimal", "sh", "-c", SERVE)
    for name in ("web", "www", "WEB", "web.back", show(cli, "web", "{{slice .Id 0 12}}")):
        assert cli.output(tier, "--network", "back", "minimal", "sh", "-c", FETCH.format(name)) == "hi\n", name
    address = show(cli, "web", "{{.NetworkSettings.Networks.back.IPAddress}}")
    assert "web.back" in cli.output(tier, "--network", "back", "minimal", "nslookup", address)
    (found,) = json.loads(cli.run("network", "inspect", "back").stdout)
    assert [item["IPv4Address"] for item in found["Containers"].values()] == [f"{address}/16"]
    done = cli.run("network", "rm", "back")
    assert done.returncode == 1
    assert "network back has active endpoints" in done.stderr


def test_a_network_is_the_same_by_its_id(cli: CliRunner, tier: str) -> None:
    make(cli, "back")
    whole = cli.run("network", "inspect", "-f", "{{.Id}}", "back").stdout.strip()
    cli.begin(tier, "--network", whole, "--name", "web", "minimal", "sh", "-c", SERVE)
    for name in (whole, whole[:12], "back"):
        assert cli.output(tier, "--network", name, "minimal", "sh", "-c", FETCH.format("web")) == "hi\n", name
    assert show(cli, "web", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}") == "back"
    (found,) = json.loads(cli.run("network", "inspect", whole[:12]).stdout)
    assert [one["Name"] for one in found["Containers"].values()] == ["web"]
    assert "has active endpoints" in cli.run("network", "rm", "back").stderr
    assert cli.run("create", tier, "--network", whole[:12], "--name", "later", "minimal", "true").returncode == 0
    assert show(cli, "later", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}") == "back"


def test_published_ports_lead_in(cli: CliRunner, tier: str) -> None:
    make(cli, "back")
    port = free_port()
    cli.begin(tier, "--network", "back", "--name", "web", "-p", f"{port}:80", "minimal", "sh", "-c", SERVE)
    assert fetched(port) == "hi\n"
    assert cli.run("restart", "-t", "0", "web").returncode == 0
    assert fetched(port) == "hi\n"


def test_the_network_of_another_container(cli: CliRunner, tier: str) -> None:
    cli.begin(tier, "--network", "none", "--name", "web", "minimal", "sh", "-c", SERVE)
    assert cli.output(tier, "--network", "container:web", "minimal", "sh", "-c", FETCH.format("127.0.0.1")) == "hi\n"
    assert cli.run("stop", "-t", "0", "web").returncode == 0
    done = cli.run("run", "--rm", tier, "--network", "container:web", "minimal", "true")
    assert done.returncode == 125
    assert "cannot join network of a non running container" in done.stderr


def test_any_user_may_ping_and_listen(cli: CliRunner, tier: str) -> None:
    """Busybox's ping does not ask for the kind of socket that this allows."""
    make(cli, "back")
    script = "cat /proc/sys/net/ipv4/ping_group_range; timeout 1 httpd -f -p 80; echo $?"
    for network in ("none", "back"):
        first, last, code = cli.output(tier, "--network", network, "-u", "33", "minimal", "sh", "-c", script).split()
        assert (first, int(last) >= 0, code) == ("0", True, "143")


def network_process(cli: CliRunner, name: str) -> int:
    """Whoever listens for the network."""
    path = cli.state / "networks" / f"{name}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(f"/proc/self/fd/{os.open(path.parent, os.O_PATH | os.O_CLOEXEC)}/{path.name}")
        return int(struct.unpack("=iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def test_a_network_that_was_killed_is_there_again_with_the_next_container(cli: CliRunner) -> None:
    make(cli, "back")
    port = free_port()
    cli.begin("--network", "back", "--name", "web", "-p", f"{port}:80", "minimal", "sh", "-c", SERVE)
    cli.begin("--network", "back", "--name", "other", "minimal", "sleep", "300")
    os.kill(network_process(cli, "back"), signal.SIGKILL)
    assert cli.run("ps", "-q").stdout.count("\n") == 2, "its containers run on"
    assert cli.output("--network", "back", "minimal", "sh", "-c", FETCH.format("web")) == "hi\n"
    assert cli.run("exec", "other", "sh", "-c", FETCH.format("web")).stdout == "hi\n"
    assert fetched(port) == "hi\n"


def test_nothing_is_left_of_what_was_killed(cli: CliRunner) -> None:
    make(cli, "back")
    port = free_port()
    for name in ("first", "second"):
        words = ("-p", f"{port}:80") if name == "first" else ()
        cli.begin("--network", "back", "--name", name, *words, "minimal", "sleep", "300")
    network = network_process(cli, "back")
    for name in ("first", "second"):
        identity = show(cli, name, "{{.Id}}")
        os.kill(json.loads((cli.state / "containers" / identity / "state.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{network}"))
    wait_until(lambda: not cli.processes())
    assert cli.run("ps", "-aq", "--filter", "status=dead").stdout.count("\n") == 2
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert cli.run("network", "rm", "back").returncode == 0
    done = cli.run("start", "first")
    assert done.returncode
    assert "network back not found" in done.stderr


def test_many_at_once(cli: CliRunner) -> None:
    make(cli, "back")
    words = ("--network", "back", "minimal", "sleep", "300")
    started = [cli.start("run", "-d", "--name", f"box{number}", *words) for number in range(MANY)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    (found,) = json.loads(cli.run("network", "inspect", "back").stdout)
    assert len({item["IPv4Address"] for item in found["Containers"].values()}) == MANY
    script = "".join(f"ping -c1 -W2 box{number} >/dev/null || echo {number}\n" for number in range(MANY))
    assert cli.output("--network", "back", "minimal", "sh", "-c", script) == ""


def test_connect_and_disconnect(cli: CliRunner) -> None:
    for name in ("front", "back"):
        make(cli, name)
    cli.begin("--network", "front", "--name", "web", "minimal", "sleep", "300")
    cli.begin("--network", "back", "--name", "db", "minimal", "sh", "-c", SERVE)
    ping = ("exec", "web", "ping", "-c", "1", "-W", "2")
    assert cli.run(*ping, "db").returncode
    assert cli.run("network", "connect", "--alias", "main", "--ip", BACK_ADDRESS, "back", "web").returncode
    assert cli.run("network", "connect", "--alias", "main", "back", "web").returncode == 0
    assert cli.run(*ping, "db").returncode == 0
    assert cli.run("exec", "db", "ping", "-c", "1", "-W", "2", "main").returncode == 0
    assert cli.run("ps", "--filter", "network=back", "--format", "{{.Networks}}").stdout == "back\nfront,back\n"
    assert cli.run("network", "disconnect", "front", "web").returncode == 0
    assert "default via" in cli.run("exec", "web", "ip", "route").stdout
    assert cli.run(*ping, "db").returncode == 0
    done = cli.run("network", "disconnect", "front", "web")
    assert done.returncode == 1
    assert "is not connected to network front" in done.stderr
    assert cli.run("restart", "-t", "0", "web").returncode == 0
    assert cli.run(*ping, "db").returncode == 0
    assert cli.run("rename", "db", "store").returncode == 0
    assert cli.run(*ping, "store").returncode == 0
    assert cli.run(*ping, "db").returncode, "its name is another now"


def test_what_is_published_goes_by_the_network_that_is_left(cli: CliRunner) -> None:
    for name in ("front", "back"):
        make(cli, name)
    port = free_port()
    cli.begin("--network", "front", "--name", "web", "-h", "me", "-p", f"{port}:80", "minimal", "sh", "-c", SERVE)
    assert cli.run("network", "connect", "back", "web").returncode == 0
    assert fetched(port) == "hi\n"
    assert cli.run("network", "disconnect", "front", "web").returncode == 0
    assert fetched(port) == "hi\n"
    address = cli.run("inspect", "-f", "{{.NetworkSettings.Networks.back.IPAddress}}", "web").stdout.strip()
    own = [line for line in cli.run("exec", "web", "cat", "/etc/hosts").stdout.splitlines() if line.endswith("\tme")]
    assert own == [f"{address}\tme"]
    assert cli.run("network", "disconnect", "back", "web").returncode == 0
    assert cli.run("network", "connect", "front", "web").returncode == 0
    assert fetched(port) == "hi\n"


def test_addresses_that_are_asked_for(cli: CliRunner) -> None:
    make(cli, "--subnet", "10.93.0.0/24", "--gateway", "10.93.0.254", "back")
    address = ("--network", "back", "--ip", "10.93.0.77", "--mac-address", "02:00:00:00:00:77")
    cli.begin(*address, "--name", "web", "minimal", "sleep", "300")
    shown = cli.run("exec", "web", "ip", "address").stdout
    assert "10.93.0.77/24" in shown and "02:00:00:00:00:77" in shown
    done = cli.run("run", "--rm", *address, "minimal", "true")
    assert done.returncode == 125
    assert "Address already in use" in done.stderr
    for text in ("10.94.0.1", "10.93.0.254", "x"):
        done = cli.run("run", "--rm", "--network", "back", "--ip", text, "minimal", "true")
        assert done.returncode == 125, text
    done = cli.run("run", "--rm", "--ip", "10.93.0.5", "minimal", "true")
    assert "for networks with names only" in done.stderr


def test_containers_reach_each_other_by_ipv6(cli: CliRunner, tier: str) -> None:
    make(cli, "--ipv6", "back")
    make(cli, "--subnet", "fd00:93::/64", "--ip-range", "fd00:93::ff00/120", "front")
    cli.begin(tier, "--network", "back", "--name", "web", "minimal", "sh", "-c", SERVE)
    assert cli.run("network", "connect", "--ip6", "fd00:93::77", "front", "web").returncode == 0
    shown = json.loads(show(cli, "web", "{{json .NetworkSettings.Networks}}"))
    address, gateway = shown["back"]["GlobalIPv6Address"], shown["back"]["IPv6Gateway"]
    assert gateway.endswith("::1") and address == gateway[:-1] + "2" and shown["back"]["GlobalIPv6PrefixLen"] == 64
    assert shown["front"]["GlobalIPv6Address"] == "fd00:93::77"
    for network, name in (("back", f"[{address}]"), ("front", "[fd00:93::77]")):
        assert cli.output(tier, "--network", network, "minimal", "sh", "-c", FETCH.format(name)) == "hi\n", name
    asked = ("--network", "front", "minimal", "nslookup", "-type=aaaa", "web")
    assert "fd00:93::77" in cli.output(tier, *asked)
    assert "web.back" in cli.output(tier, "--network", "back", "minimal", "nslookup", address)
    done = cli.run("run", "--rm", tier, "--network", "front", "--ip6", "fd00:93:0::77", "minimal", "true")
    assert "Address already in use: fd00:93::77 of network front has web" in done.stderr
    assert "fd00:93::ff00/64" in cli.output(tier, "--network", "front", "minimal", "ip", "address")
    assert cli.run("network", "disconnect", "front", "web").returncode == 0
    assert "fd00:93" not in cli.run("exec", "web", "ip", "address").stdout
    assert "fd00:93" not in cli.run("exec", "web", "cat", "/etc/hosts").stdout


def test_a_container_has_names_for_others(cli: CliRunner) -> None:
    make(cli, "back")
    port = free_port()
    cli.begin("--network", "back", "--name", "web", "-p", f"127.0.0.1:{port}:53/udp", "minimal", "sleep", "300")
    assert cli.run("port", "web").stdout == f"53/udp -> 127.0.0.1:{port}\n"
    done = cli.run("port", "web", "80")
    assert done.returncode == 1
    assert "no public port '80/tcp' published for web" in done.stderr
    linked = ("--network", "back", "--link", "web:service", "minimal", "ping", "-c", "1", "service")
    assert "1 packets received" in cli.output(*linked)
    done = cli.run("run", "--rm", "--network", "none", "--link", "web:service", "minimal", "true")
    assert done.returncode == 125
    assert "no network in common" in done.stderr


def test_tiers_without_networks_say_so(cli: CliRunner) -> None:
    make(cli, "back")
    done = cli.run("run", "--rm", "--isolation", "chroot", "--network", "back", "minimal", "true")
    assert done.returncode == 125
    assert "chroot" in done.stderr

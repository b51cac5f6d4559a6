"""Namespaces that a container has from the machine, kernel parameters, devices, shares of processors."""

from __future__ import annotations

import os

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
LOOP = "while :; do sleep 0.1; done"


def output(cli: CliRunner, *words: str) -> str:
    done = cli.run("run", "--rm", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("option", "name"), [("--ipc", "ipc"), ("--uts", "uts"), ("--pid", "pid")])
def test_host_is_the_namespace_of_this_machine(option: str, name: str, cli: CliRunner) -> None:
    own = os.readlink(f"/proc/self/ns/{name}")
    assert output(cli, option, "host", "minimal", "readlink", f"/proc/self/ns/{name}").strip() == own
    assert output(cli, option, "private", "minimal", "readlink", f"/proc/self/ns/{name}").strip() != own


def test_the_host_name_of_the_machine_comes_with_its_namespace(cli: CliRunner) -> None:
    assert output(cli, "--uts", "host", "minimal", "hostname").strip() == os.uname().nodename


def test_without_ipc_there_is_no_shared_memory(cli: CliRunner) -> None:
    assert " /dev/shm " not in output(cli, "--ipc", "none", "minimal", "cat", "/proc/mounts")
    assert " /dev/shm " in output(cli, "--ipc", "shareable", "minimal", "cat", "/proc/mounts")


def test_with_the_machines_processes_a_container_lives_and_ends_as_ever(cli: CliRunner) -> None:
    words = ("--pid", "host", "--ipc", "host", "minimal", "sh", "-c", f"(sleep 7777 &) ; trap 'exit 4' TERM; {LOOP}")
    assert cli.run("run", "-d", "--name", "box", *words).returncode == 0
    pid = int(cli.run("inspect", "-f", "{{.State.Pid}}", "box").stdout)
    assert str(pid) == cli.run("exec", "box", "pidof", "-s", "sh").stdout.strip() or pid > 1
    done = cli.run("exec", "box", "sh", "-c", "tr '\\0' ' ' < /proc/$0/cmdline", str(pid))
    assert "sleep 7777" in done.stdout, done.stderr
    assert cli.run("stop", "box").returncode == 0
    assert cli.run("inspect", "-f", "{{.State.ExitCode}}", "box").stdout == "4\n"
    assert "7777" not in cli.run("run", "--rm", "--pid", "host", "minimal", "ps").stdout  # nothing of it is left
    assert cli.run("start", "box").returncode == 0
    assert cli.run("kill", "box").returncode == 0
    assert cli.run("wait", "box").stdout == "137\n"


def test_kernel_parameters_are_set_in_the_containers_namespaces(cli: CliRunner) -> None:
    words = (
        "--network",
        "none",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "minimal",
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
    )
    assert output(cli, *words) == "1\n"
    done = cli.run("run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "minimal", "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "the network is this machine's" in done.stderr


def test_a_device_of_the_machine_is_there(cli: CliRunner) -> None:
    script = "head -c 3 /dev/nothing | wc -c; test -c /dev/nothing && ls -l /dev/nothing | cut -c1"
    assert output(cli, "--device", "/dev/zero:/dev/nothing:r", "minimal", "sh", "-c", script) == "3\nc\n"
    done = cli.run("run", "--rm", "--device", "/dev/nosuch", "minimal", "true")
    assert done.returncode == 125
    assert "/dev/nosuch: No such file or directory" in done.stderr


def test_processors_and_the_killing_order_are_chosen(cli: CliRunner) -> None:
    last = str(max(os.sched_getaffinity(0)))
    script = "grep Cpus_allowed_list /proc/self/status; cat /proc/self/oom_score_adj"
    words = ("--cpuset-cpus", last, "--oom-score-adj", "321", "minimal", "sh", "-c", script)
    assert output(cli, *words).split() == ["Cpus_allowed_list:", last, "321"]


def test_shares_that_cannot_be_given_are_told(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "-c", "512", "--memory-reservation", "20m", "minimal", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr == "" or "has no effect" in done.stderr


def test_a_domain_name_is_set_with_the_host_name(cli: CliRunner) -> None:
    words = ("-h", "box", "--domainname", "example.org", "--network", "none", "minimal")
    assert output(cli, *words, "cat", "/proc/sys/kernel/domainname") == "example.org\n"
    assert "box.example.org box\n" in output(cli, *words, "cat", "/etc/hosts")


def test_dockers_own_isolation_is_taken(cli: CliRunner) -> None:
    assert output(cli, "--isolation", "default", "minimal", "echo", "ran") == "ran\n"


def test_two_containers_share_memory(cli: CliRunner) -> None:
    words = ("--ipc", "shareable", "minimal", "sh", "-c", f"echo shared > /dev/shm/f; {LOOP}")
    assert cli.run("run", "-d", "--name", "donor", *words).returncode == 0
    wait_until(lambda: cli.run("exec", "donor", "cat", "/dev/shm/f").stdout == "shared\n")
    script = "cat /dev/shm/f; echo back > /dev/shm/g; readlink /proc/self/ns/ipc"
    shared, namespace = output(cli, "--ipc", "container:donor", "minimal", "sh", "-c", script).split()
    done = cli.run("exec", "donor", "sh", "-c", "cat /dev/shm/g; readlink /proc/self/ns/ipc")
    assert (shared, done.stdout) == ("shared", f"back\n{namespace}\n")
    assert cli.run("run", "-d", "--name", "private", "minimal", "sh", "-c", LOOP).returncode == 0
    done = cli.run("run", "--rm", "--ipc", "container:private", "minimal", "true")
    assert (done.returncode, "non-shareable IPC" in done.stderr) == (125, True)
    assert "No such container" in cli.run("run", "--rm", "--ipc", "container:nobody", "minimal", "true").stderr


def test_processes_of_another_container(cli: CliRunner) -> None:
    """What a container leaves there ends with its command, and the container with the one whose numbers it has."""
    assert cli.run("run", "-d", "--name", "host", "minimal", "sh", "-c", LOOP).returncode == 0
    seen = output(cli, "--pid", "container:host", "minimal", "sh", "-c", "cat /proc/1/cmdline; sleep 7778 & exit 0")
    assert LOOP in seen
    assert "7778" not in cli.run("exec", "host", "ps").stdout
    assert (
        cli.run("run", "-d", "--name", "guest", "--pid", "container:host", "minimal", "sleep", "7779").returncode == 0
    )
    assert LOOP in cli.run("exec", "guest", "ps").stdout
    assert len(cli.run("top", "guest", "-o", "pid").stdout.splitlines()) == 2
    assert cli.run("rm", "-f", "host").returncode == 0
    assert cli.run("wait", "guest").stdout == "137\n"
    assert cli.run("rm", "guest").returncode == 0


def test_namespaces_of_another_container_in_networks_with_names(cli: CliRunner) -> None:
    for name in ("front", "back"):
        assert cli.run("network", "create", name).returncode == 0
    words = ("--network", "front", "--ipc", "shareable", "minimal", "sh", "-c", f"echo shared > /dev/shm/f; {LOOP}")
    assert cli.run("run", "-d", "--name", "member", *words).returncode == 0
    wait_until(lambda: cli.run("exec", "member", "cat", "/dev/shm/f").stdout == "shared\n")
    joins = ("--network", "back", "--ipc", "container:member", "--pid", "container:member")
    seen = output(cli, *joins, "minimal", "sh", "-c", "cat /dev/shm/f; cat /proc/1/cmdline; ip -o link | wc -l")
    assert seen.startswith("shared\n") and LOOP in seen and seen.rstrip().endswith("2")
    assert cli.run("run", "-d", "--name", "alone", "minimal", "sh", "-c", LOOP).returncode == 0
    done = cli.run("run", "--rm", "--network", "back", "--pid", "container:alone", "minimal", "true")
    assert (done.returncode, "another network than that of alone" in done.stderr) == (125, True)
    assert cli.run("rm", "-f", "member", "alone").returncode == 0
    assert cli.run("network", "rm", "front", "back").returncode == 0

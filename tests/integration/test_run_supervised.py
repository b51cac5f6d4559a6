"""run in the foreground without --rm: the container has a log and a supervisor, and is left alone by whoever leaves.

Also its options: which streams are attached, signals that are not passed on, the mounts of other containers, devices
by the Container Device Interface.
"""

from __future__ import annotations

import signal

import pytest

from tests.support.cli_runner import CliRunner

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
LOOP = "while :; do sleep 0.02; done"


def test_what_it_printed_can_be_read_later(cli: CliRunner) -> None:
    done = cli.run("run", "--name", "box", "minimal", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
    done = cli.run("logs", "box")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_the_streams_that_are_named_are_attached(cli: CliRunner) -> None:
    words = ("--name", "box", "minimal", "sh", "-c", "echo out; echo err >&2")
    done = cli.run("run", "-a", "STDOUT", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert cli.run("logs", "box").stderr == "err\n"
    assert "is not a stream" in cli.run("run", "-a", "x", "minimal", "true").stderr
    assert cli.run("run", "-d", "-a", "stdout", "minimal", "true").returncode == 125


def test_with_signals_kept_a_container_outlives_the_command_that_began_it(cli: CliRunner) -> None:
    words = ("--sig-proxy=false", "-a", "STDOUT", "-a", "STDERR", "--name", "box", "minimal", "sh", "-c")
    with cli.start("run", *words, f"echo up; {LOOP}") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert cli.run("exec", "box", "echo", "here").stdout == "here\n"
    assert cli.run("rm", "-f", "box").returncode == 0


def test_volumes_of_another_container_are_shared(cli: CliRunner) -> None:
    (cli.folder / "shared").mkdir()
    (cli.folder / "shared").chmod(0o777)
    words = ("-v", "/data", "-v", f"{cli.folder}/shared:/bind")
    assert cli.run("run", "--name", "store", *words, "minimal", "sh", "-c", "echo kept > /data/f").returncode == 0
    script = "cat /data/f; echo more > /bind/g; ls /bind"
    done = cli.run("run", "--rm", "--volumes-from", "store", "minimal", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "kept\ng\n"), done.stderr
    done = cli.run("run", "--rm", "--volumes-from", "store:ro", "minimal", "touch", "/data/x")
    assert (done.returncode, "Read-only" in done.stderr) == (1, True)
    assert cli.run("run", "--rm", "--volumes-from", "nobody", "minimal", "true").returncode == 125
    assert cli.run("rm", "-v", "store").returncode == 0


def test_a_part_of_a_volume_is_shown(cli: CliRunner) -> None:
    assert (
        cli.run("run", "--rm", "-v", "parts:/p", "minimal", "sh", "-c", "mkdir /p/a; echo in > /p/a/f").returncode == 0
    )
    mount = "type=volume,src=parts,dst=/d,volume-subpath="
    assert cli.run("run", "--rm", "--mount", f"{mount}a", "minimal", "cat", "/d/f").stdout == "in\n"
    assert "has no b" in cli.run("run", "--rm", "--mount", f"{mount}b", "minimal", "true").stderr
    assert cli.run("volume", "rm", "parts").returncode == 0

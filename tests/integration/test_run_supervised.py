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


def test_an_image_is_mounted_and_kept_while_a_container_has_it(cli: CliRunner) -> None:
    """As docker (image-subpath) and podman (subpath, rw) write it; an owner that only emulation has is seen, too."""
    (cli.folder / "Dockerfile").write_text(
        "FROM minimal AS made\nRUN mkdir -p /d/sub && echo low > /d/sub/f && echo over > /d/g\n"
        "FROM scratch\nCOPY --from=made /d /d\n"
        "COPY --chown=2000000000:7 --from=made /d/g /far\nCOPY --from=made /d/g /d/sub/h\n"
    )
    assert cli.run("build", "-q", "-t", "data", ".").returncode == 0
    script = "stat -c '%u:%g' /m/far; ls /m/d/sub; ln -s far /m/x"
    done = cli.run("run", "--rm", "--mount", "type=image,src=data,dst=/m", "minimal", "sh", "-c", script)
    assert (done.stdout, "Read-only" in done.stderr) == ("2000000000:7\nf\nh\n", True), done.stderr
    for mount in ("type=image,src=data,dst=/m/x,image-subpath=d/g", "type=image,src=data,dst=/m/x,subpath=/d/g,rw"):
        assert cli.run("run", "--rm", "--mount", mount, "minimal", "cat", "/m/x").stdout == "over\n"
    words = ("--mount", "type=image,src=data,dst=/m,rw")
    for _ in range(2):  # what was written is gone
        done = cli.run("run", "--rm", *words, "minimal", "sh", "-c", "cat /m/d/g; echo new > /m/d/g; cat /m/d/g")
        assert (done.stdout, done.stderr) == ("over\nnew\n", "")
    assert "has no nope" in cli.run("run", "--rm", "--mount", f"{words[1]},subpath=nope", "minimal", "true").stderr
    done = cli.run("run", "--rm", "--mount", "type=image,src=gone,dst=/m", "minimal", "true")
    assert (done.returncode, "run tiffin pull gone" in done.stderr) == (125, True)

    assert cli.run("run", "-d", "--name", "box", *words, "minimal", "sh", "-c", LOOP).returncode == 0
    assert (
        cli.run("inspect", "-f", "{{(index .Mounts 0).Type}} {{(index .Mounts 0).RW}}", "box").stdout == "image true\n"
    )
    assert cli.run("rmi", "data").returncode == 0
    assert cli.run("system", "prune", "-f").returncode == 0
    assert cli.run("restart", "-t", "0", "box").returncode == 0
    assert cli.run("exec", "box", "cat", "/m/d/sub/f").stdout == "low\n"
    assert cli.run("rm", "-f", "box").returncode == 0


def test_a_part_of_a_volume_is_shown(cli: CliRunner) -> None:
    assert (
        cli.run("run", "--rm", "-v", "parts:/p", "minimal", "sh", "-c", "mkdir /p/a; echo in > /p/a/f").returncode == 0
    )
    mount = "type=volume,src=parts,dst=/d,volume-subpath="
    assert cli.run("run", "--rm", "--mount", f"{mount}a", "minimal", "cat", "/d/f").stdout == "in\n"
    assert "has no b" in cli.run("run", "--rm", "--mount", f"{mount}b", "minimal", "true").stderr
    assert cli.run("volume", "rm", "parts").returncode == 0

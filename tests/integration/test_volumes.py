"""Volumes: their commands, what containers have of them, and that none is lost or left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.cli_runner import CliRunner, wait_until
from tests.support.minimal_image import base_files

pytestmark = pytest.mark.userns
NAME_LENGTH = 64


@pytest.fixture(autouse=True)
def nothing_left(cli: CliRunner) -> Iterator[None]:
    yield
    cli.remove_containers()
    assert cli.run("volume", "prune", "-a", "-f").returncode == 0
    assert list((cli.state / "mounts/volumes").glob("*")) == []
    assert cli.left() == []


def listed(cli: CliRunner, *words: str) -> list[str]:
    return cli.run("volume", "ls", "-q", *words).stdout.split()


def test_a_volume_has_its_labels_and_a_place(cli: CliRunner) -> None:
    assert cli.run("volume", "create", "--label", "a=b", "--label", "c", "data").stdout == "data\n"
    assert cli.run("volume", "create", "data").stdout == "data\n"  # again is fine
    assert cli.run("volume", "ls").stdout == "DRIVER    VOLUME NAME\nlocal     data\n"
    (found,) = json.loads(cli.run("volume", "inspect", "data").stdout)
    assert (found["Name"], found["Driver"], found["Scope"], found["Options"]) == ("data", "local", "local", None)
    assert found["Labels"] == {"a": "b", "c": ""}
    assert found["CreatedAt"].endswith("Z")
    assert cli.output("-v", "data:/d", "minimal", "sh", "-c", "echo x >/d/x; cat /d/x") == "x\n"
    assert os.listdir(found["Mountpoint"]) == ["x"]
    assert listed(cli, "-f", "label=a=b") == ["data"]
    assert listed(cli, "-f", "label=a=c") == []
    assert cli.run("volume", "rm", "data").stdout == "data\n"
    done = cli.run("volume", "rm", "data")
    assert (done.returncode, done.stdout) == (1, "")
    assert "get data: no such volume" in done.stderr
    assert cli.run("volume", "rm", "-f", "data").returncode == 0
    assert cli.run("volume", "exists", "data").returncode == 1


def test_one_that_a_container_has_stays(cli: CliRunner) -> None:
    identity = cli.run("create", "--name", "box", "-v", "data:/d", "minimal", "true").stdout.strip()
    assert listed(cli) == ["data"]
    done = cli.run("volume", "rm", "data")
    assert done.returncode == 1
    assert f"remove data: volume is in use - [{identity}]" in done.stderr
    assert listed(cli, "-f", "dangling=true") == []
    assert cli.run("volume", "prune", "-a", "-f").stdout.startswith("Total reclaimed space: ")
    assert cli.run("rm", "-v", "box").returncode == 0
    assert listed(cli, "-f", "dangling=true") == ["data"], "rm -v leaves those with a name"
    assert "Deleted Volumes:\ndata\n\nTotal" in cli.run("volume", "prune", "-a", "-f").stdout


def test_anonymous_ones_are_listed_and_go_with_rm_v(cli: CliRunner) -> None:
    cli.make_image(base_files(), {"data/seed": "seed\n"}, name="seeded", config={"Volumes": {"/data": {}}})
    script = "cat /data/seed; echo new >>/data/seed; echo x >/own/x"
    assert cli.run("run", "--name", "box", "-v", "/own", "seeded", "sh", "-c", script).stdout == "seed\n"
    names = listed(cli)
    assert [len(name) for name in names] == [NAME_LENGTH, NAME_LENGTH]
    assert cli.run("start", "-a", "box").stdout == "seed\nnew\n", "they are the same at the next start"
    assert listed(cli) == names
    assert cli.run("rm", "box").returncode == 0
    assert listed(cli) == names
    assert cli.run("volume", "prune", "-f").stdout.split()[2:4] == names
    assert cli.run("create", "--name", "box", "seeded").returncode == 0
    assert len(listed(cli)) == 1
    assert cli.run("rm", "-v", "box").returncode == 0
    assert listed(cli) == []


def test_run_rm_leaves_no_volume_even_if_it_is_killed(cli: CliRunner) -> None:
    assert cli.output("-v", "/d", "minimal", "touch", "/d/x") == ""
    assert listed(cli) == []
    identity = cli.run("run", "-d", "--rm", "-v", "/d", "minimal", "sleep", "300").stdout.strip()
    assert len(listed(cli)) == 1
    state = json.loads((cli.state / "containers" / identity / "state.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    wait_until(lambda: not cli.processes())
    wait_until(lambda: listed(cli) == [])


def test_an_empty_one_is_filled_and_has_the_owner_of_the_image(cli: CliRunner) -> None:
    assert cli.run("volume", "create", "data").returncode == 0
    cli.make_image(base_files(), {"home/alice/page": "first\n"}, name="seeded")
    script = "cat /home/alice/page; stat -c %u /home/alice; rm /home/alice/page"
    for _ in range(2):
        assert cli.output("-v", "data:/home/alice", "seeded", "sh", "-c", script) == "first\n1000\n"


def test_options_of_the_driver_are_done_or_refused(cli: CliRunner) -> None:
    place = cli.folder / "place"
    place.mkdir()
    cli.own(place)
    bind = ("--opt", "type=none", "--opt", "o=bind", "--opt", f"device={place}")
    assert cli.run("volume", "create", *bind, "here").returncode == 0
    assert cli.output("-v", "here:/d", "minimal", "touch", "/d/x") == ""
    assert os.listdir(place) == ["x"]
    assert cli.run("volume", "rm", "here").returncode == 0
    assert os.listdir(place) == ["x"], "what is the machine's stays"
    for options in (("--opt", "type=tmpfs", "--opt", "device=tmpfs"), ("--opt", "size=1g"), ("--driver", "other")):
        done = cli.run("volume", "create", *options, "none")
        assert done.returncode
        assert done.stderr.startswith("error: create none: ")
    assert listed(cli) == []

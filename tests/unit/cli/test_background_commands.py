"""Lines about containers in the background; a supervisor is this very process, until its command ends."""

from __future__ import annotations

import json

import pytest

from tests.support.bench_of_builds import COPIES, MOUNTS
from tests.support.commands import Commands
from tiffin.builder.api.containers import detached
from tiffin.builder.errors import SandboxError
from tiffin.builder.events import NullSink

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(params=[MOUNTS, COPIES], ids=["mounts", "copies"])
def tiffin(supervised_here: Commands, request: pytest.FixtureRequest) -> Commands:
    supervised_here.isolation = request.param
    return supervised_here


def status(tiffin: Commands, name: str) -> str:
    return tiffin("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").out


def test_a_container_in_the_background_has_an_id_a_log_and_a_code(tiffin: Commands) -> None:
    identity = tiffin("run", "-d", "--name", "box", "base", "sh", "-c", "say out\ncomplain err\nexit 3").out.strip()
    assert len(identity) == 64
    done = tiffin("logs", "box")
    assert (done.out, done.err) == ("out\n", "err\n")
    assert status(tiffin, "box").startswith("Exited (3) ")
    assert tiffin("wait", "box").out == "3\n"
    assert tiffin("logs", "-n", "0", "box").out == ""
    stamped = tiffin("logs", "-t", "box").out
    assert stamped.endswith("Z out\n")
    assert tiffin("logs", "--until", "1", "box").out == ""
    assert tiffin("logs", "-f", "box").err == "err\n"
    assert tiffin("rm", "box").out == "box\n"


def test_one_that_cannot_be_begun_says_why(tiffin: Commands) -> None:
    done = tiffin("run", "-d", "--name", "box", "base", "no-such-thing", check=False)
    assert (done.code, done.out, "not found" in done.err) == (127, "", True)
    assert status(tiffin, "box") == "Created\n"
    assert tiffin("inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", "box").out == "127 not found\n"
    assert "not found" in tiffin("restart", "box", check=False).err
    assert tiffin("start", "box", check=False).code == 1
    broken = tiffin("run", "-d", "base", "break", "the kernel said no", check=False)
    assert broken.code == 125 and "the kernel said no" in broken.err


def test_what_was_made_is_started_later_and_again(tiffin: Commands) -> None:
    made = tiffin("create", "--name", "box", "-e", "A=1", "base", "say", "here")
    assert len(made.out.strip()) == 64
    assert status(tiffin, "box") == "Created\n"
    assert tiffin("start", "box").out == "box\n"
    assert tiffin("start", "-a", "box").out == "here\n"
    assert tiffin("logs", "box").out == "here\nhere\n"
    assert tiffin("restart", "box").out == "box\n"
    assert "A=1" in tiffin.launcher.specs[-1].env
    several = tiffin("start", "-a", "box", "box", check=False)
    assert "only one container can be attached" in several.err


@pytest.mark.parametrize(("policy", "code", "runs"), [("no", 1, 1), ("on-failure:2", 1, 3), ("on-failure", 0, 1)])
def test_a_policy_starts_it_again(policy: str, code: int, runs: int, tiffin: Commands) -> None:
    tiffin("run", "-d", "--name", "box", "--restart", policy, "base", "sh", "-c", f"say run\nexit {code}")
    assert tiffin("logs", "box").out == "run\n" * runs
    assert json.loads(tiffin("inspect", "box").out)[0]["RestartCount"] == runs - 1


def test_one_that_is_not_to_stay_leaves_nothing(tiffin: Commands) -> None:
    tiffin("run", "-d", "--rm", "base", "say", "x")
    assert tiffin("ps", "-aq").out == ""


def test_those_that_do_not_run_are_not_stopped_killed_attached_or_entered(tiffin: Commands) -> None:
    tiffin("create", "--name", "box", "base", "say", "x")
    assert tiffin("stop", "box").out == "box\n"  # that is fine
    for words in (["kill", "box"], ["attach", "box"], ["exec", "box", "true"], ["exec", "-d", "box", "true"]):
        done = tiffin(*words, check=False)
        assert done.code == 1 and "container box is not running" in done.err, words
    for words in (["stop", "none"], ["start", "none"], ["logs", "none"], ["wait", "none"], ["rename", "none", "other"]):
        assert "No such container: none" in tiffin(*words, check=False).err, words
    assert "is not a signal" in tiffin("kill", "-s", "NO", "box", check=False).err + tiffin(
        "stop", "-t", "soon", "box", check=False
    ).err.replace("whole number", "is not a signal")


def test_names_are_changed_and_are_one_containers(tiffin: Commands) -> None:
    tiffin("create", "--name", "one", "base", "say", "x")
    tiffin("create", "--name", "two", "base", "say", "x")
    tiffin("rename", "one", "three")
    assert "is already in use" in tiffin("rename", "three", "two", check=False).err
    assert "invalid container name" in tiffin("rename", "three", "x/y", check=False).err
    assert tiffin("start", "three").out == "three\n"


def test_inspect_shows_what_was_asked_for(tiffin: Commands) -> None:
    tiffin.isolation = MOUNTS
    options = ["--label", "k=v", "--restart", "always", "--stop-signal", "USR1", "--log-opt", "max-size=1m"]
    tiffin("create", "--name", "box", *options, "-p", "8080:80", "--tmpfs", "/t", "-v", "data:/d", "base", "say", "x")
    found = json.loads(tiffin("inspect", "box").out)[0]
    assert found["State"]["Status"] == "created"
    assert found["Config"]["StopSignal"] == "USR1"
    assert found["Config"]["Cmd"] == ["say", "x"]
    assert {mount["Type"] for mount in found["Mounts"]} == {"tmpfs", "volume"}
    assert found["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert found["HostConfig"]["LogConfig"]["Config"] == {"max-size": str(1 << 20)}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--restart", "on-failure:x"], "is not a whole number"),
        (["--restart", "always", "--rm"], "do not go together"),
        (["--stop-timeout", "x"], "is not a whole number"),
        (["--log-opt", "max-file=0"], "is not a whole number"),
        (["--log-opt", "what=1"], "is not supported"),
    ],
)
def test_wrong_values_are_told(words: list[str], says: str, tiffin: Commands) -> None:
    done = tiffin("create", *words, "base", "say", "x", check=False)
    assert done.code == 125 or done.code == 2
    assert says in done.err


def test_a_supervisor_that_dies_early_is_told() -> None:
    with pytest.raises(SandboxError, match="ended before"):
        detached.started_of(b"", NullSink())

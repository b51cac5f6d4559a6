"""Words of docker and podman that programs use: filters of ps, exists, contexts, options before the command, update."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bench_of_builds import MOUNTS
from tests.support.commands import Commands
from tiffin.builder.cli import tree
from tiffin.builder.cli.commands.pull import PullArguments
from tiffin.builder.cli.groups import NOT_THERE, unknown_command
from tiffin.builder.cli.options.command import Command

ENGINE_COMMANDS = Path(__file__).with_name("engine_commands.txt")  # of docker 28 and of podman 4.3


@pytest.fixture
def tiffin(supervised_here: Commands) -> Commands:
    supervised_here.isolation = MOUNTS
    return supervised_here


@pytest.fixture
def names(tiffin: Commands) -> Callable[..., list[str]]:
    tiffin("run", "-d", "--name", "one", "-l", "a=b", "base", "sh", "-c", "exit 3")
    tiffin("run", "-d", "--name", "two", "-p", "8080:80", "--network", "none", "base", "say", "x", check=False)
    tiffin("create", "--name", "three", "-v", "data:/data", "-v", "/tmp:/host", "base", "say", "x")

    def listed(*filters: str, options: tuple[str, ...] = ("-a",)) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return tiffin("ps", *options, *words, "--format", "{{.Names}}").out.split()

    return listed


def test_filters_of_ps_are_dockers(names: Callable[..., list[str]], tiffin: Commands) -> None:
    everything = names()
    assert everything[0] == "three" and everything[-1] == "one"
    assert names("name=^/one$") == names("name=^one") == names("exited=3") == names("label=a") == ["one"]
    assert names("name=one", "name=three") == ["three", "one"]
    assert names("exited=3", "name=three") == []
    assert names("status=created") == ["three"]
    assert names("status=exited")[-1] == "one"
    assert names("since=one") == everything[:-1]
    assert names("before=three") == everything[1:]
    assert names("volume=data") == names("volume=/data") == ["three"]
    assert names("ancestor=base") == everything
    assert names("ancestor=nosuch") == names("publish=80") == names("expose=1-100/tcp") == names("health=healthy") == []
    assert names("health=none") == everything
    assert names(options=("-l",)) == ["three"]
    assert names(options=("-n", "1")) == ["three"]
    assert names(options=()) == []
    for wrong in ("status=odd", "health=odd", "exited=x", "before=nosuch", "odd=1"):
        assert tiffin("ps", "-f", wrong, check=False).code
    assert tiffin("ps", "-n", "x", check=False).code


def test_mounts_and_networks_are_columns(names: Callable[..., list[str]], tiffin: Commands) -> None:
    rows = {row["Names"]: row for row in map(json.loads, tiffin("ps", "-a", "--format", "json").out.splitlines())}
    assert (rows["three"]["Mounts"], rows["three"]["LocalVolumes"]) == ("data,/tmp", "1")
    assert rows["one"]["Networks"] == "host"


def test_exists_says_it_by_the_exit_code(names: Callable[..., list[str]], tiffin: Commands) -> None:
    def code(*words: str) -> int:
        done = tiffin(*words, check=False)
        assert done.out == done.err == ""
        return done.code

    assert [code("container", "exists", name) for name in ("one", "nosuch")] == [0, 1]
    assert [code("image", "exists", name) for name in ("base", "nosuch")] == [0, 1]
    assert code("pod", "exists", "one") == 1
    assert "on one network" in tiffin("pod", "create", "--name", "x", check=False).err


@pytest.mark.parametrize("words", ENGINE_COMMANDS.read_text().splitlines())
def test_each_command_of_docker_and_podman_is_there_or_says_why_not(words: str) -> None:
    path = tuple(words.split())
    for end in range(1, len(path) + 1):
        if tree.find(path[:end]) is None:
            said = unknown_command(path[end - 1], [], path[: end - 1])
            assert said.startswith(f'"{" ".join(path[:end])}" is not there: ')
            return
    assert isinstance(tree.find(path), Command)


def test_nothing_that_is_there_is_said_not_to_be() -> None:
    assert not [words for words in NOT_THERE if isinstance(tree.find(tuple(words.split())), Command)]


def test_pods_are_refused_by_name(tiffin: Commands) -> None:
    for words in (("run", "--pod", "x", "base"), ("create", "--pod-id-file", "x", "base"), ("pod", "rm", "x")):
        assert "on one network" in tiffin(*words, check=False).err


def test_there_is_one_context(tiffin: Commands) -> None:
    assert tiffin("context", "show").out == tiffin("context", "ls", "-q").out == "default\n"
    assert "default *" in tiffin("context", "ls").out
    assert json.loads(tiffin("context", "ls", "--format", "json").out)["Current"]
    assert tiffin("context", "inspect", "-f", "{{.Name}}").out == "default\n"
    assert tiffin("context", "use", "default").out == "default\n"
    for words in (("context", "use", "other"), ("context", "inspect", "other")):
        assert "not found" in tiffin(*words, check=False).err


def test_limits_and_the_policy_are_changed(names: Callable[..., list[str]], tiffin: Commands) -> None:
    assert tiffin("update", "--restart", "on-failure:3", "-m", "64m", "one").out == "one\n"
    form = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.Memory}}"
    assert tiffin("inspect", "-f", form, "one").out == "on-failure 3 67108864\n"
    assert "nothing to change" in tiffin("update", "one", check=False).err
    assert tiffin("update", "--restart", "odd", "one", check=False).code


def test_stopped_containers_are_pruned_by_filters(names: Callable[..., list[str]], tiffin: Commands) -> None:
    assert "Deleted" not in tiffin("container", "prune", "-f", "--filter", "until=1h").out
    assert "Deleted" in tiffin("container", "prune", "-f", "--filter", "label!=a").out
    assert names() == ["one"]
    tiffin("container", "prune", "-f", "--filter", "label=a=b")
    assert names() == []


def test_several_are_stopped_at_once_and_told_in_order(names: Callable[..., list[str]], tiffin: Commands) -> None:
    done = tiffin("stop", "three", "nosuch", "one", check=False)
    assert (done.code, done.out) == (1, "three\none\n")
    assert "No such container: nosuch" in done.err


def test_disk_usage_is_told_in_sums_and_one_by_one(names: Callable[..., list[str]], tiffin: Commands) -> None:
    assert tiffin("system", "df").out.split()[:5] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    rows = {row["Type"]: row for row in map(json.loads, tiffin("system", "df", "--format", "json").out.splitlines())}
    assert list(rows) == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert (rows["Containers"]["TotalCount"], rows["Containers"]["Active"]) == (str(len(names())), "0")
    told = tiffin("system", "df", "-v").out
    assert all(text in told for text in ("Images space usage:", "three", "VOLUME NAME", "Build cache usage:"))
    document = json.loads(tiffin("system", "df", "-v", "--format", "json").out)
    assert {row["Names"] for row in document["Containers"]} == set(names())


def test_a_clock_that_was_set_back_is_no_trouble(names: Callable[..., list[str]], tiffin: Commands) -> None:
    for path in (tiffin.root / "containers").glob("*/state.json"):
        state = json.loads(path.read_text())
        changes = {name: state[name] + 90_000 for name in ("created", "started", "finished") if state[name]}
        path.write_text(json.dumps({**state, **changes}))
    lines = tiffin("ps", "-a", "--format", "{{.RunningFor}}|{{.Status}}").out.splitlines()
    assert {line.partition("|")[0] for line in lines} == {"Less than a second ago"}
    assert tiffin("events", "--since", "1m", "--until", "0s").code == 0


def test_tls_verify_is_buildahs() -> None:
    assert PullArguments().registry_access().insecure == ()
    assert PullArguments(tls_verify=False).registry_access().insecure == ("*",)


def test_events_up_to_a_moment_are_all_that_were(tiffin: Commands) -> None:
    """As docker has it: without --since they begin with the first that is known."""
    tiffin("run", "--rm", "--name", "box", "base", "say", "x")
    words = ("events", "--until", "0s", "--filter", "container=box", "--format", "{{.Action}}")
    assert tiffin(*words).out.split() == ["create", "attach", "start", "die", "destroy"]

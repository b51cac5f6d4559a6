"""Commands around images and containers, used as a script written for docker uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


@pytest.fixture
def labelled(tiffin: Run, base: str, context: Make) -> str:
    """A second image, with configuration."""
    text = f'FROM {base}\nLABEL kind=lunch\nENV A=1\nEXPOSE 80\nENTRYPOINT ["cat"]\nCMD ["/etc/passwd"]\n'
    tiffin("build", "-q", "-t", "lunch:1", "-t", "lunch:2", context(text))
    return "lunch:1"


def names(tiffin: Run, *words: str) -> list[str]:
    return tiffin("images", "--format", "{{.Repository}}:{{.Tag}}", *words).stdout.split()


def test_lists_of_images(tiffin: Run, labelled: str, context: Make) -> None:
    assert sorted(names(tiffin)) == ["base:latest", "lunch:1", "lunch:2"]
    assert names(tiffin, "lunch:2") == ["lunch:2"]
    assert names(tiffin, "l*") == names(tiffin, "-f", "reference=*:?", "lunch") == ["lunch:1", "lunch:2"]
    assert names(tiffin, "--filter", "label=kind=lunch") == ["lunch:1", "lunch:2"]
    assert names(tiffin, "--filter", "label=kind=dinner") == names(tiffin, "--filter", "dangling=true") == []
    tiffin("build", "-q", "-t", "lunch:1", context("FROM base\nLABEL kind=other\n", name="other"))
    tiffin("rmi", "lunch:2")
    done = tiffin("images", "--filter", "color=red", check=False)
    assert done.returncode == 1 and "use dangling=" in done.stderr


def test_inspect_takes_templates(tiffin: Run, labelled: str) -> None:
    def show(template: str) -> str:
        return tiffin("image", "inspect", "-f", template, labelled).stdout.rstrip("\n")

    assert show("{{range .Config.Env}}{{.}};{{end}}") == "PATH=/bin;A=1;"
    assert show('{{index .Config.Labels "kind"}} {{.Config.User}}|{{json .Config.Volumes}}') == "lunch |null"
    assert show("{{range $port, $_ := .Config.ExposedPorts}}{{$port}}{{end}}") == "80/tcp"
    done = tiffin("inspect", "-f", "{{.Config.Colour}}", labelled, check=False)
    assert done.returncode == 2 and 'there is no "Colour"' in done.stderr
    done = tiffin("inspect", "nothing", labelled, check=False)
    assert done.returncode == 1 and "No such object: nothing" in done.stderr
    assert [item["RepoTags"] for item in json.loads(done.stdout)] == [["lunch:1", "lunch:2"]]


def test_what_is_not_known_of_a_container_is_not_told_as_empty(tiffin: Run, labelled: str) -> None:
    """Scripts ask for more than tiffin keeps of a container: a wrong answer would be worse than none."""
    tiffin("run", "--name", "plate", "--label", "mine=1", "-e", "A=1", "-u", "5", labelled)

    def asked(template: str) -> tuple[int, str]:
        done = tiffin("inspect", "-f", template, "plate", check=False)
        return done.returncode, done.stdout.strip()

    assert asked('{{index .Config.Labels "mine"}} {{.Config.Labels.none}}') == (0, "1 <no value>")
    assert asked("{{.Config.Labels.kind}}") == (0, "lunch"), "the image's are its own, too"
    assert tiffin("ps", "-aq", "--filter", "label=kind=lunch").stdout
    assert asked("{{.Config.Image}}") == (0, labelled.removeprefix("docker.io/library/"))
    assert asked("{{.Config.Env}} {{.Config.User}} [{{.Config.WorkingDir}}]") == (0, "[A=1 PATH=/bin] 5 [/]")
    assert asked("{{.Config.Hostname}}") == (0, tiffin("ps", "-aq").stdout.strip())
    assert asked("{{.Config.Unheard}}") == (2, "")
    _, times = asked("{{.State.StartedAt}} {{.State.FinishedAt}}")
    started, finished = times.split()
    assert started <= finished
    tiffin("rm", "plate")


def test_what_fails_does_not_hold_up_the_rest(tiffin: Run, labelled: str) -> None:
    done = tiffin("rmi", "nothing", "lunch:2", "nowhere", check=False)
    assert (done.returncode, done.stdout) == (1, "Untagged: lunch:2\n")
    assert done.stderr.count("error: No such image: ") == 2
    tiffin("run", "--name", "plate", labelled)
    assert tiffin("container", "inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "plate").stdout == "0 exited\n"
    assert tiffin("ps", "-aq", "--filter", "name=late", "--no-trunc").stdout.strip()
    done = tiffin("rmi", labelled, check=False)
    assert done.returncode == 1 and "is used by container plate" in done.stderr
    done = tiffin("rm", "nobody", "plate", check=False)
    assert (done.returncode, done.stdout) == (1, "plate\n")
    assert tiffin("rm", "-f", "nobody").stderr == ""
    assert "Deleted: sha256:" in tiffin("rmi", labelled).stdout


def test_image_prune(tiffin: Run, labelled: str, context: Make) -> None:
    tiffin("build", "-q", context("FROM base\nCOPY Dockerfile /d\n", name="nameless"))
    tiffin("run", "--name", "plate", "base", "true")
    assert tiffin("image", "prune", "-f").stdout.count("deleted: ") == 1
    assert sorted(names(tiffin)) == ["base:latest", "lunch:1", "lunch:2"]
    assert tiffin("image", "prune", "-af").stdout.count("deleted: ") == 1
    assert names(tiffin) == ["base:latest"], "the image of a container stays"
    tiffin("container", "prune", "-f")
    assert tiffin("ps", "-aq").stdout == ""


def test_prune_answers_as_docker_does(tiffin: Run, labelled: str, busybox: Path) -> None:
    assert tiffin("container", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    tiffin("run", "--name", "plate", labelled)
    identity = tiffin("ps", "-aq", "--no-trunc").stdout.strip()
    lines = tiffin("container", "prune", "-f").stdout.splitlines()
    assert lines[:3] == ["Deleted Containers:", identity, ""]
    assert lines[3].startswith("Total reclaimed space: ") and not lines[3].endswith(" 0B")
    lines = tiffin("image", "prune", "-af").stdout.splitlines()
    assert lines[0] == "Deleted Images:"
    assert {"untagged: lunch:1", "untagged: lunch:2", "untagged: base:latest"} < set(lines)
    assert lines[-1].startswith("Total reclaimed space: ")
    tiffin("build", "-q", "-t", "base", busybox)
    tiffin("run", "--name", "plate", "base", "true")
    refused = tiffin("system", "prune", input="n\n")
    assert (refused.stdout, tiffin("ps", "-aq").stdout != "") == ("", True)
    assert tiffin("system", "prune", input="y\n").stdout.startswith("Deleted Containers:\n")
    assert tiffin("system", "prune", "-f").stdout.splitlines()[-1].startswith("Total reclaimed space: ")


def test_members_that_programs_ask_info_and_version_for(tiffin: Run, base: str) -> None:
    about = json.loads(tiffin("system", "info", "--format", "{{ json . }}").stdout)
    assert about == json.loads(tiffin("info", "-f", "{{json .}}").stdout)
    assert (about["Images"], about["Containers"], about["OSType"]) == (1, 0, "linux")
    assert {"Driver", "CgroupDriver", "OperatingSystem", "Name", "NCPU", "MemTotal"} <= set(about)
    assert ("name=rootless" in about["SecurityOptions"]) == (os.getuid() != 0)
    for side in ("Client", "Server"):
        for member in ("APIVersion", "ApiVersion"):  # Docker's templates know the first, its JSON the second
            text = tiffin("version", "--format", f"{{{{.{side}.{member}}}}}")
            assert tuple(map(int, text.stdout.split("."))) >= (1, 41)
    assert json.loads(tiffin("version", "-f", "{{json .}}").stdout)["Server"]["Components"][0]["Name"] == "Engine"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("image", "inspect", "nothing"), "No such image: nothing:latest"),
        (("image", "inspect", "host.example/a/b:2"), "No such image: host.example/a/b:2"),
        (("inspect", "--type=image", "nothing"), "No such image: nothing:latest"),
        (("inspect", "nothing"), "No such object: nothing"),
        (("container", "inspect", "nothing"), "No such container: nothing"),
        (("rm", "nothing"), "No such container: nothing"),
        (("rmi", "nothing"), "No such image: nothing:latest"),
        (("history", "nothing"), "No such image: nothing:latest"),
        (("tag", "nothing", "x"), "No such image: nothing:latest"),
    ],
)
def test_what_is_not_there_is_told_in_dockers_words(tiffin: Run, words: tuple[str, ...], text: str) -> None:
    done = tiffin(*words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {text}; ")


def test_lists_of_containers_as_json(tiffin: Run, base: str, root: Path, tmp_path: Path) -> None:
    """docker writes one object a line, podman one array: an empty one too."""
    podman = tmp_path / "podman"
    podman.write_text(f"#!{sys.executable}\nfrom tiffin.builder.__main__ import main\nmain()\n")
    podman.chmod(0o755)

    def listed() -> list[dict[str, object]]:
        argv = [str(podman), "--root", str(root), "ps", "-a", "--format", "json"]
        found: list[dict[str, object]] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        return found

    assert (listed(), tiffin("ps", "-a", "--format", "json").stdout) == ([], "")
    tiffin("run", "--name", "plate", "-l", "a=b", base, "sh", "-c", "exit 3", check=False)
    line = json.loads(tiffin("ps", "-a", "--format", "json").stdout)
    assert (line["Names"], line["State"], line["Labels"]) == ("plate", "exited", "a=b")
    assert {"LocalVolumes", "Mounts", "Networks", "Size"} <= set(line)
    (found,) = listed()
    assert (found["Names"], found["ExitCode"], found["Labels"]) == (["plate"], 3, {"a": "b"})


def test_network_of_the_machine_has_its_names(tiffin: Run, base: str) -> None:
    def seen(*options: str) -> str:
        return tiffin("run", "--rm", *options, base, "sh", "-c", "hostname; cat /etc/hosts").stdout

    cli, hosts = os.uname().nodename, Path("/etc/hosts").read_text()
    assert seen("--network", "host") == f"{cli}\n{hosts}"
    assert seen("--net=host", "--add-host", "a:1.2.3.4", "-h", "own") == f"own\n1.2.3.4\ta\n{hosts}"
    assert not seen("--network", "none").startswith(f"{cli}\n")
    assert seen("--restart", "no", "--restart=no", "-h", "x").startswith("x\n127.0.0.1\tlocalhost\n")


def test_help_of_run_shows_every_option(tiffin: Run) -> None:
    text = " ".join(tiffin("run", "--help").stdout.split())
    for option in (
        "--storage-opt VALUE Refused: ",
        "-d, --detach Run it",
        "--kernel-memory VALUE No effect",
        "--attach",
    ):
        assert option in text


def test_peers_are_separated_by_spaces_or_commas(tiffin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_CACHE_PEERS", "http://127.0.0.1:9,dns:localhost:9 http://127.0.0.2:9,,127.0.0.3:9")
    done = tiffin("pull", "127.0.0.1:9/none", check=False)
    assert (done.returncode, "TIFFIN_CACHE_PEERS 127.0.0.3:9 is not a valid peer" in done.stderr) == (2, True)


@pytest.mark.parametrize("way", ["variable", "flag"])
def test_what_cannot_be_a_peer_is_refused_before_anybody_is_asked(
    tiffin: Run, context: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder = context("FROM scratch\nLABEL a=b\n")
    tiffin("build", folder)
    if way == "variable":
        monkeypatch.setenv("TIFFIN_CACHE_PEERS", "http://127.0.0.1:9, 127.0.0.3:9")
    done = tiffin("build", *(["--cache-peer", "127.0.0.3:9"] if way == "flag" else []), folder, check=False)
    name = {"variable": "TIFFIN_CACHE_PEERS", "flag": "--cache-peer"}[way]
    assert (done.returncode, f"{name} 127.0.0.3:9 is not a valid peer" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # molecule, kind: how it begins; ansible: what stands after "version"; podman-compose: the last word
        ("docker", r"Docker version (20\.10\.\d+\+tiffin\.[\d.]+), build tiffin\n"),
        ("podman", r"podman version (4\.3\.\d+\+tiffin\.[\d.]+)\n"),
        ("tiffin", r"tiffin version (0\.[\d.]+)\n"),
    ],
)
def test_by_the_name_of_another_the_version_is_told_as_its_own(tmp_path: Path, name: str, text: str) -> None:
    program = tmp_path / name
    program.write_text(f"#!{sys.executable}\nfrom tiffin.builder.__main__ import main\nmain()\n")
    program.chmod(0o755)

    def reported(*words: str) -> str:
        argv = [str(program), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    found = re.fullmatch(text, reported("--version"))
    assert found and reported("-v") == reported("--version"), reported("--version")
    for side in ("Client", "Server"):
        assert reported("version", "--format", f"{{{{.{side}.Version}}}}") == f"{found[1]}\n"
    (tmp_path / "state").mkdir()
    assert reported("--root", str(tmp_path / "state"), "info", "-f", "{{.ServerVersion}}") == f"{found[1]}\n"

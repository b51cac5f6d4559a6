"""Commands around images and containers, used as a script written for docker uses them."""

from __future__ import annotations

import json
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
    assert done.returncode == 2 and "use dangling=" in done.stderr


def test_inspect_takes_templates(tiffin: Run, labelled: str) -> None:
    def show(template: str) -> str:
        return tiffin("image", "inspect", "-f", template, labelled).stdout.rstrip("\n")

    assert show("{{range .Config.Env}}{{.}};{{end}}") == "PATH=/bin;A=1;"
    assert show('{{index .Config.Labels "kind"}} {{.Config.User}}|{{json .Config.Volumes}}') == "lunch |null"
    assert show("{{range $port, $_ := .Config.ExposedPorts}}{{$port}}{{end}}") == "80/tcp"
    done = tiffin("inspect", "-f", "{{.Config.Colour}}", labelled, check=False)
    assert done.returncode == 2 and 'there is no "Colour"' in done.stderr
    done = tiffin("inspect", "nothing", labelled, check=False)
    assert done.returncode == 1 and 'no image is called "nothing"' in done.stderr
    assert [item["RepoTags"] for item in json.loads(done.stdout)] == [["lunch:1", "lunch:2"]]


def test_what_fails_does_not_hold_up_the_rest(tiffin: Run, labelled: str) -> None:
    done = tiffin("rmi", "nothing", "lunch:2", "nowhere", check=False)
    assert (done.returncode, done.stdout) == (1, "Untagged: lunch:2\n")
    assert done.stderr.count("error: no image is called") == 2
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

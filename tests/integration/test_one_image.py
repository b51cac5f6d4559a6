"""One image is one image, however often and however packed it comes; and it is in a repository once it was pushed or
pulled.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Run
from tests.support.servers import Registry

pytestmark = pytest.mark.network
Context = Callable[..., Path]


@dataclass(frozen=True)
class Forms:
    """One image in a registry and in archives, with another manifest in each."""

    name: str
    folder: Path

    def bring(self, tiffin: Run, way: str) -> None:
        if way == "pull":
            tiffin("pull", "-q", self.name)
        else:
            tiffin("load", "-q", "-i", self.folder / way)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Forms:
    folder = tmp_path_factory.mktemp("forms")
    name = f"{registry.host}/one/image:1"
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /f\nLABEL a=b\n")
    command = [sys.executable, "-m", "tiffin", "--root", str(folder / "state"), "build", "-q", str(folder)]
    for more in (
        ["-t", name, "--push"],
        *(["-t", f"{kind}:1", "-o", f"type=oci,dest={folder}/{kind},compression={kind}"] for kind in ("zstd", "none")),
    ):
        subprocess.run([*command, *more], check=True, capture_output=True, cwd=CHECKOUT)
    copy = ["skopeo", "copy", "-q", f"oci-archive:{folder}/none", f"docker-archive:{folder}/docker:docker:1"]
    subprocess.run(copy, check=True, capture_output=True)
    return Forms(name, folder)


@pytest.mark.parametrize(
    "ways",
    [
        ("docker", "docker"),
        ("pull", "docker"),
        ("docker", "pull"),
        ("none", "docker", "pull"),
        ("pull", "zstd", "pull"),
    ],
    ids="+".join,
)
def test_however_it_comes(tiffin: Run, forms: Forms, ways: tuple[str, ...]) -> None:
    for way in ways:
        forms.bring(tiffin, way)
    rows = tiffin("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}").stdout.splitlines()
    assert len(rows) == len(set(ways)) and "<none>" not in str(rows), "no manifest is left without a name"
    (whole,) = {row.partition(" ")[0] for row in rows}
    digits = whole.removeprefix("sha256:")
    texts = (digits[:5], digits[:12], digits[:13], digits[:63], digits, whole, whole[:20])
    assert tiffin("inspect", "-f", "{{.Id}}", *texts).stdout.split() == [whole] * len(texts)
    tiffin("tag", digits, "again:1")
    tags = tiffin("inspect", "-f", '{{join .RepoTags " "}}', digits).stdout.split()
    assert len(tags) == len(rows) + 1 and "again:1" in tags
    tiffin("system", "prune", "-f")
    for name in tags:
        tiffin("save", name, "-o", forms.folder / "saved")  # its layers are here still, packed as they came
    tiffin("rmi", *tags[1:])
    assert tiffin("images", "-q", "--no-trunc").stdout.split() == [whole], "one name is left"


def test_by_id_all_of_it_goes(tiffin: Run, forms: Forms) -> None:
    forms.bring(tiffin, "pull")
    forms.bring(tiffin, "zstd")
    (whole,) = tiffin("images", "-q", "--no-trunc").stdout.split()
    refused = tiffin("rmi", whole, check=False)
    assert refused.returncode == 1 and "several names" in refused.stderr
    tiffin("rmi", "-f", whole)
    assert not tiffin("images", "-q").stdout


def test_name_that_moves_to_another_manifest_of_the_image_leaves_nothing(tiffin: Run, forms: Forms) -> None:
    forms.bring(tiffin, "zstd")
    tiffin("tag", "zstd:1", forms.name)
    tiffin("rmi", "zstd:1")
    forms.bring(tiffin, "pull")
    assert tiffin("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split() == [forms.name]


def test_image_of_several_platforms_is_one_row(tiffin: Run, context: Context) -> None:
    folder = context("FROM scratch\nCOPY f /f\nARG TARGETARCH\nLABEL a=$TARGETARCH\n", f="one\n")
    tiffin("build", "-q", "-t", "many:1", "--platform", "linux/amd64,linux/arm64,linux/s390x", folder)
    assert len(tiffin("images").stdout.splitlines()) == 2
    tiffin("system", "prune", "-af")
    assert len(tiffin("images").stdout.splitlines()) == 2, "what the index holds is not unused"
    tiffin("image", "prune", "-f")
    assert tiffin("inspect", "many:1").returncode == 0


# -- where it is -------------------------------------------------------------------------------------------------------


def digests(tiffin: Run, name: str) -> list[str]:
    found: list[str] = json.loads(tiffin("inspect", "-f", "{{json .RepoDigests}}", name).stdout)
    return found


def test_built_and_tagged_it_is_nowhere(tiffin: Run, context: Context, registry: Registry) -> None:
    """The order of a deployment: build, tag, push, and take the first digest."""
    tiffin("build", "-q", "-t", "myapp", context("FROM scratch\nCOPY f /f\n", f="mine\n"))
    assert digests(tiffin, "myapp") == []
    assert tiffin("inspect", "-f", "{{index .RepoDigests 0}}", "myapp", check=False).returncode != 0
    tiffin("tag", "myapp", f"{registry.host}/deploy/app:1")
    assert digests(tiffin, "myapp") == []
    pushed = tiffin("push", "-q", f"{registry.host}/deploy/app:1").stdout.strip()
    assert digests(tiffin, "myapp") == digests(tiffin, f"{registry.host}/deploy/app:1") == [pushed]
    tiffin("tag", "myapp", "elsewhere:1")
    assert digests(tiffin, "elsewhere:1") == [pushed]
    tiffin("build", "-q", "-t", f"{registry.host}/deploy/two:1", "--push", context("FROM myapp\nLABEL a=b\n"))
    (first,) = digests(tiffin, f"{registry.host}/deploy/two:1")
    assert first.startswith(f"{registry.host}/deploy/two@sha256:")
    tiffin("rmi", f"{registry.host}/deploy/app:1")
    assert digests(tiffin, "myapp") == [], "its last name there is gone"


@pytest.mark.parametrize("platforms", ["linux/amd64", "linux/amd64,linux/arm64"], ids=["manifest", "index"])
def test_pulled_it_is_where_it_came_from(tiffin: Run, context: Context, registry: Registry, platforms: str) -> None:
    name = f"{registry.host}/pulled/{len(platforms)}"
    folder = context("FROM scratch\nCOPY f /f\n", f="mine\n")
    tiffin("build", "-q", "-t", f"{name}:1", "--push", "--platform", platforms, folder)
    tiffin("system", "reset", "-f")
    words = ["skopeo", "inspect", "--tls-verify=false", "-f", "{{.Digest}}", f"docker://{name}:1"]
    wanted = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    assert f"Digest: {wanted}" in tiffin("pull", f"{name}:1").stderr
    assert digests(tiffin, f"{name}:1") == [f"{name}@{wanted}"]
    assert tiffin("inspect", "-f", "{{.Id}}", f"{name}@{wanted}").stdout, "it is found by that"
    tiffin("rmi", f"{name}@{wanted}")
    assert digests(tiffin, f"{name}:1") == []


@pytest.mark.parametrize("tag", ["", ":1", ":never-was"])
def test_pull_by_digest_makes_no_tag(tiffin: Run, context: Context, registry: Registry, tag: str) -> None:
    name = f"{registry.host}/digests/app"
    tiffin("build", "-q", "-t", f"{name}:1", "--push", context("FROM scratch\nCOPY f /f\n", f="mine\n"))
    (pinned,) = digests(tiffin, f"{name}:1")
    digest = pinned.partition("@")[2]
    tiffin("system", "reset", "-f")
    tiffin("pull", "-q", f"{name}{tag}@{digest}")
    row = tiffin("images", "--format", "{{.Repository}} {{.Tag}}").stdout.split()
    assert row == [name, "<none>"]
    assert json.loads(tiffin("inspect", f"{name}{tag}@{digest}").stdout)[0]["RepoTags"] == []
    assert digests(tiffin, f"{name}@{digest}") == [pinned]
    assert tiffin("inspect", f"{name}:1", check=False).returncode == 1
    tiffin("rmi", f"{name}{tag}@{digest}")
    assert not tiffin("images", "-q").stdout

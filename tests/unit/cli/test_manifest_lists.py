"""`manifest` and `imagetools` on layouts, without a registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.registry import fake_registry
from tests.support.commands import Commands
from tests.support.contexts import context_at


@pytest.fixture
def layouts(tiffin_here: Commands, tmp_path: Path) -> list[str]:
    """A layout for each of two platforms."""
    folder = context_at(tmp_path)("FROM scratch\nCOPY a /a\n", a="A")
    for platform in ("amd64", "arm64"):
        output = f"type=oci,tar=false,dest={tmp_path}/{platform}"
        tiffin_here("build", "-q", "-t", "x/app:1", "--platform", f"linux/{platform}", "-o", output, folder)
    return [f"oci-layout://{tmp_path}/{platform}:1" for platform in ("amd64", "arm64")]


def test_a_list_is_made_changed_pushed_and_forgotten(tiffin_here: Commands, layouts: list[str], tmp_path: Path) -> None:
    name = f"oci-layout://{tmp_path}/all:2"
    assert tiffin_here("manifest", "create", name, *layouts).out == f"Created manifest list {name}\n"
    again = tiffin_here("manifest", "create", name, layouts[0], check=False)
    assert again.code == 1 and "no --amend flag" in again.err
    tiffin_here("manifest", "create", "--amend", name, layouts[0])
    tiffin_here("manifest", "annotate", "--arch", "arm", "--variant", "v6", "--os-features", "a,b", name, layouts[1])
    rows = json.loads(tiffin_here("manifest", "inspect", name).out)["manifests"]
    assert [row["platform"]["architecture"] for row in rows] == ["arm", "amd64"]
    assert rows[0]["platform"] == {"architecture": "arm", "os": "linux", "os.features": ["a", "b"], "variant": "v6"}
    for words, wanted in ((("--arch", "foo"), "unsupported os/arch"), ((), "does not exist")):
        manifest = layouts[1] if words else f"{layouts[1]}x"
        assert wanted in tiffin_here("manifest", "annotate", *words, name, manifest, check=False).err
    digest = tiffin_here("manifest", "push", "-p", name).out.strip()
    assert json.loads((tmp_path / "all/index.json").read_text())["manifests"][0]["digest"] == digest
    assert "No such manifest" in tiffin_here("manifest", "rm", name, check=False).err
    assert json.loads(tiffin_here("manifest", "inspect", name).out)["manifests"] == rows
    shown = json.loads(tiffin_here("manifest", "inspect", "-v", name).out)
    assert [one["Descriptor"]["platform"]["architecture"] for one in shown] == ["arm", "amd64"]
    assert tiffin_here("manifest", "create", "x:1", name, check=False).code == 1, "a list is no member of a list"


def test_what_is_alone_is_shown(tiffin_here: Commands, layouts: list[str]) -> None:
    assert "layers" in json.loads(tiffin_here("manifest", "inspect", layouts[0]).out)
    shown = json.loads(tiffin_here("manifest", "inspect", "-v", layouts[0]).out)
    assert shown["Ref"] == layouts[0] and shown["OCIManifest"]["layers"]
    tiffin_here("manifest", "create", "x:1", layouts[0])
    assert json.loads(tiffin_here("manifest", "inspect", "-v", "x:1", layouts[0]).out) == shown
    assert tiffin_here("manifest", "inspect", "x:1", layouts[1], check=False).code == 1
    assert tiffin_here("manifest", "inspect", f"{layouts[0]}none", check=False).code == 1
    tiffin_here("manifest", "rm", "x:1")


def test_lists_go_to_registries(tiffin_here: Commands, layouts: list[str], tmp_path: Path) -> None:
    with fake_registry() as registry:
        name = f"{registry.host}/team/app:1"
        tiffin_here("manifest", "create", "--insecure", name, *layouts)
        tiffin_here("manifest", "push", "--insecure", name)
        tiffin_here("buildx", "imagetools", "create", "-t", f"oci-layout://{tmp_path}/copy:1", name)
        index = json.loads((tmp_path / "copy/index.json").read_text())
        assert len(index["manifests"]) == 1 and (tmp_path / "copy/oci-layout").exists()
        tiffin_here("manifest", "rm", name)
        with_digest = f"oci-layout://{tmp_path}/copy@{index['manifests'][0]['digest']}"
        assert "linux/arm64" in tiffin_here("buildx", "imagetools", "inspect", with_digest).out


@pytest.mark.parametrize("name", ["oci-layout://", "oci-layout:///x@sha256:1", "oci-layout:///none:1"])
def test_names_that_lead_nowhere_are_told(tiffin_here: Commands, name: str) -> None:
    assert tiffin_here("buildx", "imagetools", "inspect", name, check=False).code == 1


def test_damaged_lists_are_told(tiffin_here: Commands, layouts: list[str], tmp_path: Path) -> None:
    tiffin_here("manifest", "create", "x:1", layouts[0])
    [path] = (tiffin_here.root / "manifests").iterdir()
    path.write_text("{")
    assert "is damaged" in tiffin_here("manifest", "inspect", "x:1", check=False).err
    (tmp_path / "amd64/index.json").write_text("{")
    assert "is damaged" in tiffin_here("manifest", "create", "x:2", layouts[0], check=False).err
    blob = next(path for path in (tmp_path / "arm64/blobs/sha256").iterdir() if b'"layers":[' in path.read_bytes())
    blob.write_bytes(blob.read_bytes() + b" ")
    assert "copy it again" in tiffin_here("manifest", "create", "x:2", layouts[1], check=False).err

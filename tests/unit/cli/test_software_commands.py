"""tiffin sbom and tiffin scan on the command line, and images that are not in the store."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.support import software_files as software
from tests.support.commands import Commands
from tests.support.minimal_image import write_image


@pytest.fixture
def image(tiffin_here: Commands) -> str:
    write_image(tiffin_here.root, software.IMAGE, name="docker.io/library/app:1")
    return "app:1"


def test_a_table_and_a_document(tiffin_here: Commands, image: str, tmp_path: Path) -> None:
    table = tiffin_here("sbom", image).out
    assert table.splitlines()[0].split() == ["NAME", "VERSION", "TYPE", "LINE"] and "libc6" in table
    place = tmp_path / "app.json"
    assert tiffin_here("sbom", "--format", "cyclonedx-json", "-o", place, image).out == ""
    assert json.loads(place.read_text())["specVersion"] == "1.6"
    assert "not read" in tiffin_here("sbom", "--format=spdx-json", image).out
    assert tiffin_here("sbom", image, "--diff", image).out == "no differences\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by-line", "--format", "spdx-json"), "--by-line is of the table"),
        (("--diff", "x", "--by-line"), "exclude each other"),
        (("-o", "/no/such/folder/x"), "cannot write --output"),
    ],
)
def test_what_does_not_go_together(tiffin_here: Commands, image: str, words: tuple[str, ...], message: str) -> None:
    done = tiffin_here("sbom", image, *words, check=False)
    assert done.code == 2 and message in done.err


def test_archives_and_layouts_leave_nothing_here(tiffin_here: Commands, image: str, tmp_path: Path) -> None:
    archive, layout = tmp_path / "app.tar", tmp_path / "layout"
    tiffin_here("save", "-o", archive, image)
    layout.mkdir()
    with tarfile.open(archive) as opened:
        opened.extractall(layout)
    expected = tiffin_here("sbom", "--format=spdx-json", image).out
    tiffin_here("rmi", image)
    before = tiffin_here("images", "-a").out
    for place in (str(archive), str(layout), f"oci-layout://{layout}:1"):
        found = tiffin_here("sbom", "--format=spdx-json", place).out
        assert json.loads(found)["packages"][2:] == json.loads(expected)["packages"][2:], place
    assert tiffin_here("images", "-a").out == before
    wrong = tiffin_here("sbom", "--platform", "linux/s390x", archive, check=False)
    assert wrong.code == 1 and "has 0 images for linux/s390x" in wrong.err


def test_the_time_of_documents_is_given(tiffin_here: Commands, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert (
        json.loads(tiffin_here("sbom", "--format=spdx-json", image).out)["creationInfo"]["created"]
        == "1970-01-02T00:00:00Z"
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert "not a valid time" in tiffin_here("sbom", image, check=False).err


def test_a_scan_ends_by_severity(tiffin_here: Commands, image: str, tmp_path: Path) -> None:
    whole = {path: content for path, content in software.IMAGE.items() if not path.endswith("Packages.db")}
    write_image(tiffin_here.root, whole, name="docker.io/library/whole:1")
    row = {
        "package": {"ecosystem": "npm", "name": "@a/b"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    }
    (tmp_path / "db.json").write_text(
        json.dumps({"id": "X-1", "affected": [row], "database_specific": {"severity": "HIGH"}})
    )
    words = ("scan", "--db", tmp_path / "db.json", "whole:1")
    assert "X-1" in tiffin_here(*words).out
    assert tiffin_here(*words, "--fail-on", "high", check=False).code == 1
    assert tiffin_here(*words, "--fail-on", "critical").code == 0
    assert json.loads(tiffin_here(*words, "--format", "json").out)["findings"][0]["id"] == "X-1"
    assert json.loads(tiffin_here(*words, "--format", "sarif").out)["version"] == "2.1.0"
    done = tiffin_here("scan", image, check=False)
    assert done.code == 2 and "--db" in done.err


def test_a_scan_of_what_cannot_be_read_is_no_good_news(tiffin_here: Commands, tmp_path: Path) -> None:
    """As devops-kung-fu/bomber issue 14: no packages, no vulnerabilities, and exit code 0."""
    (tmp_path / "db.json").write_text(json.dumps({"id": "X-1", "affected": []}))
    for name, path, code in (("rpm", "var/lib/rpm/Packages", 1), ("jar", "srv/a.jar", 0)):
        write_image(tiffin_here.root, {path: b"\0\1"}, name=f"docker.io/library/{name}:1")
        done = tiffin_here("scan", "--db", tmp_path / "db.json", "--fail-on", "low", f"{name}:1", check=False)
        assert done.code == code and "no known vulnerabilities in what was read; 1 files were not" in done.out


def test_an_image_of_a_registry_for_another_platform_is_refused(
    tiffin_here: Commands, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.oci.spec import Platform

    def look_up(remote: Remote, reference: object, platform: Platform) -> object:
        return remote._store.find(image)

    monkeypatch.setattr(Remote, "look_up", look_up)
    done = tiffin_here("sbom", "--platform", "linux/s390x", image, check=False)
    assert done.code == 1 and "not for linux/s390x" in done.err

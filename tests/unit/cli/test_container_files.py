"""cp, diff, commit, export and import on fakes: with copied roots nothing has to be mounted."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.support.bench_of_builds import COPIES, MOUNTS
from tests.support.commands import Commands

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def tiffin(supervised_here: Commands) -> Commands:
    return supervised_here


@pytest.fixture
def box(tiffin: Commands) -> Commands:
    """With a container called box, which has written /srv/new and made /empty; its root is a copy."""
    tiffin.isolation = COPIES
    tiffin("run", "-d", "--name", "box", "base", "sh", "-c", "write /srv/new written\nmkdir /empty")
    return tiffin


def packed(**files: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [member.name.rstrip("/") for member in archive]


def test_files_come_out_under_dockers_names(box: Commands, tmp_path: Path) -> None:
    box("cp", "box:/srv/new", tmp_path / "renamed")
    assert (tmp_path / "renamed").read_text() == "written"
    box("cp", "box:/srv", tmp_path)
    box("cp", "box:/srv/.", tmp_path / "content")
    assert sorted(path.name for path in (tmp_path / "srv").iterdir()) == ["new", "page"]
    assert (tmp_path / "content/page").read_text() == "hello\n"
    assert names(box("cp", "box:/srv", "-").raw) == ["srv", "srv/new", "srv/page"]
    box("cp", "-q", "box:/srv/new", tmp_path)
    assert (tmp_path / "new").read_text() == "written"


def test_files_go_in_and_are_seen(box: Commands, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index").write_text("index")
    (tmp_path / "site/link").symlink_to("index")
    box("cp", tmp_path / "site", "box:/srv")
    box("cp", f"{tmp_path}/site/.", "box:/flat")
    box("cp", "-L", tmp_path / "site/link", "box:/real")
    box("cp", "-", "box:/empty", stdin=packed(a__b="packed"))
    with tarfile.open(fileobj=io.BytesIO(box("export", "box").raw)) as archive:
        read = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    assert {name: read.get(name) for name in ("srv/site/index", "flat/index", "real", "empty/a/b")} == {
        "srv/site/index": b"index", "flat/index": b"index", "real": b"index", "empty/a/b": b"packed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["box:/none", "."], "Could not find the file /none in container box"),
        (["box:/srv/new/", "."], "not a directory"),
        (["box:", "."], "the path in the container must not be empty"),
        (["none:/x", "."], "No such container: none"),
        (["a", "b"], "must specify at least one container source"),
        (["nothing-here", "box:/"], "nothing-here"),
        (["-", "box:/srv/new"], "must be a directory"),
        (["box:/srv/new", "/nowhere/at/all"], "/nowhere/at"),
    ],
)
def test_what_cannot_be_copied_is_told(box: Commands, words: list[str], says: str) -> None:
    done = box("cp", *words, check=False)
    assert done.code == 1 and says in done.err


def test_changes_are_listed_and_become_an_image(tiffin: Commands) -> None:
    tiffin.isolation = MOUNTS
    tiffin("run", "-d", "--name", "box", "-e", "A=1", "base", "sh", "-c", "write /srv/new written\nmkdir /empty")
    assert tiffin("diff", "box").out.splitlines() == ["A /empty", "C /srv", "A /srv/new"]
    identity = tiffin("commit", "-m", "why", "-a", "who", "-c", "CMD show /srv/new", "box", "made").out.strip()
    document = json.loads(tiffin("inspect", "made").out)[0]
    assert document["Id"] == identity and document["Author"] == "who" and document["Comment"] == "why"
    assert "A=1" in document["Config"]["Env"] and document["Config"]["Cmd"][-1] == "show /srv/new"
    assert tiffin("run", "--rm", "made").out == "written"
    assert len(document["RootFS"]["Layers"]) == 3
    assert "not a valid change" in tiffin("commit", "-c", "NONSENSE x", "box", check=False).err
    assert "No such container: none" in tiffin("commit", "none", check=False).err


def test_nothing_that_changed_is_no_layer(tiffin: Commands) -> None:
    tiffin.isolation = MOUNTS
    tiffin("run", "-d", "--name", "box", "base", "say", "x")
    assert tiffin("diff", "box").out == ""
    before = json.loads(tiffin("inspect", "base").out)[0]["RootFS"]["Layers"]
    tiffin("commit", "box", "same")
    assert json.loads(tiffin("inspect", "same").out)[0]["RootFS"]["Layers"] == before


def test_copied_roots_have_no_changes_to_tell(box: Commands) -> None:
    for words in (("diff", "box"), ("commit", "box")):
        assert box(*words, check=False).code != 0


def test_an_archive_is_an_image(tiffin: Commands, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(packed(srv__page="imported"))
    tiffin.isolation = MOUNTS
    tiffin("import", "-c", "CMD show /srv/page", "-c", "ENV A=1", "-m", "why", archive, "flat:1")
    document = json.loads(tiffin("inspect", "flat:1").out)[0]
    assert document["Config"]["Env"] == ["A=1"] and len(document["RootFS"]["Layers"]) == 1
    assert tiffin("run", "--rm", "flat:1").out == "imported"
    from_stdin = tiffin("import", "-", "piped", stdin=archive.read_bytes()).out.strip()
    assert json.loads(tiffin("inspect", "piped").out)[0]["Id"] == from_stdin
    for source, says in ((tmp_path / "none", "none"), (tmp_path, "director")):
        assert says in tiffin("import", source, check=False).err
    (tmp_path / "bad").write_bytes(b"not a tar, whatever it may be" * 40)
    assert tiffin("import", tmp_path / "bad", check=False).code == 1

"""Trees that are copied: read entry by entry, as a tar and back, and written into directories that are in use."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from tiffin.builder.api.containers.files.changes import told
from tiffin.builder.containers.export import export_tar
from tiffin.builder.containers.files.contents import Counter, Items, read_tree, renamed
from tiffin.builder.containers.files.sizes import size_of_files
from tiffin.builder.containers.files.tar import read_items, write_items
from tiffin.builder.containers.files.writer import CopyWriter, DirectoriesInRoot, Rights
from tiffin.builder.errors import ContainerError, StoreError, UsageError
from tiffin.builder.layer.below import TreesBelow
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.disk.directories import Directories
from tiffin.builder.layer.index import new_entry
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.changes import changed_config


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "sub").mkdir(parents=True)
    (made / "sub/file").write_text("text")
    os.link(made / "sub/file", made / "again")
    os.symlink("sub/file", made / "link")
    os.mkfifo(made / "pipe")
    (made / "sub/file").chmod(0o640)
    os.utime(made / "sub", (1e9, 1e9))
    return made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def write(items: Items, target: Path, rights: Rights | None = None) -> None:
    target.mkdir(exist_ok=True)
    with Directories(target) as directories:
        CopyWriter(directories, rights or Rights(), "box:/srv").write(items)


def shape(root: Path) -> dict[str, tuple[int, int, str]]:
    found = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder, name)
            st = path.lstat()
            links = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
            found[str(path.relative_to(root))] = (st.st_mode, links, str(st.st_mtime_ns))
    return found


def test_a_copy_is_the_same(tree: Path, place: int, tmp_path: Path) -> None:
    write(renamed(read_tree(place, "tree"), "new"), tmp_path / "out")
    assert shape(tmp_path / "out/new") == shape(tree)
    assert (tmp_path / "out/new/again").read_text() == "text"


def test_a_tar_of_it_is_the_same(tree: Path, place: int, tmp_path: Path) -> None:
    stream, counter = io.BytesIO(), Counter()
    write_items(counter.counted(read_tree(place, "tree")), "top", stream)
    assert 0 < counter.size_bytes <= stream.tell()  # which has more headers for fractions of seconds
    stream.seek(0)
    write(read_items(stream), tmp_path / "out")
    assert shape(tmp_path / "out/top") == shape(tree)


def test_what_is_left_out(tree: Path, place: int) -> None:
    paths = {item.entry.path for item in read_tree(place, "tree", skipped=("sub",))}
    assert paths == {".", "again", "link", "pipe", "sub"}
    with pytest.raises(StoreError, match="is gone"):
        next(read_tree(place, "none"))


@pytest.mark.parametrize(("old", "text"), [("dir", "overwrite directory"), ("file", "overwrite non-directory")])
def test_what_may_not_be_replaced(old: str, text: str, tree: Path, place: int, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    name = "sub" if old == "file" else "again"
    if old == "dir":
        (tmp_path / "out/again").mkdir()
    else:
        (tmp_path / "out/sub").write_text("in the way")
    with pytest.raises(ContainerError, match=text) as caught:
        write(renamed(read_tree(place, "tree"), ""), tmp_path / "out")
    assert name in str(caught.value)


def test_files_are_replaced_and_directories_merged(tree: Path, place: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub/other").write_text("stays")
    (out / "link").write_text("goes")
    write(renamed(read_tree(place, "tree"), ""), out)
    assert (out / "sub/other").read_text() == "stays"
    assert (out / "link").is_symlink()


def test_links_are_followed_inside_the_root(tree: Path, place: int, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "in").symlink_to("/real")
    (root / "out").symlink_to(tmp_path)
    fd = os.open(root, os.O_PATH)
    directories = DirectoriesInRoot(fd, "/in")
    CopyWriter(directories, Rights(), "box:/in").write(read_tree(place, "tree"))
    directories.close()
    assert (root / "real/sub/file").read_text() == "text"
    with pytest.raises(FileNotFoundError):
        DirectoriesInRoot(fd, "/out").descriptor("")
    os.close(fd)


def test_rights() -> None:
    entry = new_entry("d", "file", 0o644)._replace(uid=70000, gid=5)
    assert Rights().applied(entry).uid == 0
    assert Rights(gives=True).applied(entry)[3:5] == (70000, 5)
    assert Rights(gives=True, limits=(65536, 65536)).applied(entry)[3:5] == (0, 0)
    assert Rights(gives=True, owner=(7, 8)).applied(entry)[3:5] == (7, 8)
    with pytest.raises(StoreError, match='device node "d"'):
        Rights().applied(entry._replace(kind="char"))


def test_what_is_no_tar_is_told() -> None:
    with pytest.raises(ContainerError, match="not a tar"):
        list(read_items(io.BytesIO(b"no tar at all")))
    assert list(read_items(io.BytesIO())) == []


def test_what_changed_is_told_as_docker_does(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("lower/etc", "lower/srv", "upper/etc", "upper/new"):
        (tmp_path / path).mkdir(parents=True)
    for path in ("lower/etc/passwd", "upper/etc/passwd", "upper/new/file"):
        (tmp_path / path).write_text(path)
    assert told(diff_upper(upper), TreesBelow([lower])) == [
        ("C", "/etc"),
        ("C", "/etc/passwd"),
        ("A", "/new"),
        ("A", "/new/file"),
    ]
    assert size_of_files(upper) == len("upper/etc/passwd" + "upper/new/file")
    sink = io.BytesIO()
    export_tar([lower, upper], sink, changing=True)
    sink.seek(0)
    found = {item.entry.path for item in read_items(cast(BinaryIO, sink))}
    assert found == {"etc", "etc/passwd", "srv", "new", "new/file"}


def test_changes_of_a_configuration() -> None:
    config = RunConfig(env=("A=1",), cmd=("old",), entrypoint=("run",), on_build=("RUN x",))
    platform = Platform.local()
    changed = changed_config(config, ("ENV B=2", 'CMD ["new"]', "ONBUILD RUN y", "EXPOSE 80"), platform)
    assert changed.env == ("A=1", "B=2")
    assert (changed.cmd, changed.entrypoint) == (("new",), ("run",))
    assert changed.on_build == ("RUN x", "RUN y")
    assert changed.exposed_ports == ("80/tcp",)
    assert changed_config(config, ('ENTRYPOINT ["other"]',), platform).cmd is None
    assert changed_config(config, (), platform) is config
    for change in ("RUN x", "", "FROM y"):
        with pytest.raises(UsageError, match="is not a valid change command"):
            changed_config(config, (change,), platform)
    with pytest.raises(UsageError, match="--change"):
        changed_config(config, ("EXPOSE many",), platform)

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.builder.layer.disk.directories import MAX_OPEN, Directories
from tiffin.cache.foundation.files import remove_tree


def test_links_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").touch()
    tree = tmp_path / "tree"
    (tree / "real").mkdir(parents=True)
    (tree / "dir").symlink_to(tmp_path / "out")
    (tree / "real/file").symlink_to(tmp_path / "out/file")
    with Directories(tree) as directories:
        for path in ("dir", "dir/x"):
            with pytest.raises(OSError):
                directories.descriptor(path)
        for path in ("dir/file", "real/file"):
            with pytest.raises(OSError):
                directories.open(path)


def test_fifo_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with Directories(tmp_path) as directories:
        os.close(directories.open("fifo"))


def test_descriptor_stays_valid_while_another_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "deep" / "/".join(["d"] * 100)).mkdir(parents=True)
    for number in range(2 * MAX_OPEN):
        (tmp_path / f"n{number}").mkdir()
    with Directories(tmp_path) as directories:
        oldest = os.fstat(directories.descriptor("n0")).st_ino
        for number in range(1, MAX_OPEN):
            directories.descriptor(f"n{number}")
        fd = directories.descriptor("n0")
        directories.descriptor("deep/" + "/".join(["d"] * 100))
        assert os.fstat(fd).st_ino == oldest, "a descriptor in use was closed"


def test_descriptors_are_closed_with_their_owner(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * 40)).mkdir(parents=True)
    before = sorted(os.listdir("/proc/self/fd"))
    directories = Directories(tmp_path)
    directories.descriptor("/".join(["d"] * 40))
    with pytest.raises(FileNotFoundError):
        directories.descriptor("d/d/nowhere/x")
    directories.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_trees_with_links_to_directories_are_removed(tmp_path: Path) -> None:
    (tmp_path / "out/kept").mkdir(parents=True)
    (tmp_path / "tree/a/b").mkdir(parents=True)
    for place in ("tree", "tree/a", "tree/a/b"):
        (tmp_path / place / "link").symlink_to(tmp_path / "out")
    remove_tree(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (tmp_path / "out/kept").is_dir()

"""The merged view of unpacked layers is that of overlayfs, and never leaves the root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tiffin.builder.containers.rootfs import MAX_SMALL_FILE_BYTES, RootView
from tiffin.builder.errors import ImageError


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for tree in (lower, upper):
        (tree / "etc").mkdir(parents=True)
    (lower / "etc/passwd").write_text("lower")
    (lower / "etc/group").write_text("lower")
    return lower, upper


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def test_upper_layer_wins(trees: tuple[Path, Path]) -> None:
    (trees[1] / "etc/passwd").write_text("upper")
    view = RootView(trees)
    assert view.read_file("etc/passwd") == b"upper"
    assert view.read_file("/etc/group") == b"lower"
    assert view.read_file("etc/none") is None
    assert view.read_file("etc") is None


def test_whiteout_hides_the_lower_file(trees: tuple[Path, Path]) -> None:
    whiteout(trees[1] / "etc/passwd")
    assert RootView(trees).read_file("etc/passwd") is None


def test_whiteout_of_a_directory_hides_all_below(trees: tuple[Path, Path]) -> None:
    (trees[1] / "etc").rmdir()
    whiteout(trees[1] / "etc")
    assert RootView(trees).read_file("etc/passwd") is None


def test_file_over_a_directory_hides_it(trees: tuple[Path, Path]) -> None:
    (trees[1] / "etc").rmdir()
    (trees[1] / "etc").write_text("a file")
    view = RootView(trees)
    assert view.read_file("etc") == b"a file"
    assert view.read_file("etc/passwd") is None


def test_opaque_directory_hides_lower_ones(trees: tuple[Path, Path]) -> None:
    try:
        os.setxattr(trees[1] / "etc", "user.overlay.opaque", b"y")
    except OSError:
        pytest.skip("the file system of tmp_path has no user attributes")
    view = RootView(trees)
    assert view.read_file("etc/passwd") is None
    assert list(view.children("etc")) == []


def test_children_are_merged(trees: tuple[Path, Path]) -> None:
    whiteout(trees[1] / "etc/group")
    (trees[1] / "etc/shadow").write_text("")
    assert list(RootView(trees).children("etc")) == ["passwd", "shadow"]


@pytest.mark.parametrize("text", ["../../../../../../etc/shadow", "/../../etc/shadow", "/etc/shadow"])
def test_links_stay_inside_the_root(text: str, trees: tuple[Path, Path]) -> None:
    """T7: reading users never follows a link of the image onto this machine."""
    (trees[0] / "etc/passwd").unlink()
    (trees[0] / "etc/passwd").symlink_to(text)
    view = RootView(trees)
    assert view.resolve("etc/passwd") == "etc/shadow"
    assert view.read_file("etc/passwd") is None
    (trees[1] / "etc/shadow").write_text("inside")
    assert view.read_file("etc/passwd") == b"inside"


def test_link_of_a_parent_is_followed_inside(trees: tuple[Path, Path]) -> None:
    (trees[1] / "conf").symlink_to("/etc")
    view = RootView(trees)
    assert view.resolve("conf/new/x") == "etc/new/x"
    assert view.read_file("conf/passwd") == b"lower"


def test_loop_of_links_is_refused(trees: tuple[Path, Path]) -> None:
    (trees[1] / "loop").symlink_to("loop")
    with pytest.raises(ImageError, match="too many levels"):
        RootView(trees).resolve("loop")


def test_fifo_is_not_opened(trees: tuple[Path, Path]) -> None:
    (trees[0] / "etc/passwd").unlink()
    os.mkfifo(trees[0] / "etc/passwd")
    assert RootView(trees).read_file("etc/passwd") is None


def test_huge_file_is_not_read(trees: tuple[Path, Path]) -> None:
    with (trees[0] / "etc/passwd").open("wb") as stream:
        stream.truncate(MAX_SMALL_FILE_BYTES + 1)
    assert RootView(trees).read_file("etc/passwd") is None


def test_copy_out_merges_and_keeps_metadata(trees: tuple[Path, Path], tmp_path: Path) -> None:
    lower, upper = trees
    (lower / "etc/sub").mkdir(mode=0o750)
    (lower / "etc/sub/file").write_bytes(b"x" * 100_000)
    (lower / "etc/sub/file").chmod(0o4711)
    os.utime(lower / "etc/sub/file", ns=(1, 1_700_000_000_123_456_789))
    (lower / "etc/link").symlink_to("/outside")
    whiteout(upper / "etc/group")
    os.utime(upper / "etc", ns=(1, 1_600_000_000_000_000_001))
    target = tmp_path / "copy"
    RootView(trees).copy_out("etc", target)
    assert sorted(item.name for item in target.iterdir()) == ["link", "passwd", "sub"]
    assert os.readlink(target / "link") == "/outside"
    st = (target / "sub/file").stat()
    assert (st.st_size, stat.S_IMODE(st.st_mode), st.st_mtime_ns) == (100_000, 0o4711, 1_700_000_000_123_456_789)
    assert stat.S_IMODE((target / "sub").stat().st_mode) == 0o750
    assert target.stat().st_mtime_ns == 1_600_000_000_000_000_001

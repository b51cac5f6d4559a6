"""A watch tells of every change that counts, however it is made, and of nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inotify_simple import INotify, flags

from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.sources import watch as watch_module
from tiffin.builder.sources.watch import FileWatch, WatchedDirectory

RULES = IgnoreRules.parse("*.log\ncache\nmodules\n!modules/kept\n", ".dockerignore")
MOMENT = 0.1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("sub/deep", "cache/x", "modules/kept", "modules/other"):
        (root / name).mkdir(parents=True)
    (root / "file").write_text("1")
    (root / "sub/deep/leaf").write_text("1")
    return root


@pytest.fixture
def watch(root: Path) -> Iterator[FileWatch]:
    with FileWatch() as watch:
        watch.begin([WatchedDirectory(root=root, rules=RULES, left_out=frozenset({root / "out"}))], [])
        yield watch


def save_as_editors_do(root: Path) -> None:
    (root / "file.new").write_text("2")
    (root / "file.new").rename(root / "file")


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda root: (root / "file").write_text("2"), "file"),
        (lambda root: (root / "file").unlink(), "file"),
        (lambda root: (root / "file").chmod(0o600), "file"),
        (lambda root: os.utime(root / "file", (1, 1)), "file"),
        (lambda root: (root / "new").touch(), "new"),
        (lambda root: (root / "link").symlink_to("nowhere"), "link"),
        (lambda root: (root / "file").rename(root / "sub/file"), "sub/file"),
        (save_as_editors_do, "file"),
        (lambda root: (root / "sub/deep/leaf").write_text("2"), "sub/deep/leaf"),
        (lambda root: (root / "sub").rename(root / "moved"), "moved"),
        (lambda root: shutil.rmtree(root / "sub"), "sub"),
        (lambda root: (root / "sub/deep").chmod(0o700), "sub/deep"),
        (lambda root: (root / "modules/kept/x").touch(), "modules/kept/x"),
        (lambda root: root.chmod(0o700), ""),
    ],
)
def test_what_is_told(watch: FileWatch, root: Path, edit: Callable[[Path], object], path: str) -> None:
    edit(root)
    assert path in (watch.wait(5) or ())


@pytest.mark.parametrize(
    "edit",
    [
        lambda root: (root / "file").read_text(),
        lambda root: list(root.rglob("*")),
        lambda root: (root / "x.log").touch(),
        lambda root: (root / "sub/../y.log").write_text("1"),
        lambda root: (root / "cache/x/y").touch(),
        lambda root: (root / "modules/other/x").touch(),
        lambda root: (root / "out").touch(),
        lambda root: (root.parent / "beside").touch(),
    ],
)
def test_what_does_not_count(watch: FileWatch, root: Path, edit: Callable[[Path], object]) -> None:
    edit(root)
    assert watch.wait(MOMENT) is None


def test_new_and_moved_directories_are_followed(watch: FileWatch, root: Path) -> None:
    (root / "new/er").mkdir(parents=True)
    assert watch.wait(5)
    (root / "new/er/file").touch()
    assert watch.wait(5) == ["new/er/file"]
    (root / "new").rename(root / "sub/old")
    assert watch.wait(5)
    (root / "sub/old/er/file").write_text("2")
    assert watch.wait(5) == ["sub/old/er/file"]
    (root / "sub/old").rename(root.parent / "outside")
    assert watch.wait(5)
    (root.parent / "outside/er/file").write_text("3")
    assert watch.wait(MOMENT) is None


def test_what_was_before_does_not_count_and_what_comes_after_does(watch: FileWatch, root: Path) -> None:
    directory = WatchedDirectory(root=root)
    (root / "file").write_text("2")
    (root / "made").mkdir()
    watch.begin([directory], [])
    assert watch.wait(MOMENT) is None
    (root / "made/file").touch()
    (root / "x.log").touch()
    assert watch.wait(5) == ["made/file", "x.log"]


def test_the_directory_itself_goes_and_comes_back(watch: FileWatch, root: Path) -> None:
    root.rename(root.parent / "aside")
    assert watch.wait(5) is not None
    (root / "sub").mkdir(parents=True)
    assert watch.wait(5) is not None
    (root / "sub/file").touch()
    assert watch.wait(5) == ["sub/file"]


def test_single_files_by_their_names_and_what_they_lead_to(tmp_path: Path) -> None:
    target, link, missing = tmp_path / "a/target", tmp_path / "b/link", tmp_path / "c/missing"
    for path in (target, link, missing):
        path.parent.mkdir()
    target.write_text("1")
    link.symlink_to(target)
    with FileWatch() as watch:
        watch.begin([], [link, missing])
        target.write_text("2")
        assert watch.wait(5) == ["target"]
        missing.touch()
        assert watch.wait(5) == ["missing"]
        (tmp_path / "a/other").touch()
        assert watch.wait(MOMENT) is None
        (tmp_path / "a/other").rename(target)
        assert watch.wait(5) == ["target"]
        link.unlink()
        link.symlink_to(tmp_path / "c/new")
        assert watch.wait(5) == ["link"]
        (tmp_path / "c/new").touch()
        assert watch.wait(5) == ["new"]


def test_what_the_kernel_does_not_tell_is_found_by_looking(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0.01)
    (root / "file").unlink()
    outside = tmp_path / "outside"
    outside.write_text("1")
    os.link(outside, root / "file")
    with FileWatch() as watch:
        watch.begin([WatchedDirectory(root=root)], [])
        assert watch.wait(MOMENT) is None
        outside.write_text("22")
        assert watch.wait(5) == ()


@pytest.mark.parametrize("is_full", [True, False])
def test_where_the_kernel_tells_little_one_looks_often(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    """No watch is left to the user; or other machines change the files."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(watch_module, "FAR_LOOK_SECONDS", 0.01)
    if is_full:
        monkeypatch.setattr(INotify, "add_watch", refuse)
    else:
        mounts = root.parent / "mountinfo"
        device = root.stat().st_dev
        mounts.write_text(f"22 1 {os.major(device)}:{os.minor(device)} / / rw shared:1 - nfs4 server:/ rw\n")
        monkeypatch.setattr(watch_module, "MOUNTS", mounts)
        monkeypatch.setattr(watch_module, "MASK", flags.ONLYDIR | flags.MOVE_SELF)
    with FileWatch() as watch:
        watch.begin([WatchedDirectory(root=root)], [root / "x.log"])
        (root / "sub/deep/leaf").write_text("22")
        assert watch.wait(5) == ()


def test_a_queue_that_overflowed_counts_as_a_change(watch: FileWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [[(-1, flags.Q_OVERFLOW, 0, "")], []]
    monkeypatch.setattr(watch, "_events", lambda _: told.pop(0))
    assert watch.wait(5) == [""]


@pytest.mark.parametrize("has_instance", [True, False])
def test_a_user_without_watches_is_told_once(root: Path, monkeypatch: pytest.MonkeyPatch, has_instance: bool) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    if has_instance:
        monkeypatch.setattr(INotify, "add_watch", refuse)
    else:
        monkeypatch.setattr(watch_module, "INotify", refuse)
    monkeypatch.setattr(watch_module, "FAR_LOOK_SECONDS", 0.01)
    told: list[str] = []
    with FileWatch(told.append) as watch:
        for text in ("22", "333"):
            watch.begin([WatchedDirectory(root=root)], [root / "x.log"])
            (root / "sub/deep/leaf").write_text(text)
            assert watch.wait(5) == ()
        watch.begin([WatchedDirectory(root=root)], [])
        assert watch.wait(MOMENT) is None
    limit = "max_user_watches" if has_instance else "max_user_instances"
    assert len(told) == 1 and limit in told[0] and "every second" in told[0]

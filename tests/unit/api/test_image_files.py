"""Files of an image, read through its tables of contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.minimal_image import write_image
from tiffin.builder.api.image_files import ImageFiles, open_image
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError

LOWER: dict[str, bytes | str | None] = {
    "etc/motd": "old\n", "etc/gone": "x", "lib": "-> usr/lib", "usr/lib/a": "A", "abs": "-> /etc/motd",
    "up": "-> ../../etc/motd",
}  # fmt: skip
UPPER: dict[str, bytes | str | None] = {"etc/motd": "new\n", "etc/.wh.gone": b"", "usr/lib/b": "B"}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ImageFiles]:
    session = Session(tmp_path / "state")
    write_image(session.state.root, LOWER, UPPER, name="docker.io/library/app:1")
    with open_image("app:1", session) as opened:
        yield opened


def test_the_upper_layer_counts(files: ImageFiles) -> None:
    assert files.open("/etc/motd").read() == b"new\n"
    assert [entry.path for entry in files.list("/etc")] == ["etc/motd"]
    with pytest.raises(ImageError, match="app:1 has no /etc/gone"):
        files.stat("/etc/gone")


def test_links_stay_inside(files: ImageFiles) -> None:
    assert [entry.path for entry in files.list("/lib")] == ["usr/lib/a", "usr/lib/b"]
    for name in ("/abs", "up", "/lib/../../etc/motd"):
        assert files.open(name).read() == b"new\n", name


def test_the_root_can_be_listed(files: ImageFiles) -> None:
    assert {"etc", "lib", "usr"} <= {entry.path for entry in files.list()}


def test_kinds_are_told_apart(files: ImageFiles) -> None:
    assert files.stat("/usr").kind == "dir" and files.stat("/etc/motd").size == 4
    with pytest.raises(ImageError, match="not a directory"):
        files.list("/etc/motd")
    with pytest.raises(ImageError, match="not a regular file"):
        files.open("/usr")


def test_an_image_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="missing"), open_image("missing", Session(tmp_path / "state")):
        pass

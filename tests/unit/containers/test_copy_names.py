"""Where a copy goes, by docker's table of destinations."""

from __future__ import annotations

import pytest

from tiffin.builder.containers.files.names import (
    Place,
    Target,
    absolute,
    followed,
    inside,
    split_argument,
    split_entry,
    target_of,
)
from tiffin.builder.errors import ContainerError

FILE, DIRECTORY, CONTENT = (
    Place(path="/s/f"),
    Place(path="/s/d", is_directory=True),
    Place(path="/s/d/.", is_directory=True),
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web:/srv", ("web", "/srv")),
        ("web:", ("web", "")),
        ("web:a:b", ("web", "a:b")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("plain", ("", "plain")),
        (":/x", ("", "/x")),
        ("-", ("", "-")),
    ],
)
def test_arguments(text: str, parts: tuple[str, str]) -> None:
    assert split_argument(text) == parts


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/b/.", ("/a/b", ".")),
        ("/a", ("/", "a")),
        ("/", ("/", "/")),
        ("/.", ("/", ".")),
        ("a", (".", "a")),
        (".", (".", ".")),
    ],
)
def test_entries(path: str, parts: tuple[str, str]) -> None:
    assert split_entry(path) == parts


@pytest.mark.parametrize(
    ("asked", "path"),
    [("a", "/w/a"), ("a/", "/w/a/"), ("./a/.", "/w/a/."), ("..", "/"), (".", "/w/."), ("/x//y/../z/", "/x/z/")],
)
def test_absolute_paths_keep_their_end(asked: str, path: str) -> None:
    assert absolute(asked, "/w") == path


def test_paths_of_containers_begin_at_the_root() -> None:
    assert (inside("tmp/../etc/"), inside("../.."), inside("/x/.")) == ("/etc/", "/", "/x/.")


def test_a_link_keeps_the_name_it_was_asked_by() -> None:
    assert followed("/a/link", "/b/target") == Place(path="/b/target", name="link")
    assert followed("/a/link/.", "/b/target") == Place(path="/b/target/.")


@pytest.mark.parametrize(
    ("source", "destination", "target"),
    [
        (FILE, Place(path="/d/new", exists=False), Target(directory="/d", name="new")),
        (FILE, Place(path="/d/old"), Target(directory="/d", name="old")),
        (FILE, Place(path="/d", is_directory=True), Target(directory="/d", name="f")),
        (DIRECTORY, Place(path="/d/new", exists=False), Target(directory="/d", name="new")),
        (DIRECTORY, Place(path="/d/new/", exists=False), Target(directory="/d", name="new")),
        (CONTENT, Place(path="/d/new", exists=False), Target(directory="/d", name="new")),
        (DIRECTORY, Place(path="/d", is_directory=True), Target(directory="/d", name="d")),
        (CONTENT, Place(path="/d", is_directory=True), Target(directory="/d", name="")),
        (Place(path="/", is_directory=True), Place(path="/d", is_directory=True), Target(directory="/d", name="")),
        (followed("/a/l", "/b/t"), Place(path="/d", is_directory=True), Target(directory="/d", name="l")),
    ],
)
def test_destinations(source: Place, destination: Place, target: Target) -> None:
    assert target_of(source, destination) == target


@pytest.mark.parametrize(
    ("source", "destination", "text"),
    [
        (FILE, Place(path="/d/new/", exists=False), "no such directory"),
        (DIRECTORY, Place(path="/d/old"), "cannot copy directory"),
        (CONTENT, Place(path="/d/old"), "cannot copy directory"),
    ],
)
def test_what_cannot_be(source: Place, destination: Place, text: str) -> None:
    with pytest.raises(ContainerError, match=text):
        target_of(source, destination)

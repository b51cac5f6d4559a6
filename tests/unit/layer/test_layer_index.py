from __future__ import annotations

import pytest

from tests.unit.layer.layer_samples import file, make, plain, tar_of
from tiffin.builder.errors import CorruptError, ImageError
from tiffin.builder.layer.change import Change, regrouped
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree, new_entry, sort_key

ODD = [
    Entry("bin", "symlink", 0o777, 0, 0, 0, 1, "usr/bin", (), 0, 0, "", -1, False),
    Entry("dev/null", "char", 0o666, 0, 0, 0, 2, "", (), 1, 3, "", -1, False),
    Entry("etc", "dir", 0o755, 0, 0, 0, -5, "", (), 0, 0, "", -1, True),
    Entry("etc/\udcff\u00e9", "file", 0o4755, 70000, 2**31, 3, 10**18 + 1, "", (), 0, 0, "ab" * 32, 512, False),
    Entry("etc/x", "file", 0, 0, 0, 0, 0, "", (("user.\u00e9", b"\0\xff"), ("user.y", b"")), 0, 0, "cd" * 32, 0, False),
    Entry("etc/y", "hardlink", 0, 0, 0, 0, 0, "etc/x", (), 0, 0, "", -1, False),
    Entry("etc/z", "whiteout", 0, 0, 0, 0, 0, "", (), 0, 0, "", -1, False),
]


def test_index_survives_encoding() -> None:
    assert LayerIndex.decode(LayerIndex(ODD).encode()).entries == tuple(ODD)
    assert LayerIndex.decode(LayerIndex([]).encode()).entries == ()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"version":99}', LayerIndex(ODD).encode().replace(b"abab", b"ab", 1)]
)
def test_damaged_index_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError, match="index is damaged"):
        LayerIndex.decode(data)


def test_children_sort_before_siblings_with_lower_characters() -> None:
    assert sorted(["a-b", "a/b", "a", "a.d", "a/b/c"], key=sort_key) == ["a", "a/b", "a/b/c", "a-b", "a.d"]


def test_first_name_of_a_group_holds_the_content() -> None:
    entries = [
        new_entry("z", "file", 0o600)._replace(size=3, digest="d", offset=512),
        new_entry("m", "hardlink", 0)._replace(link="z"),
        new_entry("a", "hardlink", 0)._replace(link="m"),
    ]
    result, moved = regrouped(entries)
    assert [(entry.path, entry.kind, entry.link, entry.size, entry.mode) for entry in result] == [
        ("a", "file", "", 3, 0o600),
        ("m", "hardlink", "a", 0, 0o600),
        ("z", "hardlink", "a", 0, 0o600),
    ]
    assert (result[0].digest, result[0].offset, moved) == ("d", 512, {"a": "z"})


def tree(*layers: list[Change]) -> MergedTree:
    return MergedTree([LayerIndex(plain(tar_of(layer)[1].entries)) for layer in layers])


BASE = [
    make("bin", "symlink", link="usr/bin"),
    make("etc", "dir"),
    file("etc/a", b"1"),
    file("etc/b", b"1"),
    make("usr", "dir"),
    make("usr/bin", "dir"),
    file("usr/bin/sh", b"1"),
    make("usr/bin/dash", "hardlink", link="usr/bin/sh"),
]


def names(view: MergedTree, path: str = ".") -> list[str]:
    return [item.entry.path for item in view.walk(path)]


def test_upper_file_hides_lower() -> None:
    view = tree(BASE, [make("etc", "dir", 0o700), file("etc/a", b"22")])
    found = view.lookup("etc/a")
    assert found and (found.layer, found.entry.size) == (1, 2)
    found = view.lookup("etc/b")
    assert found and found.layer == 0


def test_whiteout_hides_lower_directory() -> None:
    view = tree(BASE, [make("etc", "whiteout")])
    assert view.lookup("etc") is None
    assert view.lookup("etc/a") is None
    assert view.children("etc") == []
    assert "etc" not in names(view)


def test_opaque_directory_hides_lower_children() -> None:
    view = tree(BASE, [make("etc", "dir", opaque=True), file("etc/new")])
    assert [item.entry.path for item in view.children("etc")] == ["etc/new"]
    assert view.lookup("etc/a") is None


def test_directory_replaced_by_file_and_back() -> None:
    view = tree(BASE, [file("etc")], [make("etc", "dir", opaque=True), file("etc/c")])
    assert [item.entry.path for item in view.children("etc")] == ["etc/c"]
    view = tree(BASE, [file("etc")])
    assert view.lookup("etc/a") is None
    assert view.children("etc") == []


def test_symlink_in_upper_hides_lower_directory() -> None:
    view = tree(BASE, [make("etc", "symlink", link="usr")])
    assert view.lookup("etc/a") is None
    assert view.resolve("etc/bin/sh") == "usr/bin/sh"


def test_deleted_and_made_again() -> None:
    view = tree(BASE, [make("etc", "dir"), make("etc/a", "whiteout")], [make("etc", "dir"), file("etc/a", b"333")])
    found = view.lookup("etc/a")
    assert found and found.entry.size == 3


def test_walk_is_sorted_and_complete() -> None:
    assert names(tree(BASE)) == ["bin", "etc", "etc/a", "etc/b", "usr", "usr/bin", "usr/bin/dash", "usr/bin/sh"]
    assert names(tree(BASE), "usr") == ["usr/bin", "usr/bin/dash", "usr/bin/sh"]


def test_hardlink_target_is_of_its_own_layer() -> None:
    view = tree(BASE, [make("usr", "dir"), make("usr/bin", "dir"), file("usr/bin/dash", b"new")])
    link = view.lookup("usr/bin/sh")
    assert link and link.entry.kind == "hardlink"
    target = view.target(link)
    assert (target.layer, target.entry.path, target.entry.size) == (0, "usr/bin/dash", 1)


@pytest.mark.parametrize(
    ("link", "path", "expected"),
    [
        ("usr/bin", "l/sh", "usr/bin/sh"),
        ("/usr/bin", "l/sh", "usr/bin/sh"),
        ("../../../usr/bin", "l/sh", "usr/bin/sh"),
        ("/proc/self/root", "l/x", "proc/self/root/x"),
        ("nowhere", "l/x/y", "nowhere/x/y"),
        (".", "l/l/usr", "usr"),
        ("usr/bin", "l/../lib", "usr/lib"),
    ],
)
def test_links_resolve_inside_the_root(link: str, path: str, expected: str) -> None:
    assert tree([*BASE, make("l", "symlink", link=link)]).resolve(path) == expected


def test_last_component_is_left_alone_when_asked() -> None:
    assert tree(BASE).resolve("bin", follow_last=False) == "bin"
    assert tree(BASE).resolve("bin") == "usr/bin"


def test_loop_of_links_is_an_error() -> None:
    view = tree([make("a", "symlink", link="b"), make("b", "symlink", link="a/x")])
    with pytest.raises(ImageError, match="too many levels"):
        view.resolve("a/c")

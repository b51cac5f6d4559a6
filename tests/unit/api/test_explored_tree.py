"""The files of an image up to a layer, and what that layer did."""

from __future__ import annotations

import pytest

from tests.support.random_layers import RandomLayers
from tiffin.builder.api.explore.contents import BINARY_BYTES, head_of
from tiffin.builder.api.explore.tree import REMOVED, SAME, FileNode, find, follow, tree_of
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree, new_entry


def file(path: str, size: int = 1, letter: str = "a") -> Entry:
    return new_entry(path, "file", 0o644)._replace(size=size, digest=letter * 64)


def folder(path: str, *, opaque: bool = False) -> Entry:
    return new_entry(path, "dir", 0o755)._replace(opaque=opaque)


def gone(path: str) -> Entry:
    return new_entry(path, "whiteout", 0)


def marked(*layers: list[Entry], implied: tuple[str, ...] = ()) -> dict[str, str]:
    tables = [LayerIndex(sorted(layer), implied if number else ()) for number, layer in enumerate(layers)]
    nodes = tree_of(tables).walk()
    return {node.path: " ".join((node.mark, *node.differs)) for node in nodes if node.mark != SAME}


LOWER = [folder("d"), file("d/a", 10), file("d/b", 20), file("e", 100)]


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([], {}),
        ([file("new/x")], {"/new": "added", "/new/x": "added"}),
        ([file("d/a", 11, "b")], {"/d/a": "changed content"}),
        ([file("d/a", 10)], {"/d/a": "changed the same again"}),
        ([gone("d/a")], {"/d/a": "removed"}),
        ([gone("d")], {"/d": "removed", "/d/a": "removed", "/d/b": "removed"}),
        ([folder("d", opaque=True)], {"/d/a": "removed", "/d/b": "removed"}),
        ([folder("d", opaque=True), file("d/a", 10)], {"/d/a": "changed the same again", "/d/b": "removed"}),
        ([file("d", 5)], {"/d": "changed kind", "/d/a": "removed", "/d/b": "removed"}),
        ([file("e/x")], {"/e": "changed kind", "/e/x": "added"}),
        ([folder("d")._replace(mode=0o700)], {"/d": "changed mode"}),
        ([gone("nothing"), gone("d/nothing")], {}),
        ([folder(".", opaque=True)], {"/d": "removed", "/d/a": "removed", "/d/b": "removed", "/e": "removed"}),
    ],
)
def test_what_the_last_layer_does(upper: list[Entry], expected: dict[str, str]) -> None:
    assert marked(LOWER, upper) == expected
    # the same below another layer: what was removed is not there, and nothing is marked
    nodes = {node.path: node for node in tree_of([LayerIndex(LOWER), LayerIndex(sorted(upper)), LayerIndex([])]).walk()}
    assert all(node.mark == SAME for node in nodes.values())
    assert not [path for path, told in expected.items() if told == REMOVED and path in nodes]


def test_directories_that_a_layer_does_not_tell_of() -> None:
    private = folder("d")._replace(mode=0o700)
    assert marked([private], [folder("d"), file("d/x")], implied=("d",)) == {"/d/x": "added"}


def test_sums() -> None:
    root = tree_of([LayerIndex(LOWER), LayerIndex([gone("d/a"), file("f", 7)])])
    assert (root.size, root.touched) == (127, 2)
    (d,) = [node for node in root.walk() if node.path == "/d"]
    assert (d.size, d.touched, d.children["a"].size) == (20, 1, 10)
    removed = tree_of([LayerIndex(LOWER), LayerIndex([gone("d")])])
    assert removed.children["d"].size == 30 and removed.size == 100


@pytest.mark.parametrize("seed", range(40))
def test_what_is_there_is_what_layers_show(seed: int) -> None:
    """Beside another way to look at the same layers."""
    layers = RandomLayers(seed)
    base = layers.base()
    tables = [LayerIndex(sorted(change.entry for change in base))]
    for implied in (False, True):
        over = layers.over(base, implied=implied)
        marks = frozenset(change.entry.path for change in over if change.implied)
        tables_now = [*tables, LayerIndex(sorted(change.entry for change in over), marks)]
        shown = {item.entry.path: (item.entry, item.layer + 1) for item in MergedTree(tables_now).walk()}
        nodes = [node for node in tree_of(tables_now).walk() if node.parent is not None and node.mark != REMOVED]
        assert {node.entry.path for node in nodes} == set(shown)
        for node in nodes:
            entry, number = shown[node.entry.path]
            assert node.entry._replace(opaque=False) == entry._replace(opaque=False)
            assert node.entry.kind == "dir" or node.layer == number


def test_deep_paths() -> None:
    deep = "/".join(["d"] * 3000)
    root = tree_of([LayerIndex([file(f"{deep}/f", 3)])])
    assert root.size == 3 and sum(1 for _ in root.walk()) == 3002


def test_links_are_followed_inside() -> None:
    def link(path: str, target: str) -> Entry:
        return new_entry(path, "symlink", 0o777)._replace(link=target)

    root = tree_of([LayerIndex([*LOWER, link("up", "../../d/a"), link("dd", "/d"), link("l", "dd/b"), link("o", "o")])])

    def target(path: str) -> str | None:
        node = find(root, path)
        assert isinstance(node, FileNode)
        found = follow(root, node)
        return found.path if found is not None else None

    assert [target(path) for path in ("up", "dd", "l", "o")] == ["/d/a", "/d", "/d/b", None]


def test_beginnings_of_files() -> None:
    assert head_of(b"one\ntwo\r\n", 9).lines == ("one", "two\r")
    assert head_of(b"", 0).lines == ()
    cut = head_of("ab\u20ac".encode()[:4], 100)
    assert cut.is_text and cut.lines == ("ab",) and cut.note == "the first 4 of 100 bytes"
    broken = head_of(b"ab\xe2\x82", 4)
    assert not broken.is_text and broken.lines == ("00000000  61 62 e2 82                                      ab..",)
    assert not head_of(b"latin \xe9 one", 100).is_text
    binary = head_of(bytes(range(256)) * 100, 25_600)
    assert len(binary.lines) == BINARY_BYTES // 16 and binary.note == "the first 4096 of 25600 bytes"

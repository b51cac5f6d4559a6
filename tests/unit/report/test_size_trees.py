"""Layers as trees of sizes, and what of them is hidden."""

from __future__ import annotations

import pytest

from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.report.layers import MAX_NODES, SizeNode, pruned, size_trees


def file(path: str, size: int) -> Entry:
    return new_entry(path, "file", 0o644)._replace(size=size)


def folder(path: str, *, opaque: bool = False) -> Entry:
    return new_entry(path, "dir", 0o755)._replace(opaque=opaque)


@pytest.mark.parametrize(
    ("above", "wasted"),
    [
        ([], 0),
        ([file("d/a", 1)], 10),
        ([new_entry("d/a", "whiteout", 0)], 10),
        ([new_entry("d", "whiteout", 0)], 30),
        ([folder("d")], 0),
        ([folder("d", opaque=True)], 30),
        ([new_entry("d", "symlink", 0o777)], 30),
        ([file("d", 5)], 30),
        ([file("d/ab", 5)], 0),
        ([folder(".", opaque=True)], 130),
    ],
)
def test_what_a_later_layer_hides_is_wasted(above: list[Entry], wasted: int) -> None:
    lower = LayerIndex([folder("d"), file("d/a", 10), file("d/b", 20), file("e", 100)])
    trees = size_trees([lower, LayerIndex(above)])
    assert (trees[0].size, trees[0].wasted, trees[0].files) == (130, wasted, 3)
    assert trees[1].wasted == 0


def test_two_layers_later_counts_too() -> None:
    trees = size_trees([LayerIndex([file("a", 7)]), LayerIndex([file("b", 3)]), LayerIndex([file("a", 9)])])
    assert [tree.wasted for tree in trees] == [7, 0, 0]


@pytest.mark.parametrize(
    ("gone", "wasted"), [(["d/a"], 0), (["link"], 0), (["d"], 0), (["d/a", "link"], 10), (["d", "link"], 10)]
)
def test_a_file_shows_under_its_other_name(gone: list[str], wasted: int) -> None:
    link = new_entry("link", "hardlink", 0o644)._replace(link="d/a")
    lower = LayerIndex([folder("d"), file("d/a", 10), link])
    trees = size_trees([lower, LayerIndex([new_entry(path, "whiteout", 0) for path in gone])])
    assert (trees[0].size, trees[0].wasted) == (10, wasted)


def test_directories_sum_up_what_is_in_them() -> None:
    (tree,) = size_trees([LayerIndex([file("a/b/c", 5), file("a/d", 6)])])
    assert (tree.children["a"].size, tree.children["a"].children["b"].size, tree.children["a"].files) == (11, 5, 2)


def test_small_things_are_counted_together() -> None:
    (tree,) = size_trees([LayerIndex([file("big", 1_000_000), *(file(f"small/{n}", 1) for n in range(50))])])
    (shown,) = pruned([tree])
    children = shown["children"]
    assert isinstance(children, list)
    assert [(child["name"], child["value"]) for child in children] == [("big", 1_000_000), ("50 smaller files", 50)]


@pytest.mark.thorough
def test_a_page_stays_small() -> None:
    trees = size_trees([LayerIndex([file(f"d{n % 97}/f{n}", 1000 + n) for n in range(20_000)])])

    def count(node: dict[str, object]) -> int:
        children = node.get("children", [])
        assert isinstance(children, list)
        return 1 + sum(map(count, children))

    assert sum(map(count, pruned(trees))) <= 2 * MAX_NODES
    assert sum(tree.size for tree in trees) == sum(node["value"] for node in pruned(trees))  # type: ignore[misc]


def test_an_empty_layer() -> None:
    assert pruned([SizeNode(name="/")]) == [{"name": "/", "value": 0, "wasted": 0, "files": 0}]

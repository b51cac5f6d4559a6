"""Parts of a layer: over whatever lies below they show what the layer shows, and a change moves few of them."""

from __future__ import annotations

import io
import random

import pytest

from tests.support.random_layers import NOT_UTF_8, ODD_NAMES, RandomLayers
from tests.unit.layer.layer_samples import file, make, tar_of
from tiffin.builder.layer.change import Change, ordered
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree
from tiffin.builder.layer.parts.cuts import Files, cut_layers
from tiffin.builder.layer.parts.tables import extra_layers, joined, part_tables
from tiffin.builder.layer.unpack import index_layer


def parts_of(table: LayerIndex, part_bytes: int, budget: int = 1000) -> list[LayerIndex]:
    files = Files(table)
    [cuts] = cut_layers([files], [extra_layers(table)], part_bytes, budget)
    return part_tables(table, files, cuts)


def shown(layers: list[LayerIndex]) -> dict[str, tuple[Entry, tuple[str, ...]]]:
    """What a stack of layers shows: each path as what it is, with all names of its file."""
    tree = MergedTree(layers)
    names: dict[tuple[int, str], list[str]] = {}
    found = {}
    for located in tree.walk():
        target = tree.target(located)
        names.setdefault((target.layer, target.entry.path), []).append(located.entry.path)
        found[located.entry.path] = target
    return {
        path: (
            target.entry._replace(path=path, offset=-1, opaque=False),
            tuple(sorted(names[target.layer, target.entry.path])) if target.entry.kind != "dir" else (),
        )
        for path, target in found.items()
    }


def packed(table: LayerIndex, changes: list[Change]) -> LayerIndex:
    """The table that a reader of a part's tar makes."""
    openers = {change.entry.path: change.open for change in ordered(changes)}
    entries = [Change(entry, openers.get(entry.path), entry.path in table.implied) for entry in table.entries]
    data, index = tar_of(entries)
    again = index_layer(io.BytesIO(data))
    assert [entry._replace(offset=-1) for entry in index.entries] == list(table.entries)
    assert again.implied == table.implied
    assert [e for e in again.entries if e.path not in table.implied] == [
        e for e in index.entries if e.path not in table.implied
    ]
    return again


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(40))
def test_parts_show_what_the_layer_shows(seed: int) -> None:
    layers = RandomLayers(seed, names=(*ODD_NAMES, NOT_UTF_8))
    below = layers.base()
    changes = layers.over(below, implied=seed % 3 == 0)
    base, whole = tar_of(below)[1], tar_of(changes)[1]
    parts = parts_of(whole, layers.random.choice([1000, 4000, 20_000]))
    made = [packed(part, changes) for part in parts]
    assert shown([base, *made]) == shown([base, whole])


@pytest.mark.parametrize("seed", range(10))
def test_parts_are_joined_to_the_layer(seed: int) -> None:
    layers = RandomLayers(seed)
    _, whole = tar_of(layers.over(layers.base(), implied=seed % 3 == 0))
    again = joined(parts_of(whole, 3000))
    assert [entry._replace(offset=-1) for entry in whole.entries] == list(again.entries)
    assert again.implied == whole.implied


def test_what_is_removed_comes_first_and_directories_last() -> None:
    _, whole = tar_of(
        [
            make("a", "dir", 0o700, mtime_ns=5),
            make("a/gone", "whiteout"),
            file("a/x", b"x" * 2000),
            make("a/empty", "dir", 0o1777),
            make("b", "dir", opaque=True, uid=7),
            file("b/y", b"y" * 2000),
            make("b/z", "hardlink", link="a/x"),
        ]
    )
    first, *middle, last = parts_of(whole, 2000)
    assert [(entry.path, entry.kind, entry.opaque) for entry in first.entries] == [
        ("a", "dir", False),
        ("a/gone", "whiteout", False),
        ("b", "dir", True),
    ]
    assert [[entry.path for entry in part.entries] for part in middle] == [["a", "a/x", "b", "b/z"], ["b", "b/y"]]
    plain = {(entry.mode, entry.uid, entry.mtime_ns) for part in (first, *middle) for entry in part.entries
             if entry.kind == "dir"}  # fmt: skip
    assert plain == {(0o755, 0, 0)}
    assert [(entry.path, entry.mode, entry.uid, entry.mtime_ns, entry.opaque) for entry in last.entries] == [
        ("a", 0o700, 0, 5, False),
        ("a/empty", 0o1777, 0, 0, False),
        ("b", 0o755, 7, 0, False),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_there_are_no_more_layers_than_there_may_be(seed: int) -> None:
    layers = RandomLayers(seed)
    tables = [tar_of(layers.base())[1] for _ in range(3)]
    files = [Files(table) for table in tables]
    more = [extra_layers(table) for table in tables]
    for budget in (0, 1, 2, 3, 7, 20):
        cuts = cut_layers(files, more, 1, budget)
        counts = [len(part_tables(*row)) if len(row[2]) > 2 else 1 for row in zip(tables, files, cuts, strict=True)]
        assert sum(counts) <= len(tables) + budget


def environment(seed: int) -> dict[str, bytes]:
    """Files of a hundred packages and more."""
    lots = random.Random(seed)
    return {
        f"opt/lib/site-packages/{name}{number}/{part}": lots.randbytes(lots.randint(100, 3000))
        for number in range(120)
        for name in [lots.choice(["num", "re", "py", "x", "a"])]
        for part in [f"m{count}.py" for count in range(lots.randint(1, 15))]
    }


def digests(files: dict[str, bytes]) -> dict[bytes, int]:
    folders = {"/".join(path.split("/")[:end]) for path in files for end in range(1, path.count("/") + 1)}
    changes = [file(path, data) for path, data in files.items()]
    _, whole = tar_of([*changes, *(make(path, "dir", mtime_ns=len(files)) for path in folders)])
    return {part.encode(): sum(entry.size for entry in part.entries) for part in parts_of(whole, 1 << 15, 60)}


@pytest.mark.thorough
@pytest.mark.parametrize("edit", ["content", "larger", "removed", "added", "everywhere in a package"])
def test_a_change_moves_few_bytes(edit: str) -> None:
    moved = []
    for seed in range(5):
        files = environment(seed)
        before = digests(files)
        lots = random.Random(seed)
        package = lots.choice(sorted(files)).rpartition("/")[0]
        inside = [path for path in files if path.startswith(f"{package}/")]
        if edit == "removed":
            for path in inside:
                del files[path]
        elif edit == "added":
            files |= {f"opt/lib/site-packages/newer/{number}.py": lots.randbytes(900) for number in range(6)}
        elif edit == "everywhere in a package":
            files |= {path: lots.randbytes(len(files[path])) for path in inside}
        else:
            files[inside[0]] = lots.randbytes(len(files[inside[0]]) * (1 if edit == "content" else 3))
        after = digests(files)
        moved.append(sum(size for part, size in after.items() if part not in before) / sum(after.values()))
    assert sorted(moved)[len(moved) // 2] < 0.04 and max(moved) < 0.15, moved

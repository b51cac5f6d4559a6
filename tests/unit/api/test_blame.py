"""Which layers did something to a path."""

from __future__ import annotations

import pytest

from tiffin.builder.api.steps.blame import ends_of_steps, touches
from tiffin.builder.api.steps.image_diff import file_differences
from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.oci.config import History, ImageConfig
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

FILE = new_entry("d/f", "file", 0o644)._replace(digest="a" * 64, size=1)
DIRECTORY = new_entry("d", "dir", 0o755)
GONE = new_entry("d/f", "whiteout", 0)


def seen(path: str, *layers: list[Entry], implied: tuple[str, ...] = ()) -> list[str]:
    tables = [LayerIndex(sorted(entries), implied) for entries in layers]
    return [f"{number} {' '.join((change, *differs))}" for number, change, _, differs in touches(tables, path)]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([[]], []),
        ([[DIRECTORY, FILE], []], ["0 added"]),
        ([[FILE], [FILE]], ["0 added"]),
        ([[FILE], [FILE._replace(digest="b" * 64, mode=0o600)]], ["0 added", "1 changed content mode"]),
        ([[FILE], [FILE._replace(uid=5), DIRECTORY]], ["0 added", "1 changed owner"]),
        ([[FILE], [FILE._replace(kind="symlink", link="x")]], ["0 added", "1 changed kind"]),
        ([[FILE], [GONE]], ["0 added", "1 removed"]),
        ([[FILE], [GONE], [GONE], [FILE]], ["0 added", "1 removed", "3 added"]),
        ([[GONE], [FILE]], ["1 added"]),
        ([[FILE], [new_entry("d", "whiteout", 0)]], ["0 added", "1 removed with /d"]),
        ([[FILE], [new_entry("d", "symlink", 0o777)]], ["0 added", "1 removed with /d"]),
        ([[FILE], [DIRECTORY._replace(opaque=True)]], ["0 added", "1 removed with /d"]),
        ([[FILE], [DIRECTORY._replace(opaque=True), FILE]], ["0 added", "1 replaced"]),
        ([[FILE], [DIRECTORY._replace(opaque=True), FILE._replace(mtime_ns=5)]], ["0 added", "1 replaced time"]),
    ],
)
def test_what_layers_do(layers: list[list[Entry]], expected: list[str]) -> None:
    assert seen("d/f", *layers) == expected


def test_directories_that_a_layer_does_not_tell_of() -> None:
    private = DIRECTORY._replace(mode=0o700)
    assert seen("d", [private], [DIRECTORY, FILE], implied=("d",)) == ["0 added"]
    assert seen("d", [], [DIRECTORY, FILE], implied=("d",)) == ["1 added"]
    assert seen(".", [new_entry(".", "dir", 0o755)], [new_entry(".", "dir", 0o700)]) == ["0 added", "1 changed mode"]


def test_two_trees_differ_by_path() -> None:
    old = {"d": DIRECTORY, "d/f": FILE, "gone": FILE, "late": FILE, "same": FILE}
    new = {"d": DIRECTORY._replace(mode=0o700), "d/f": FILE._replace(digest="b" * 64), "new": FILE, "same": FILE}
    new["late"] = FILE._replace(mtime_ns=7)
    rows = [f"{item.letter} {item.path} {item.differs}" for item in file_differences(old, new, times=False)]
    assert rows == ["C /d ('mode',)", "C /d/f ('content',)", "D /gone ()", "A /new ()"]
    (late,) = [item for item in file_differences(old, new, times=True) if item.path == "/late"]
    assert late.differs == ("time",)


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (["", "x", ""], (1, 2, 3)),
        (["", "x, split 1 of 2", "x, split 2 of 2"], (1, 3)),
        (["x, split 1 of 2", "x, split 2 of 2", "x, split 1 of 2", "x, split 2 of 2"], (2, 4)),
        (["x, split 1 of 3", "x, split 2 of 3"], (1, 2)),
        ([], ()),
    ],
)
def test_parts_of_a_layer_are_one_step(comments: list[str], expected: tuple[int, ...]) -> None:
    history = [History(comment="empty", empty_layer=True), *(History(comment=comment) for comment in comments)]
    diff_ids = tuple(Digest.of(str(number).encode()) for number in range(len(comments)))
    config = ImageConfig(platform=Platform.local(), history=tuple(history), diff_ids=diff_ids)
    assert ends_of_steps(config) == expected
    assert ends_of_steps(replace(config, history=())) == tuple(range(1, len(comments) + 1))

"""What a step left as it was is in no layer, what it changed always is; the tree it leaves is the layer."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.fuzz import examples
from tests.unit.layer.layer_samples import file, make, tar_of
from tiffin.builder.layer.below import LowerLayers, TablesBelow, TreesBelow
from tiffin.builder.layer.change import Change, ordered
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.disk.settle import set_times, settle
from tiffin.builder.layer.index import Entry, LayerIndex, MergedTree
from tiffin.builder.layer.unchanged import Reduced, layer_time, reduced
from tiffin.builder.layer.unpack import materialize

OWN: dict[str, Any] = {"uid": os.geteuid(), "gid": os.getegid()}
SECOND = 1_700_000_000 * 10**9
NANO = SECOND + 123_456_789


def f(path: str, data: bytes = b"data", mode: int = 0o644, mtime_ns: int = SECOND, **fields: Any) -> Change:
    return file(path, data, mode, mtime_ns=mtime_ns, **{**OWN, **fields})


def d(path: str, mode: int = 0o755, mtime_ns: int = SECOND, **fields: Any) -> Change:
    return make(path, "dir", mode, mtime_ns=mtime_ns, **{**OWN, **fields})


def m(path: str, kind: str, mtime_ns: int = SECOND, **fields: Any) -> Change:
    return make(path, kind, 0o644, mtime_ns=mtime_ns, **{**OWN, **fields})


def gone(path: str) -> Change:
    return make(path, "whiteout")


class Harness:
    """Layers as trees and as tables, and a step over them."""

    def __init__(self, folder: Path, layers: Sequence[Sequence[Change]]) -> None:
        self.folder = folder
        self.trees = []
        for number, layer in enumerate(layers):
            tree = folder / f"lower{number}"
            tree.mkdir(parents=True)
            materialize(layer, tree)
            self.trees.append(tree)
        self.tables = [tar_of(layer)[1] for layer in layers]

    def below(self, kind: str) -> LowerLayers:
        return TreesBelow(self.trees) if kind == "trees" else TablesBelow(self.tables)

    def step(self, changes: Sequence[Change], kind: str, *, epoch_ns: int | None = None) -> tuple[Path, Reduced]:
        """An upper directory that holds `changes`, settled, and what is left of them."""
        upper = self.folder / f"upper-{kind}"
        upper.mkdir()
        materialize(changes, upper)
        left = reduced(diff_upper(upper), self.below(kind), epoch_ns=epoch_ns)
        settle(upper, left)
        return upper, left


def reported(left: Reduced) -> list[str]:
    marks = {"whiteout": "-", "hardlink": "="}
    return [f"{marks.get(c.entry.kind, '')}{c.entry.path}{'!' * c.entry.opaque}" for c in left.changes]


def shown(layers: Sequence[LayerIndex]) -> dict[str, Entry]:
    """What a stack shows, with the times of layers; names of one file by the first."""
    tree, first = MergedTree(layers), dict[object, str]()
    result = {}
    for located in tree.walk():
        target, path = tree.target(located), located.entry.path
        holder = first.setdefault((target.layer, target.entry.path), path) if target.entry.kind != "dir" else ""
        moment = layer_time(target.entry.mtime_ns, None)
        result[path] = target.entry._replace(
            path=path, offset=-1, opaque=False, mtime_ns=moment, link=target.entry.link + holder
        )
    return result


def linked_names(layers: Sequence[LayerIndex]) -> set[str]:
    """The names of files that have several."""
    tree = MergedTree(layers)
    holders = [(tree.target(located).entry.path, located.entry.path) for located in tree.walk()]
    return {path for holder, path in holders if [item[0] for item in holders].count(holder) > 1}


A = [d("d"), f("d/f"), f("d/g", b"other", mtime_ns=NANO), m("d/l", "symlink", link="f"), m("d/p", "fifo")]
LINKED = [*A, f("h/a"), m("h/b", "hardlink", link="h/a"), d("h")]
CASES: list[tuple[str, list[list[Change]], list[Change], list[str]]] = [
    ("as it was", [A], A, []),
    ("times that a layer would cut", [A], [d("d"), f("d/f", mtime_ns=NANO)], []),
    ("times of the base that no layer of ours has", [A], [d("d"), f("d/g", b"other", mtime_ns=NANO)], []),
    ("another content of the same size and time", [A], [d("d"), f("d/f", b"DATA")], ["d", "d/f"]),
    ("another content with nanoseconds kept", [A], [d("d"), f("d/g", b"OTHER", mtime_ns=NANO)], ["d", "d/g"]),
    ("another time", [A], [d("d"), f("d/f", mtime_ns=SECOND + 10**9)], ["d", "d/f"]),
    ("another mode", [A], [d("d"), f("d/f", mode=0o600)], ["d", "d/f"]),
    ("a set-user-id bit", [A], [d("d"), f("d/f", mode=0o4644)], ["d", "d/f"]),
    ("another owner", [A], [d("d"), f("d/f", uid=OWN["uid"] + 7)], ["d", "d/f"]),
    ("an attribute", [A], [d("d"), f("d/f", xattrs=(("user.a", b"1"),))], ["d", "d/f"]),
    ("an attribute that went", [[f("x", xattrs=(("user.a", b"1"),))]], [f("x")], ["x"]),
    ("an attribute that stayed", [[f("x", xattrs=(("user.a", b"1"),))]], [f("x", xattrs=(("user.a", b"1"),))], []),
    ("longer", [A], [d("d"), f("d/f", b"data!")], ["d", "d/f"]),
    ("empty, as before", [[f("e", b"")]], [f("e", b"")], []),
    ("another link", [A], [d("d"), m("d/l", "symlink", link="g")], ["d", "d/l"]),
    ("a file for a link", [A], [d("d"), f("d/l")], ["d", "d/l"]),
    ("a directory's mode", [A], [d("d", 0o700), f("d/f")], ["d"]),
    ("a directory's time", [A], [d("d", mtime_ns=SECOND + 10**10)], ["d"]),
    ("only directories", [[d("a"), d("a/b"), d("a/b/c")]], [d("a"), d("a/b"), d("a/b/c")], []),
    ("a new file", [A], [d("d"), f("d/f"), f("d/new")], ["d", "d/new"]),
    ("a file that is gone", [A], [d("d"), gone("d/f")], ["d", "-d/f"]),
    ("gone what never was", [A], [d("d"), gone("d/x")], []),
    ("gone below what never was", [A], [d("n"), gone("n/x")], ["n"]),
    ("gone what was gone", [A, [d("d"), gone("d/f")]], [d("d"), gone("d/f")], []),
    ("back again", [A, [d("d"), gone("d/f")]], [d("d"), f("d/f")], ["d", "d/f"]),
    ("as it was two layers down", [A, [f("x")]], A, []),
    ("as it was before the last layer", [A, [d("d"), f("d/f", b"new!")]], [d("d"), f("d/f")], ["d", "d/f"]),
    ("below an opaque directory", [A, [d("d", opaque=True)]], [d("d"), f("d/f")], ["d", "d/f"]),
    ("below what a link replaced", [A, [m("d", "symlink", link="e")]], [d("d"), f("d/f")], ["d", "d/f"]),
    ("a new directory that hides nothing", [A], [d("n", opaque=True), f("n/f")], ["n", "n/f"]),
    ("an empty one made again", [[d("e")]], [d("e", opaque=True)], []),
    ("an opaque one for a file", [[f("e")]], [d("e", opaque=True), f("e/f")], ["e", "e/f"]),
    ("one emptied below", [A, [d("d"), *map(gone, ("d/f", "d/g", "d/l", "d/p"))]], [d("d", opaque=True)], []),
    ("made again as it was", [A], [d("d", opaque=True), *A[1:]], []),
    ("made again without much", [A], [d("d", opaque=True), f("d/g", b"new")], ["d!", "d/g"]),
    ("made again but for one", [A], [d("d", opaque=True), *A[1:4]], ["d", "-d/p"]),
    (
        "made again, deeper",
        [[d("a"), d("a/b"), f("a/b/x"), f("a/b/y"), f("a/z"), d("a/c"), f("a/c/w")]],
        [d("a", opaque=True), d("a/b"), f("a/b/x"), f("a/z"), f("a/c")],
        ["a", "a/b", "-a/b/y", "a/c"],
    ),
    ("names of one file", [LINKED], [d("h"), f("h/a"), m("h/b", "hardlink", link="h/a")], []),
    ("a third name", [LINKED], [d("h"), f("h/a"), m("h/b", "hardlink", link="h/a"), m("h/c", "hardlink", link="h/a")],
     ["h", "h/a", "=h/b", "=h/c"]),
    ("linked that were two", [[f("a"), f("b")]], [f("a"), m("b", "hardlink", link="a")], ["a", "=b"]),
    ("no longer linked, which shows in nothing else", [LINKED], [d("h"), f("h/a")], []),
    ("linked and changed", [LINKED], [d("h"), f("h/a", b"DATA"), m("h/b", "hardlink", link="h/a")],
        ["h", "h/a", "=h/b"]),
    (
        "many files, of which most are new",
        [[d("m"), *(f(f"m/{n}") for n in range(9))], [d("m"), gone("m/2"), f("m/3", b"newer")]],
        [d("m"), *(f(f"m/{n}") for n in range(30))],
        ["m", "m/10", *sorted([f"m/{n}" for n in (*range(11, 30), 2, 3, 9)], key=str)],
    ),
    ("a fifo", [A], [d("d"), m("d/p", "fifo")], []),
    ("a fifo for a file", [A], [d("d"), m("d/f", "fifo")], ["d", "d/f"]),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["trees", "tables"])
@pytest.mark.parametrize(
    ("layers", "changes", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_left(
    tmp_path: Path, layers: list[list[Change]], changes: list[Change], expected: list[str], kind: str
) -> None:
    harness = Harness(tmp_path, layers)
    upper, left = harness.step(changes, kind)
    assert reported(left) == expected
    assert tar_of(diff_upper(upper))[0] == tar_of(left.changes)[0], "the tree is not the layer"


@pytest.mark.parametrize("kind", ["trees", "tables"])
def test_times_after_the_epoch_become_it(tmp_path: Path, kind: str) -> None:
    epoch = SECOND - 10**9
    harness = Harness(tmp_path, [[f("kept", mtime_ns=epoch), f("base")]])
    upper, left = harness.step([f("kept", mtime_ns=NANO), f("base"), f("new", mtime_ns=NANO)], kind, epoch_ns=epoch)
    assert [(change.entry.path, change.entry.mtime_ns) for change in left.changes] == [("new", epoch)]
    assert tar_of(diff_upper(upper))[0] == tar_of(left.changes)[0]


def test_plain_root_gets_the_times_that_its_layers_have(tmp_path: Path) -> None:
    harness = Harness(tmp_path, [[f("same")]])
    root = tmp_path / "root"
    root.mkdir()
    materialize([f("same", mtime_ns=NANO), f("new", mtime_ns=NANO)], root)
    left = reduced(diff_upper(root), harness.below("tables"))
    set_times(root, [*left.retimed, *left.restored])
    assert reported(left) == ["new"]
    assert {name: os.stat(root / name).st_mtime_ns for name in ("same", "new")} == {"same": SECOND, "new": SECOND}


def test_what_cannot_be_read_stays(tmp_path: Path) -> None:
    class Unreadable(TreesBelow):
        def lookup(self, path: str) -> Any:
            raise PermissionError(13, "no")

    changes = list(ordered([*A, gone("x"), d("o", opaque=True), f("o/f")]))
    left = reduced(changes, Unreadable([]))
    assert reported(left) == ["d", "d/f", "d/g", "d/l", "d/p", "o!", "o/f", "-x"]


def test_socket_in_an_unchanged_directory_goes_with_it(tmp_path: Path) -> None:
    import socket

    harness = Harness(tmp_path, [[d("s")]])
    upper = tmp_path / "upper"
    upper.mkdir()
    materialize([d("s")], upper)
    place = os.open(upper / "s", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{place}/x")
    os.close(place)
    os.utime(upper / "s", ns=(SECOND, SECOND))
    left = reduced(diff_upper(upper), harness.below("trees"))
    settle(upper, left)
    assert not left.changes and not os.listdir(upper)


NAMES = ("a", "b", "a/a", "a/b", "a/a/a", "a/a/b")
LEAVES = st.sampled_from(
    [
        ("file", b"1", SECOND),
        ("file", b"2", SECOND),
        ("file", b"1", NANO),
        ("file", b"", SECOND),
        ("symlink", b"x", SECOND),
        ("dir", b"", SECOND),
        ("dir", b"", NANO),
        ("dir!", b"", SECOND),
        ("gone", b"", 0),
        ("hardlink", b"", SECOND),
    ]
)
LAYERS = st.dictionaries(st.sampled_from(NAMES), LEAVES, max_size=6)


def drawn(chosen: dict[str, tuple[str, bytes, int]]) -> list[Change]:
    """A layer that can be: what lies in something that is not a directory goes, a link leads to a file before it."""
    result: dict[str, Change] = {}
    for path in sorted(chosen):
        kind, data, moment = chosen[path]
        parent = path.rpartition("/")[0]
        if parent and (parent not in result or result[parent].entry.kind != "dir"):
            continue
        hidden = any(c.entry.opaque and path.startswith(f"{c.entry.path}/") for c in result.values())
        files = [change.entry.path for change in result.values() if change.entry.kind == "file"]
        if kind == "file":
            result[path] = f(path, data, mtime_ns=moment)
        elif kind.startswith("dir"):
            result[path] = d(path, mtime_ns=moment, opaque=kind.endswith("!") and not hidden)
        elif kind == "symlink":
            result[path] = m(path, "symlink", link="x")
        elif kind == "hardlink" and files:
            result[path] = m(path, "hardlink", link=files[0])
        elif kind == "gone" and not hidden:
            result[path] = gone(path)
    return list(result.values())


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=3), LAYERS, st.booleans())
def test_layer_shows_the_same_with_and_without_what_is_dropped(
    tmp_path_factory: pytest.TempPathFactory,
    below: list[dict[str, tuple[str, bytes, int]]],
    step: dict[str, tuple[str, bytes, int]],
    again: bool,
) -> None:
    layers = [drawn(layer) for layer in below]
    changes = drawn({**below[-1], **step} if again else step)
    harness = Harness(tmp_path_factory.mktemp("drawn"), layers)
    # a copy-up breaks links that nobody asked to break: those come back, see the cases
    assume(not linked_names(harness.tables) & {change.entry.path for change in changes if change.entry.kind == "file"})
    before = shown([*harness.tables, tar_of(changes)[1]])
    made = []
    for kind in ("trees", "tables"):
        upper, left = harness.step(changes, kind)
        tar, index = tar_of(left.changes)
        assert shown([*harness.tables, index]) == before, kind
        assert tar_of(diff_upper(upper))[0] == tar, "the tree is not the layer"
        made.append(tar)
    assert made[0] == made[1], "one step over the same layers made two layers"
    assert tar_of(reduced(list(ordered(left.changes)), harness.below("tables")).changes)[0] == made[1], (
        "there was more to drop"
    )


def test_layer_time_is_whole_and_no_later_than_the_epoch() -> None:
    assert [layer_time(ns, None) for ns in (NANO, SECOND, -1, 0)] == [SECOND, SECOND, -(10**9), 0]
    assert [layer_time(ns, 5 * 10**9) for ns in (NANO, 10**9 + 1)] == [5 * 10**9, 10**9]
    assert io.BytesIO(tar_of([f("x", mtime_ns=SECOND)])[0]).getvalue().count(b"mtime=") == 0


@pytest.mark.parametrize("names", [["f"], ["f", "h"], ["f", "h", "k"]])
def test_file_that_takes_the_place_of_one_with_more_names_is_a_change(tmp_path: Path, names: list[str]) -> None:
    linked = [f("f", b"same"), m("h", "hardlink", link="f"), m("k", "hardlink", link="f")]
    below = TablesBelow(Harness(tmp_path, [linked]).tables)
    again = [change for change in linked if change.entry.path in names]
    left = reduced(again, below, name_count=below.name_count)
    assert [change.entry.path for change in left.changes] == ([] if len(names) == 3 else names)
    assert reduced(again, below).changes == []

"""When nobody can tell what was looked up: other sandboxes, several memory nodes, forgotten names, mounts meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin.builder.sandbox.child.reading import lookups
from tiffin.builder.sandbox.child.reading.question import answer_path, read_answer, written
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.frozen import replace

SPEC = SandboxSpec(scratch_dir="/s", lower_dirs=("/l",), upper_dir="/u", work_dir="/w", argv=("true",), env=())


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "system/node"
    (folder / "node0").mkdir(parents=True)
    (folder / "node_list").mkdir()
    monkeypatch.setattr(lookups, "NODES", str(folder))
    return folder


def test_only_a_whole_sandbox_over_layers_tells(nodes: Path) -> None:
    assert lookups.can_tell(SPEC)
    for changed in (
        replace(SPEC, has_namespaces=False),
        replace(SPEC, own_pids=False),
        replace(SPEC, root_dir="/root"),
        replace(SPEC, joins=7),
        replace(SPEC, joined_pids="/proc/7"),
        replace(SPEC, cgroup_dirs=("/sys/fs/cgroup/step",)),
    ):
        assert not lookups.can_tell(changed)
    (nodes / "node8").mkdir()
    assert not lookups.can_tell(SPEC)


def test_a_kernel_without_memory_nodes_has_one(tmp_path: Path) -> None:
    assert lookups.has_one_node(str(tmp_path / "node"))
    assert not lookups.has_one_node(str(tmp_path / "hidden/node")), "nothing is known of such a machine"
    (tmp_path / "file").touch()
    assert not lookups.has_one_node(str(tmp_path / "file"))


def answers(
    cached: set[bytes], noise: Iterator[bool] | None = None, forgotten: bytes = b""
) -> Callable[[int, bytes], bool]:
    """A kernel that has these names and the marks, and now and then says that it has not."""
    known = {*cached, *lookups.MARKS, lookups.CONTROL} - {forgotten}
    return lambda root, path: path in known and not (noise is not None and next(noise, False))


def test_what_was_looked_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "is_cached", answers({b"a", b"d", b"d/x"}))
    assert lookups.looked_up(3, [b"a", b"b", b"d/x", b"d/y", b"e/x"]) == [b"a", b"d/x"]
    assert lookups.looked_up(3, []) == []


def test_forgotten_names_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "is_cached", answers({b"a"}, forgotten=lookups.MARKS[9]))
    assert lookups.looked_up(3, [b"a"]) is None
    monkeypatch.setattr(lookups, "is_cached", lambda root, path: True)  # a kernel that does not know the question
    assert lookups.looked_up(3, [b"a"]) is None


def test_a_moment_of_mounts_is_waited_for_and_more_of_them_give_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(lookups, "is_cached", answers({b"a"}, iter([True] * 3)))
    assert lookups.looked_up(3, [b"a"]) == [b"a"]
    always = iter(lambda: True, False)
    monkeypatch.setattr(lookups, "is_cached", answers({b"a"}, always))
    assert lookups.looked_up(3, [b"a"]) is None


def test_one_wrong_answer_between_right_ones_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    controls = [False] * lookups.CONTROLS
    monkeypatch.setattr(lookups, "is_cached", answers({b"a"}, iter([*controls, False, True])))
    assert lookups.looked_up(3, [b"a"]) == [b"a"]


@pytest.mark.parametrize("names", [[], ["a"], ["a b/c\n", "\udcff", "ü"]])
def test_question_and_answer_keep_all_names(names: list[str]) -> None:
    asked = written(names).split(b"\0")[:-1]
    assert read_answer(b"\0".join((b"complete", *asked))) == names
    assert read_answer(b"") is None and read_answer(b"a\0b") is None
    assert answer_path("/s/watched") != "/s/watched"

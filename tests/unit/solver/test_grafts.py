"""Directories that COPY puts as a whole: the layer is the one of their files put one by one."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.random_layers import RandomLayers
from tiffin.builder.errors import BuildError, ImageError, Span
from tiffin.builder.layer.below import TablesBelow
from tiffin.builder.layer.change import Change, each
from tiffin.builder.layer.index import EntryColumns, LayerIndex, new_entry, sort_key
from tiffin.builder.layer.pack import pack
from tiffin.builder.layer.unchanged import reduced
from tiffin.builder.sources.changed_tree import ChangedTree
from tiffin.builder.sources.copier import Copier, Style
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import select
from tiffin.builder.sources.trees import LayerTree

SPAN = Span(file="Dockerfile", first_line=1, last_line=1)
NAMES = ("a", "b", "a-b", "c.d", "\u00e4")


def grow(choice: random.Random, path: Path, depth: int = 0) -> None:
    """Make a random tree of files, links and directories."""
    path.mkdir()
    for name in choice.sample(NAMES, choice.randint(0, len(NAMES))):
        kind = choice.choice(("dir", "dir", "file", "file", "link") if depth < 3 else ("file", "link"))
        if kind == "dir":
            grow(choice, path / name, depth + 1)
        elif kind == "file":
            (path / name).write_text(choice.choice(("", "1", "22")))
        else:
            (path / name).symlink_to(choice.choice(("a", "../b", "nowhere", "/a/b")))
    path.chmod(choice.choice((0o755, 0o755, 0o700)))


def layer_of(tree: DirectoryTree, choice: random.Random, below: Sequence[LayerIndex]) -> tuple[bytes, list[str]]:
    """What some copies from `tree` make over `below`: the tar, and what they refused."""
    style = Style(
        owner=choice.choice((None, (5, 6))),
        chmod=choice.choice(("", "", "u+x")),
        now_ns=5,
        time_ns=choice.choice((None, 10**9)),
        alone=choice.random() < 0.2,
    )
    copier, refused = Copier(LayerTree(below, lambda *_: io.BytesIO()), style, SPAN), []
    for _ in range(choice.randint(1, 3)):
        sources = choice.sample(("a", "b", "a-b", ".", "a/*", "*/b", "c.d"), choice.randint(1, 2))
        dest = choice.choice(("/", "/n", "/n/", "/n/a", "/a/", "/a/b/", "/n/a/b"))
        exclude = choice.choice(((), (), ("**/b",)))
        parents = choice.random() < 0.2
        try:
            copier.copy(tree, select(tree, sources, span=SPAN, exclude=exclude, parents=parents), dest)
        except (BuildError, ImageError) as exc:
            refused.append(exc.message)
        if choice.random() < 0.3 and copier.tree.lookup("n/a") is not None:
            copier.tree.remove("n/a")
        if choice.random() < 0.3 and copier.tree.is_directory("n/b"):
            copier.tree.put("n/b/new", new_entry("x", "dir", 0o711))
    tables = TablesBelow(below)
    changes = reduced(copier.changes(), tables, name_count=tables.name_count).changes
    tar = io.BytesIO()
    index = pack(changes, tar, is_told=True)
    assert [entry.path for entry in index.entries] == [change.entry.path for change in each(changes)]
    return tar.getvalue(), refused


@pytest.mark.parametrize("seed", range(5))
def test_the_layer_is_that_of_files_put_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    choice, done, graft = random.Random(seed), [], ChangedTree.graft

    def counted(tree: ChangedTree, path: str, inside: Callable[[], Iterator[Change]]) -> bool:
        done.append(graft(tree, path, inside))
        return done[-1]

    monkeypatch.setattr(ChangedTree, "graft", counted)
    for number in range(40):
        root, state = tmp_path / f"c{number}", choice.getrandbits(32)
        grow(choice, root)
        layers = RandomLayers(state, privileged=False, names=(*NAMES, "n"))
        entries = [change.entry for change in layers.base()] if choice.random() < 0.7 else []
        below = [LayerIndex(sorted(entries, key=lambda entry: sort_key(entry.path)))]
        found = layer_of(DirectoryTree(root, None, None, what="build context"), random.Random(state), below)
        with monkeypatch.context() as patch:
            patch.setattr(DirectoryTree, "has_links", lambda self, path: True)  # then nothing is grafted
            one_by_one = DirectoryTree(root, None, None, what="build context")
            assert layer_of(one_by_one, random.Random(state), below) == found, number
    assert sum(done) > 20, "hardly anything was grafted"


def test_entries_in_columns_are_what_was_put_there() -> None:
    entries = [
        new_entry(f"d/{number}\udcff", "file" if number % 3 else "symlink", number % 512, mtime_ns=-number)._replace(
            size=number, digest=f"{number:064x}" if number % 5 else "", link="x" * (number % 2), offset=number - 1
        )
        for number in range(1300)
    ]
    columns = EntryColumns()
    for entry in entries:
        columns.append(entry)
    assert list(columns) == entries and len(columns) == len(entries) and columns == tuple(entries)
    assert [columns[number] for number in (0, 511, 512, 1299, -1)] == [entries[n] for n in (0, 511, 512, 1299, -1)]
    assert columns[510:514] == tuple(entries[510:514]) and columns != tuple(entries[1:])
    assert LayerIndex(columns).encode() == LayerIndex(entries).encode()
    with pytest.raises(IndexError):
        columns[1300]

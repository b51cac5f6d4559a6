"""What is sent of a build context, and read where it came."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fakes.images import PLATFORM
from tests.support.plans import FakeBuild
from tiffin.builder.errors import ContextError
from tiffin.builder.farm.sent_trees import Recorder, ReplayedTree, SentContexts, content, record
from tiffin.builder.instructions.ops import ContextOrigin, GitOrigin, UrlOrigin
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import content_of, select_for
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

assert PLATFORM
CONTEXT = ContextOrigin()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    (place / "src/deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "src/one", "src/deep/two", "other.bin"):
        (place / name).write_text(name)
    (place / "src/empty").write_text("")
    (place / "src/same").hardlink_to(place / "src/one")
    (place / "link").symlink_to("src")
    return place


def contexts(folder: Path, place: Path) -> Contexts:
    table = Table(StateDir.open(place / "contexts"), print)
    return Contexts(folder, {}, dockerfile=None, table=table, remote=lambda: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "line, names",
    [
        ("COPY *.txt /", {"a.txt", "b.txt"}),
        ("COPY link/ /x/", {"src/one", "src/deep/two"}),
        ("COPY src/deep /x", {"src/deep/two"}),
        ("COPY --parents src/./deep/two /x/", {"src/deep/two"}),
        ("COPY --exclude=one --exclude=same src /x/", {"src/deep/two"}),
        ("ADD a.txt src/d*p /x/", {"a.txt", "src/deep/two"}),
        ("RUN --mount=type=bind,source=src,target=/m true", {"src/one", "src/deep/two"}),
        ("RUN --mount=type=bind,source=/src/deep/two,target=/m true", {"src/deep/two"}),
        ("RUN --mount=type=bind,target=/m true", {"a.txt", "b.txt", "src/one", "src/deep/two", "other.bin"}),
    ],
)
def test_a_step_reads_there_what_it_reads_here(folder: Path, tmp_path: Path, line: str, names: set[str]) -> None:
    step = FakeBuild.at(tmp_path).plan(f"FROM scratch\n{line}\n").stages[0].steps[0]
    here = contexts(folder, tmp_path)
    recorders = record(here, [step])
    recorder = recorders[CONTEXT]
    files = {hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert {digest.hex for digest in recorder.files} == files
    stored = {d: b"".join(content(recorder, entry, d)) for d, entry in recorder.files.items()}

    there = ReplayedTree(decode(encode(recorder.sent())), lambda digest: io.BytesIO(stored[digest]))
    for item in step.op.inputs():
        assert content_of(there, step, item, with_owners=False) == content_of(
            here.tree(CONTEXT), step, item, with_owners=False
        )
        found, expected = select_for(there, step, item), select_for(here.tree(CONTEXT), step, item)
        assert [(one.name, one.entry, one.parents) for one in found] == [
            (one.name, one.entry, one.parents) for one in expected
        ]
    for entry in recorder.files.values():
        with there.opener(entry)() as stream:
            assert Digest.of(stream.read()).hex == entry.digest


def test_names_of_one_file_stay_together(folder: Path) -> None:
    recorder = Recorder(DirectoryTree(folder, None, None, what="context"))
    recorder.children("src")
    there = ReplayedTree(recorder.sent(), lambda digest: io.BytesIO())
    by_path = {entry.path: entry for entry in there.children("src")}
    assert there.link_group(by_path["src/one"]) == there.link_group(by_path["src/same"]) is not None
    assert there.link_group(by_path["src/empty"]) is None
    assert there.opener(by_path["src/empty"])().read() == b""
    assert there.lookup("src/nothing") is None  # everything in src is known


def test_what_was_not_foreseen_is_an_error(folder: Path) -> None:
    recorder = Recorder(DirectoryTree(folder, None, None, what="context"))
    recorder.lookup("a.txt")
    there = ReplayedTree(recorder.sent(), lambda digest: io.BytesIO())
    assert there.lookup("a.txt") == recorder.lookup("a.txt")
    for ask in (there.lookup, there.resolve, there.children):
        with pytest.raises(ContextError, match="not foreseen"):
            ask("b.txt")


def test_a_file_that_changes_meanwhile_is_not_sent(folder: Path) -> None:
    recorder = Recorder(DirectoryTree(folder, None, None, what="context"))
    entry = recorder.lookup("a.txt")
    assert entry is not None
    recorder.reads(entry)
    (folder / "a.txt").write_text("other")
    with pytest.raises(ContextError, match="changed while"):
        list(content(recorder, entry, Digest("sha256", entry.digest)))
    with pytest.raises(ContextError, match="digest is not known"):
        recorder.reads(entry._replace(digest=""))


def test_sources_that_were_not_sent_are_refused(folder: Path) -> None:
    tree = DirectoryTree(folder, None, None, what="context")
    sent: Mapping[object, object] = {CONTEXT: tree}
    made = SentContexts(dict(sent))  # type: ignore[arg-type]
    assert made.tree(CONTEXT) is made.content(CONTEXT) is tree
    made.save()
    with pytest.raises(ContextError):
        made.tree(UrlOrigin(url="https://a.example/b", filename="b"))
    with pytest.raises(ContextError):
        made.commit(GitOrigin(url="https://a.example/b.git"))

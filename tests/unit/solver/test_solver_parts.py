"""Pure parts of the solver: modes, selection, copying, users, outputs."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tiffin.builder.delivery.output_spec import parse_outputs
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import BuildError, Span, UsageError
from tiffin.builder.image.users import resolve_owner, resolve_user
from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.sources import directory_tree
from tiffin.builder.sources.chmod import change_mode
from tiffin.builder.sources.copier import Copier, Style
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import content_digest, select
from tiffin.builder.sources.trees import LayerTree
from tiffin.cache.store import filestat
from tiffin.cache.store.filestat import StatTable
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

SPAN = Span(file="Dockerfile", first_line=1, last_line=1)
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/www:/bin/sh\n1000:x:5:6::/:/bin/sh\nbad line\n"
GROUP = b"root:x:0:\nwww:x:34:\nextra:x:40:www,root\nmore:x:41:www\n"


@pytest.mark.parametrize(
    ("text", "mode", "is_directory", "expected"),
    [
        ("644", 0o755, False, 0o644),
        ("0755", 0, True, 0o755),
        ("4755", 0, False, 0o4755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("g=u", 0o640, False, 0o660),
        ("u+s,g+s", 0o755, False, 0o6755),
        ("+t", 0o755, True, 0o1755),
        ("o=", 0o777, False, 0o770),
        ("go-rwx,u+x", 0o644, False, 0o700),
    ],
)
def test_change_mode(text: str, mode: int, is_directory: bool, expected: int) -> None:
    assert oct(change_mode(text, mode, is_directory=is_directory)) == oct(expected)


def read_file(path: str) -> bytes | None:
    return {"etc/passwd": PASSWD, "etc/group": GROUP}.get(path)


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0, 40), "/root"),
        ("www", 33, 34, (34, 40, 41), "/www"),
        ("33", 33, 34, (34, 40, 41), "/www"),
        ("www:extra", 33, 40, (40,), "/www"),
        ("7", 7, 0, (0,), "/"),
        ("7:8", 7, 8, (8,), "/"),
        ("1000", 1000, 0, (0,), "/"),  # digits are a number, whatever a user is called
    ],
)
def test_resolve_user(text: str, uid: int, gid: int, groups: Sequence[int], home: str) -> None:
    user = resolve_user(text, read_file)
    assert (user.uid, user.gid, user.groups, user.home) == (uid, gid, groups, home)


@pytest.mark.parametrize("text", ["nobody", "www:nogroup", "4294967296", "2147483648", "0:2147483648", "-1", "٣"])
def test_users_that_are_refused(text: str) -> None:
    with pytest.raises(BuildError, match=r"is called|out of range"):
        resolve_user(text, read_file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", (5, 5)), ("www", (33, 34)), ("5:6", (5, 6)), ("www:extra", (33, 40)), (":extra", (0, 40))],
)
def test_resolve_owner(text: str, expected: tuple[int, int]) -> None:
    assert resolve_owner(text, read_file) == expected


@pytest.mark.parametrize("text", ["root", "root:root", "0:root", "root:0", ":root", "root:"])
@pytest.mark.parametrize("passwd", [None, b"", b"www:x:33:33::/:/bin/sh\n"], ids=["no file", "empty", "others"])
def test_root_is_zero_where_no_file_says_so(text: str, passwd: bytes | None) -> None:
    user = resolve_user(text, lambda path: passwd)
    assert (user.uid, user.gid, user.groups) == (0, 0, (0,))
    assert resolve_owner(text, lambda path: passwd) == (0, 0)
    with pytest.raises(BuildError, match="no user is called"):
        resolve_owner("rot", lambda path: passwd)


def test_a_root_with_another_number_is_that() -> None:
    assert resolve_owner("root", lambda path: b"root:x:5:6::/:/bin/sh\n") == (5, 6)


@pytest.fixture
def tree(tmp_path: Path) -> DirectoryTree:
    root = tmp_path / "context"
    for name in ("a/b/c.txt", "a/d.txt", "e.log", "keep.log", ".hidden", "sp ace", "x[1]"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("a/b")
    (root / "out").symlink_to("../../../../../etc")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    (root / "z").mkdir()
    (root / "z/gone").symlink_to("/no/where")
    os.link(root / "a/d.txt", root / "a/hard")
    table = Table(StateDir.open(tmp_path / "state"), print)
    rules = IgnoreRules.parse("*.log\n!keep.log\n", ".dockerignore")
    return DirectoryTree(root, rules, StatTable.load(table, "x"), what="build context")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a", ["a"]),
        ("./a/", ["a"]),
        ("/a/d.txt", ["a/d.txt"]),
        ("../../a/d.txt", ["a/d.txt"]),
        ("a/*", ["a/b", "a/d.txt", "a/hard"]),
        ("*/*/*.txt", ["a/b/c.txt"]),
        ("*.log", ["keep.log"]),
        ("[.a]*", [".hidden", "a"]),
        ("link/c.txt", ["a/b/c.txt"]),
        ("link", ["a/b"]),
        ("*.none", []),
        ("sp ace", ["sp ace"]),
        ("x\\[1]", ["x[1]"]),
        (".", ["."]),
    ],
)
def test_select(tree: DirectoryTree, pattern: str, paths: list[str]) -> None:
    assert [item.entry.path for item in select(tree, [pattern], span=SPAN)] == paths


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("missing", "not found"),
        ("e.log", ".dockerignore excludes it"),
        ("a/d.tx", 'did you mean "d.txt"'),
        ("out/passwd", "not found"),
        ("gone", 'it is a link to "nowhere"'),
        ("/z/gone/", 'it is a link to "/no/where"'),
        ("z/gone/*.x", 'it is a link to "/no/where"'),
    ],
)
def test_select_refuses(tree: DirectoryTree, pattern: str, reason: str) -> None:
    with pytest.raises(BuildError) as caught:
        select(tree, [pattern], span=SPAN)
    assert reason in str(caught.value)


def test_content_digest_counts_what_matters(tmp_path: Path) -> None:
    """Names, modes, content and links count; times do not."""
    table = Table(StateDir.open(tmp_path / "state"), print)

    def digest(pattern: str = "d") -> str:
        tree = DirectoryTree(tmp_path / "c", None, StatTable.load(table, "y"), what="build context")
        return content_digest(tree, select(tree, [pattern], span=SPAN), with_owners=False)

    file = tmp_path / "c/d/f"
    file.parent.mkdir(parents=True)
    file.write_text("1")
    first = digest()
    os.utime(file, (1, 1))
    assert digest() == first
    file.chmod(0o755)
    assert digest() != first
    file.chmod(0o644)
    file.write_text("2")
    assert digest() != first
    file.write_text("1")
    file.rename(file.with_name("g"))
    assert digest() != first
    file.with_name("g").rename(file)
    assert digest() == first
    file.parent.chmod(0o700)
    assert digest() != first and digest("d/") == digest("d/")


def edits(root: Path) -> Iterator[None]:
    """Change one thing after the other in a context."""
    (root / "d/f").write_text("2")
    yield
    (root / "d/f").write_text("1")  # as it was, with another time
    yield
    (root / "d/link").unlink()
    (root / "d/link").symlink_to("g")
    yield
    (root / "d/e").chmod(0o700)
    yield
    (root / "d/e/young").rename(root / "d/e/old")
    yield
    (root / "d/e/ignored").write_text("ignored")
    yield
    os.link(root / "d/f", root / "d/e/hard")
    yield
    (root / "d/empty").mkdir()
    yield
    (root / "d/e/old").unlink()
    os.mkfifo(root / "d/e/old")
    yield
    for number in range(300):
        (root / f"d/many{number}").mkdir()
        (root / f"d/many{number}/file").write_text(f"{number % 7}")
    yield
    (root / "d/many7/file").chmod(0o755)
    yield


@pytest.mark.parametrize("several_processes", [False, True])
def test_a_digest_that_is_remembered_is_that_of_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several_processes: bool
) -> None:
    root, table = tmp_path / "c", Table(StateDir.open(tmp_path / "state"), print)
    (root / "d/e").mkdir(parents=True)
    for name in ("d/f", "d/g", "d/e/young"):
        (root / name).write_text("1")
    (root / "d/link").symlink_to("f")
    rules = IgnoreRules.parse("**/ignored\n", ".dockerignore")
    monkeypatch.setattr(filestat, "RACY_NS", -(10**12))  # else all is too young to be remembered
    if several_processes:
        monkeypatch.setattr(directory_tree, "MANY_FILES", 2)
        monkeypatch.setattr(directory_tree, "MANY_DIRECTORIES", 2)
        monkeypatch.setattr("threading.active_count", lambda: 1)
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2})

    def digests(stats: StatTable | None) -> list[str]:
        tree = DirectoryTree(root, rules, stats, what="build context")
        found = [content_digest(tree, select(tree, [path], span=SPAN), with_owners=False) for path in ("d", "d/", ".")]
        if stats is not None:
            stats.save()
        return found

    seen = [digests(StatTable.load(table, "x"))]
    for _ in edits(root):
        time.sleep(0.01)  # the clock of the disk ticks
        found = digests(StatTable.load(table, "x"))
        assert found == digests(None) == digests(StatTable.load(table, "x"))
        seen.append(found)
    assert len({first for first, _, _ in seen}) == len(seen) - 2  # one edit took another back, one was ignored


def test_what_was_listed_and_hashed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, table = tmp_path / "c", Table(StateDir.open(tmp_path / "state"), print)
    for number in range(5):
        (root / f"d/{number}").mkdir(parents=True)
        (root / f"d/{number}/file").write_text(f"{number}")
    monkeypatch.setattr(directory_tree, "MANY_FILES", 2)
    monkeypatch.setattr(directory_tree, "MANY_DIRECTORIES", 2)
    stats = StatTable.load(table, "x")
    tree = DirectoryTree(root, None, stats, what="build context")

    def digest() -> str:
        return content_digest(tree, select(tree, ["d"], span=SPAN), with_owners=False)

    first = digest()
    stats.save()
    shutil.rmtree(root / "d")
    table.delete("stat:x")
    assert digest() == first
    stats.save()
    assert table.get("stat:x") is None  # nothing was learned again


def directory(path: str, **changes: int) -> Entry:
    return new_entry(path, "dir", 0o755)._replace(**changes)  # type: ignore[arg-type]


def destination(*entries: Entry) -> LayerTree:
    return LayerTree([LayerIndex(sorted(entries, key=lambda entry: entry.path.split("/")))], lambda *_: io.BytesIO())


def copied(tree: DirectoryTree, patterns: list[str], dest: str, into: LayerTree, **style: object) -> dict[str, Entry]:
    defaults: dict[str, object] = {"owner": (0, 0), "chmod": "", "now_ns": 5, "time_ns": None}
    copier = Copier(into, Style(**{**defaults, **style}), SPAN)  # type: ignore[arg-type]
    copier.copy(tree, select(tree, patterns, span=SPAN), dest)
    return {change.entry.path: change.entry for change in copier.changes()}


def test_file_goes_to_a_name_or_into_a_directory(tree: DirectoryTree) -> None:
    into = destination(directory("srv", uid=7))
    assert set(copied(tree, ["a/d.txt"], "/new", into)) == {"new"}
    assert set(copied(tree, ["a/d.txt"], "/srv", into)) == {"srv", "srv/d.txt"}
    assert set(copied(tree, ["a/d.txt"], "/deep/er/", into)) == {"deep", "deep/er", "deep/er/d.txt"}
    assert copied(tree, ["a/d.txt"], "/srv", into)["srv"].uid == 7  # an existing directory stays as it is


def test_directory_brings_its_contents_and_flattens_under_a_wildcard(tree: DirectoryTree) -> None:
    assert set(copied(tree, ["a"], "/x", destination())) == {"x", "x/b", "x/b/c.txt", "x/d.txt", "x/hard"}
    assert set(copied(tree, ["a/*"], "/x/", destination())) == {"x", "x/c.txt", "x/d.txt", "x/hard"}


def test_names_of_one_file_stay_links(tree: DirectoryTree) -> None:
    found = copied(tree, ["a"], "/x", destination())
    assert (found["x/hard"].kind, found["x/hard"].link) == ("hardlink", "x/d.txt")


def test_destination_links_are_followed_inside_the_root(tree: DirectoryTree) -> None:
    into = destination(
        directory("usr"), directory("usr/bin"), new_entry("bin", "symlink", 0o777)._replace(link="usr/bin")
    )
    assert set(copied(tree, ["a/d.txt"], "/bin/", into)) == {"usr", "usr/bin", "usr/bin/d.txt"}


def test_style_applies(tree: DirectoryTree) -> None:
    found = copied(tree, ["a"], "/p/q", destination(), owner=(3, 4), chmod="700", time_ns=9)
    assert all((entry.uid, entry.gid, entry.mode) == (3, 4, 0o700) for entry in found.values())
    assert found["p/q/d.txt"].mtime_ns == 9 and found["p"].mtime_ns == 5
    assert copied(tree, ["a"], "/p/q", destination(), chmod="u=rwX,go=")["p"].mode == 0o755


@pytest.mark.parametrize(
    ("style", "owner", "mode"),
    [
        ({}, (0, 44), 0o2755),
        ({"owner": (3, 4)}, (3, 4), 0o2755),
        ({"owner": None}, (0, 44), 0o2755),
        ({"chmod": "700"}, (0, 44), 0o2700),
        ({"chmod": "u=rwX,go="}, (0, 44), 0o2755),
    ],
)
def test_new_directories_take_group_and_bit_of_one_that_hands_them_on(
    tree: DirectoryTree, style: dict[str, object], owner: tuple[int, int], mode: int
) -> None:
    into = destination(directory("s", mode=0o2775, uid=33, gid=44))
    found = copied(tree, ["a"], "/s/n/m", into, **({"owner": None} | style))
    assert [(found[path].uid, found[path].gid, found[path].mode) for path in ("s/n", "s/n/m")] == [(*owner, mode)] * 2
    expected = owner if style.get("owner") else (0, 0)
    assert (found["s/n/m/d.txt"].uid, found["s/n/m/d.txt"].gid) == expected


@pytest.mark.parametrize("owner", [None, (3, 4)])
def test_the_bit_of_chmod_is_for_what_is_copied_not_for_what_is_made(
    tree: DirectoryTree, owner: tuple[int, int] | None
) -> None:
    found = copied(tree, ["a"], "/n/m", destination(), owner=owner, chmod="2755")
    assert {path: f"{entry.mode:o}" for path, entry in found.items()} == {
        "n": "755", "n/m": "755", "n/m/b": "2755", "n/m/b/c.txt": "2755", "n/m/d.txt": "2755", "n/m/hard": "2755"
    }  # fmt: skip


def test_directories_have_the_time_of_their_source(tree: DirectoryTree) -> None:
    into = destination(directory("there", mtime_ns=1))
    for path in ("a", "a/b"):
        os.utime(tree.root / path, ns=(8, 8))
    for dest, mode in (("/there", 0o755), ("/new/m", 0o755)):
        found = copied(tree, ["a"], dest, into, now_ns=5)
        assert [found[f"{dest[1:]}{name}"].mtime_ns for name in ("", "/b")] == [8, 8] and found[dest[1:]].mode == mode
    assert copied(tree, ["a"], "/new/m", into, now_ns=5)["new"].mtime_ns == 5
    assert copied(tree, ["a/d.txt"], "/there/", into)["there"].mtime_ns == 1


def test_names_of_one_file_stay_links_across_the_matches_of_one_pattern(tree: DirectoryTree) -> None:
    copier = Copier(destination(), Style(owner=None, chmod="", now_ns=5, time_ns=None), SPAN)
    copier.copy(tree, select(tree, ["a/*", "a/hard"], span=SPAN, parents=True), "/x/")
    found = {change.entry.path: change.entry for change in copier.changes()}
    assert (found["x/a/d.txt"].kind, found["x/a/hard"].kind) == ("file", "file")  # the second pattern's is another copy
    copier = Copier(destination(), Style(owner=None, chmod="", now_ns=5, time_ns=None), SPAN)
    copier.copy(tree, select(tree, ["a/*"], span=SPAN, parents=True), "/x/")
    found = {change.entry.path: change.entry for change in copier.changes()}
    assert (found["x/a/hard"].kind, found["x/a/hard"].link) == ("hardlink", "x/a/d.txt")


@pytest.mark.parametrize(
    ("dest", "style", "implied"),
    [
        ("/w/c/", {}, {"w", "w/c"}),
        ("/w/c", {"owner": (3, 4)}, {"w"}),
        ("/w/c", {"chmod": "600"}, {"w"}),
        ("/w/c/d/", {"owner": (3, 4), "chmod": "2700"}, {"w", "w/c"}),
        ("/", {"owner": (3, 4)}, set()),
    ],
)
def test_a_linked_layer_does_not_tell_of_directories_on_the_way(
    tree: DirectoryTree, dest: str, style: dict[str, object], implied: set[str]
) -> None:
    defaults: dict[str, object] = {"owner": None, "chmod": "", "now_ns": 5, "time_ns": None, "alone": True}
    copier = Copier(destination(), Style(**(defaults | style)), SPAN)  # type: ignore[arg-type]
    copier.copy(tree, select(tree, ["a"], span=SPAN), dest)
    changes = copier.changes()
    assert {change.entry.path for change in changes if change.implied} == implied
    ways = [change.entry for change in changes if change.implied]
    assert len(changes) > len(ways)
    assert all((entry.uid, entry.gid, entry.mode) == (0, 0, 0o755) for entry in ways)


def test_a_linked_copy_of_an_empty_directory_tells_of_it(tree: DirectoryTree) -> None:
    (tree.root / "empty").mkdir()
    os.utime(tree.root / "empty", ns=(8, 8))
    style = Style(owner=None, chmod="", now_ns=5, time_ns=None, alone=True)
    copier = Copier(destination(), style, SPAN)
    copier.copy(tree, select(tree, ["empty"], span=SPAN), "/w/c/")
    reported = {change.entry.path: (change.implied, change.entry.mtime_ns) for change in copier.changes()}
    assert reported == {"w": (True, 0), "w/c": (False, 8)}


@pytest.mark.parametrize(
    ("patterns", "dest", "reason"),
    [
        (["a"], "/file", "is not a directory"),
        (["a/d.txt"], "/file/x", "is not a directory"),
        (["a/d.txt", "keep.log"], "/new", "several sources need a directory"),
        (["."], "/", "cannot replace the directory"),
    ],
)
def test_collisions_are_refused(tree: DirectoryTree, patterns: list[str], dest: str, reason: str) -> None:
    into = destination(new_entry("file", "file", 0o644), directory("keep.log"))
    with pytest.raises(BuildError, match=reason):
        copied(tree, patterns, dest, into)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=what", "unknown output type"),
        ("type=oci,tar=false", "needs dest"),
        ("type=oci,dest=x,dest=y", "given twice"),
        ("type=local,dest=-", "cannot go to stdout"),
        ("type=tar,dest=x,push=true", 'takes no "push"'),
        ("type=oci,dest=x,compression=lzma", "unknown compression"),
        ("type=oci,dest=x,compression-level=99", "is not a valid level"),
        ("type=image,push=maybe", "neither true nor false"),
        ("type=oci,oops", "is not NAME=VALUE"),
    ],
)
def test_bad_outputs(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_outputs([text])


def test_outputs() -> None:
    local, tar, image = parse_outputs(["dir", "-", 'type=image,"name=a,b",push=true,compression=zstd'])
    assert (local.kind, local.dest, tar.kind, tar.dest) == ("local", "dir", "tar", "-")
    assert (image.names, image.push, image.compression) == (("a", "b"), True, "zstd")
    with pytest.raises(UsageError, match="two outputs go to stdout"):
        parse_outputs(["-", "type=oci,dest=-"])

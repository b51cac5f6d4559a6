"""Two scans find what a step changed, and a root merged of layers is what an overlay of them shows."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.layer.layer_samples import file, make, tar_of
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.merge_into_root import merge_layer
from tiffin.builder.layer.disk.root_scan import diff_scans, drop_unused, scan
from tiffin.builder.layer.unpack import unpack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    for name in ("etc", "usr/bin", "var/lib"):
        (top / name).mkdir(parents=True)
    (top / "etc/passwd").write_text("root\n")
    (top / "etc/hosts").write_text("h\n")
    (top / "usr/bin/tool").write_text("tool\n")
    (top / "usr/bin/link").symlink_to("tool")
    (top / "var/lib/db").write_text("data\n")
    return top


def changed(root: Path, act: str, *, skipped: frozenset[str] = frozenset()) -> list[str]:
    """The paths of the changes that a shell script makes, a whiteout with a minus."""
    before = scan(root, skipped)
    subprocess.run(["sh", "-c", act], cwd=root, check=True)
    changes = diff_scans(root, before, scan(root, skipped))
    return [f"{'-' * (change.entry.kind == 'whiteout')}{change.entry.path}" for change in changes]


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("true", []),
        ("cat etc/passwd > /dev/null", []),
        ("echo ROOT > etc/passwd", ["etc", "etc/passwd"]),
        ("echo ROOT > etc/passwd; touch -d @1 etc/passwd; touch -d @1 etc/passwd", ["etc", "etc/passwd"]),
        ("chmod 600 var/lib/db", ["var", "var/lib", "var/lib/db"]),
        ("rm etc/hosts", ["etc", "-etc/hosts"]),
        ("rm -r usr", ["-usr"]),
        ("rm -r usr; echo > usr", ["usr"]),
        ("rm etc/hosts; mkdir etc/hosts", ["etc", "etc/hosts"]),
        ("mv usr/bin/tool usr/tool", ["usr", "usr/bin", "-usr/bin/tool", "usr/tool"]),
        ("ln -sfn other usr/bin/link", ["usr", "usr/bin", "usr/bin/link"]),
        ("ln etc/passwd etc/shadow", ["etc", "etc/passwd", "etc/shadow"]),
        ("mkdir -p a/b", ["a", "a/b"]),
        ("echo new > etc/hosts.new; mv etc/hosts.new etc/hosts", ["etc", "etc/hosts"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_changes(root: Path, act: str, expected: list[str]) -> None:
    assert changed(root, act) == expected


def test_same_size_and_time_set_back_is_found_at_once(root: Path) -> None:
    """However fast the step: the kernel's time of change has moved on since the scan."""
    for _ in range(30):
        path = root / "etc/passwd"
        st = path.stat()
        before = scan(root, ())
        path.write_text("toor\n" if path.read_text() == "root\n" else "root\n")
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        assert "etc/passwd" in [change.entry.path for change in diff_scans(root, before, scan(root, ()))]


def test_skipped_paths_and_unused_directories_are_nobodys(root: Path) -> None:
    assert (
        changed(root, "echo x > etc/hosts; rm -r var; mkdir var; echo > var/x", skipped=frozenset({"etc/hosts", "var"}))
        == []
    )
    before = scan(root, ())
    (root / "made/by/us").mkdir(parents=True)
    after = scan(root, ())
    drop_unused(after, ["made", "made/by", "made/by/us"])
    assert diff_scans(root, before, after) == []
    (root / "made/kept").write_text("")
    after = scan(root, ())
    drop_unused(after, ["made", "made/by", "made/by/us"])
    assert [change.entry.path for change in diff_scans(root, before, after)] == ["made", "made/kept"]


def test_owner_that_stood_for_root(root: Path) -> None:
    before = scan(root, ())
    (root / "etc/new").write_text("")
    st = (root / "etc/new").stat()
    changes = diff_scans(root, before, scan(root, ()), owner=(st.st_uid, st.st_gid))
    assert {(change.entry.uid, change.entry.gid) for change in changes} == {(0, 0)}


# -- merging ---------------------------------------------------------------------------------------------------------


def text(path: str, content: str) -> Change:
    return file(path, content.encode(), mtime_ns=5)


def folder(path: str, mode: int = 0o755, *, opaque: bool = False) -> Change:
    return make(path, "dir", mode, mtime_ns=7, opaque=opaque)


def link(path: str, target: str) -> Change:
    return make(path, "symlink", mtime_ns=5, link=target)


def gone(path: str) -> Change:
    return make(path, "whiteout", 0)


def listing(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = f"{path.stat().st_mode & 0o7777:o} {path.stat().st_mtime_ns}"
        else:
            found[name] = path.read_text()
    return found


def merged(tmp_path: Path, *layers: list[Change]) -> dict[str, str]:
    root = tmp_path / "merged"
    root.mkdir()
    for number, changes in enumerate(layers):
        tree = tmp_path / f"tree-{number}"
        tree.mkdir()
        index = unpack(io.BytesIO(tar_of(changes)[0]), tree, whiteouts=False)
        merge_layer(tree, index, root)
    return listing(root)


LOWER = [folder("a"), text("a/1", "one"), folder("a/sub"), text("a/sub/2", "two"), text("b", "b"), link("l", "a")]
KEPT = {"a": "755 7", "a/1": "one", "a/sub": "755 7", "a/sub/2": "two", "b": "b", "l": "-> a"}


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([], KEPT),
        ([folder("a", 0o700), text("a/3", "three")], KEPT | {"a": "700 7", "a/3": "three"}),
        ([folder("a"), gone("a/1")], {name: kept for name, kept in KEPT.items() if name != "a/1"}),
        ([gone("a")], {"b": "b", "l": "-> a"}),
        ([folder("a", opaque=True), text("a/3", "three")], {"a": "755 7", "a/3": "three", "b": "b", "l": "-> a"}),
        ([text("a", "now a file")], {"a": "now a file", "b": "b", "l": "-> a"}),
        ([folder("b"), text("b/c", "c")], KEPT | {"b": "755 7", "b/c": "c"}),
        ([folder("l"), text("l/1", "not through the link")], KEPT | {"l": "755 7", "l/1": "not through the link"}),
        ([folder("l", opaque=True), text("l/1", "one")], KEPT | {"l": "755 7", "l/1": "one"}),
        ([gone("missing"), folder("n"), gone("n/missing")], KEPT | {"n": "755 7"}),
        ([folder("a"), link("a/sub", "/etc")],
            {name: kept for name, kept in KEPT.items() if name != "a/sub/2"} | {"a/sub": "-> /etc"}),
    ],
    ids=["nothing", "add", "remove", "remove-directory", "opaque", "file-over-directory", "directory-over-file",
         "directory-over-link", "opaque-over-link", "nothing-to-remove", "link-over-directory"],
)  # fmt: skip
def test_merged_root(tmp_path: Path, upper: list[Change], expected: dict[str, str]) -> None:
    assert merged(tmp_path, LOWER, upper) == expected

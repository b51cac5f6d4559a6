"""Where nothing can be mounted, stand-ins are put into a root and taken out again, and nobody sees that they were."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SandboxSpec, SecretFile, Stub, Tmpfs
from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes, join_streams, stream_pipe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("root/etc", "root/work", "aside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root/etc/hosts").write_text("of the image")
    (tmp_path / "root/link").symlink_to("work")
    (tmp_path / "root/broken").symlink_to("nowhere")
    for folder in ("root", "root/etc", "root/work"):
        os.utime(tmp_path / folder, (1, 1))
    return tmp_path / "root"


def spec(root: Path, *mounts: Mount, named: bool = False) -> SandboxSpec:
    return SandboxSpec(
        scratch_dir="",
        lower_dirs=(),
        upper_dir="",
        work_dir="",
        root_dir=str(root),
        argv=(),
        env=(),
        hosts="of the run",
        mounts=mounts,
        stubs=(Stub(path="made/for/it", is_directory=True), Stub(path="file", is_directory=False)),
        named_streams=named,
    )


def tree(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (
            path.readlink() if path.is_symlink() else path.read_text() if path.is_file() else None
        )
        for path in root.rglob("*")
    }


def test_all_is_as_it_was_when_the_run_has_ended(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/old").write_text("kept")
    secret = SecretFile(path="/run/secrets/word", data=base64.b64encode(b"said").decode(), mode=0o440, uid=5, gid=6)
    mounts = (Tmpfs(path="/link/memory", mode=0o1777), Bind(host_path=str(tmp_path / "cache"), path="/cache"), secret)
    with MountSubstitutes(root, tmp_path / "aside") as substitutes:
        sandbox = spec(root, *mounts)
        substitutes.mount_points(sandbox)
        substitutes.put_files(sandbox)
        assert (root / "etc/hosts").read_text() == "of the run"
        assert (root / "work/memory").stat().st_mode & 0o7777 == 0o1777
        word = root / "run/secrets/word"
        assert word.read_text() == "said" and word.stat().st_mode & 0o777 == 0o440
        assert os.geteuid() or (word.stat().st_uid, word.stat().st_gid) == (5, 6)
        assert (root / "cache/old").read_text() == "kept" and not (tmp_path / "cache").exists()
        (root / "cache/new").write_text("of the run")
        assert (root / "made/for/it").is_dir() and (root / "file").read_bytes() == b""
        assert {"work/memory", "run/secrets/word", "etc/hosts", "cache", "made/for/it"} <= substitutes.places
        assert {"run", "run/secrets", "made", "made/for"} <= set(substitutes.made)
    assert tree(root) == before
    assert [(root / name).stat().st_mtime for name in ("", "etc", "work")] == [1, 1, 1]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["new", "old"]


def test_what_a_run_put_there_stays(root: Path, tmp_path: Path) -> None:
    with MountSubstitutes(root, tmp_path / "aside") as substitutes:
        substitutes.directory("made/for/it")
        substitutes.directory("work/gone")
        (root / "made/mine").write_text("of the run")
        (root / "work/gone").rmdir()
        (root / "work").rmdir()
    assert (root / "made/mine").read_text() == "of the run"
    assert not (root / "made/for").exists() and not (root / "work").exists()


def test_a_link_to_nothing_is_told(root: Path, tmp_path: Path) -> None:
    with MountSubstitutes(root, tmp_path / "aside") as substitutes:
        with pytest.raises(SandboxError, match='"broken" in the image is a link to nothing'):
            substitutes.directory("broken/below")
        with pytest.raises(AssertionError):
            substitutes.put_files(spec(root, Layers(path="/x", lower_dirs=(), source="", is_directory=True)))


@pytest.mark.parametrize("named", [True, False])
def test_streams_can_be_opened_by_name_where_no_proc_leads_to_them(named: bool, root: Path) -> None:
    (root / "dev").mkdir()
    for name in ("stdout", "stderr"):
        (root / "dev" / name).symlink_to("/proc/self/fd/1")
    reader, writer = stream_pipe(spec(root, named=named), "stdout")
    join_streams(spec(root, named=named))
    try:
        if named:
            (root / "dev/stderr").write_text("by name")
        else:
            os.write(writer, b"by number")
        assert os.read(reader, 100) == (b"by name" if named else b"by number")
    finally:
        os.close(reader)
        os.close(writer)

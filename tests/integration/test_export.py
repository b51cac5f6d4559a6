"""tiffin export: the file system of a container as a tar, as docker export has it."""

from __future__ import annotations

import os
import pty
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.test_leftovers import small_disk
from tests.support.cli_runner import CliRunner, own_cli, wait_until

pytestmark = pytest.mark.userns
CHANGE = (
    "rm /etc/group; echo new > /tmp/new; chown 5:6 /tmp/new; chmod 4755 /tmp/new; ln /tmp/new /tmp/again; "
    "ln -s new /tmp/link; mkdir /vol/kept; echo x > /named/away; mknod /tmp/pipe p"
)


@pytest.fixture
def kept(cli: CliRunner) -> Iterator[str]:
    words = ("--name", "kept", "-v", "/vol", "-v", "exported:/named", "minimal", "sh", "-c", CHANGE)
    done = cli.run("run", *words)
    assert done.returncode == 0, done.stderr
    yield "kept"
    assert cli.run("rm", "kept").returncode == 0


def test_file_system_is_written_with_owners_and_links(cli: CliRunner, kept: str) -> None:
    target = cli.folder / "kept.tar"
    assert cli.run("export", "-o", target, kept).stdout == ""
    with tarfile.open(target) as tar:
        members = {member.name.rstrip("/"): member for member in tar}
        file = members["tmp/again"]
        assert (file.uid, file.gid, file.mode) == (5, 6, 0o4755)
        content = tar.extractfile(file)
        assert content is not None and content.read() == b"new\n"
    assert "etc/passwd" in members and "bin/busybox" in members, "what the image has"
    assert "etc/group" not in members, "what was removed"
    assert members["tmp/new"].islnk() and members["tmp/new"].linkname == "tmp/again"
    assert members["tmp/link"].linkname == "new" and members["tmp/pipe"].isfifo()
    assert "vol/kept" not in members, "a volume is not the container's"
    assert not {name for name in members if name.startswith(("named/", "proc/", "sys/", "dev/")) or "wh." in name}
    first = subprocess.run(cli.argv("export", kept), capture_output=True, check=True, **cli.options())  # type: ignore[call-overload]
    assert first.stdout == target.read_bytes(), "stdout has the same"
    assert not list(cli.folder.glob("*.part"))


@pytest.mark.parametrize("tier", ["range", "chroot"])
def test_copied_root_is_exported(tmp_path: Path, tier: str) -> None:
    """On overlayfs, and without mounts, a container has a copy of its image: what was removed and owned is the same."""
    if os.getuid() != 0:
        pytest.skip("making file systems takes root")
    with small_disk(tmp_path / "disk", overlay=True) as disk, own_cli(disk) as own:
        cli = replace(own, env={**own.env, "TIFFIN_ISOLATION": tier})
        assert "layers are copied" in cli.run("info").stdout
        assert cli.run("run", "--name", "kept", "minimal", "sh", "-c", CHANGE.split("; mkdir")[0]).returncode == 0
        target = tmp_path / "kept.tar"
        assert cli.run("export", "-o", target, "kept").returncode == 0
        with tarfile.open(target) as tar:
            members = {member.name.rstrip("/"): member for member in tar}
        file = members["tmp/again"]
        assert (file.uid, file.gid, file.mode, file.size) == (5, 6, 0o4755, len("new\n"))
        assert members["tmp/new"].linkname == "tmp/again" and members["tmp/link"].linkname == "new"
        assert "bin/busybox" in members and "etc/passwd" in members and "etc/group" not in members
        assert not {name for name in members if name.startswith(("proc/", "sys/", "dev/")) or "wh." in name}
        assert cli.run("rm", "kept").returncode == 0
        assert cli.left() == []


def test_running_container_is_exported(cli: CliRunner) -> None:
    with cli.start(
        "run", "--rm", "--name", "busy", "-i", "minimal", "sh", "-c", "echo up > /up; read x", stdin=-1
    ) as run:
        assert run.stdin is not None
        target = cli.folder / "busy.tar"
        listed = ("export", "-o", target, "busy")

        def is_up() -> bool:
            if cli.run(*listed).returncode != 0:
                return False
            with tarfile.open(target) as tar:
                return "up" in tar.getnames()

        wait_until(is_up, seconds=20)
        run.stdin.close()
        assert run.wait(20) in (0, 1)
    assert cli.left() == []


def test_what_cannot_be_exported_is_told(cli: CliRunner, kept: str) -> None:
    done = cli.run("export", "nothere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: No such container: nothere; see tiffin ps -a\n"
    done = cli.run("export", "-o", cli.folder / "no/such/file", kept)
    assert done.returncode == 1 and "no/such/file" in done.stderr and done.stderr.count("\n") == 1
    outer, inner = pty.openpty()
    try:
        options = {**cli.options(), "stdout": inner, "stderr": subprocess.PIPE, "text": True}
        refused = subprocess.run(cli.argv("export", kept), check=False, **options)  # type: ignore[call-overload]
    finally:
        os.close(inner)
        os.close(outer)
    assert refused.returncode != 0 and "refusing to write an archive to a terminal; use -o FILE" in refused.stderr

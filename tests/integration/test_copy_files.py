"""cp: between containers that run or not and this machine, in every tier that has namespaces."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, own_cli, user_cli, wait_until
from tests.support.unprivileged import Users

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
SPARSE_BYTES = 64 << 20
SWAPS_SECONDS = 3.0


@pytest.fixture(scope="module", params=["self", "range", "single"])
def cli(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliRunner]:
    """As whoever runs the tests, as a user with subordinate ids, and as one without."""
    if request.param == "self":
        with own_cli(tmp_path_factory.mktemp("machine")) as made:
            yield made
        return
    users: Users = request.getfixturevalue("users")
    user = users.usual if request.param == "range" else users.names[-1]
    with user_cli(users, user) as made:
        yield made


@pytest.fixture(params=["created", "running", "stopped"])
def box(request: pytest.FixtureRequest, cli: CliRunner) -> str:
    """A container of the user alice's, in one of its states."""
    make(cli, request.param)
    return "box"


def make(cli: CliRunner, state: str, *options: str, name: str = "box") -> None:
    words = ["--name", name, "-u", "alice", "-v", f"{cli.folder}/bound:/bound", "-v", "kept:/kept", *options]
    (cli.folder / "bound").mkdir(exist_ok=True)
    cli.own(cli.folder / "bound")
    if state == "created":
        succeed(cli, "create", *words, "minimal", "sleep", "100")
        return
    succeed(cli, "run", "-d", *words, "minimal", "sleep", "100")
    if state == "stopped":
        succeed(cli, "stop", "-t", "0", name)


def succeed(cli: CliRunner, *words: str | Path, input: str | None = None) -> str:
    done = cli.run(*words, input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(cli: CliRunner, command: str, name: str = "box") -> str:
    """What a shell in the container prints, which is started if it does not run."""
    succeed(cli, "start", name)
    return succeed(cli, "exec", "-u", "root", name, "sh", "-c", command)


def write(cli: CliRunner, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = cli.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        cli.own(cli.folder / path.split("/")[0])


def test_what_is_copied_in_is_seen_inside(cli: CliRunner, box: str) -> None:
    subprocess.run(["rm", "-rf", cli.folder / "tree"], check=True)
    write(cli, {"tree/sub/file": "text\n", "tree/script": "#!/bin/sh\n"})
    os.symlink("sub/file", cli.folder / "tree/link")
    os.link(cli.folder / "tree/script", cli.folder / "tree/again")
    os.chmod(cli.folder / "tree/script", 0o750)
    os.utime(cli.folder / "tree/sub", (1_000_000_000, 1_000_000_000))
    cli.own(cli.folder / "tree")
    succeed(cli, "cp", cli.folder / "tree", f"{box}:/srv/")
    succeed(cli, "cp", cli.folder / "tree/script", f"{box}:/kept/named")
    succeed(cli, "cp", "-a", f"{cli.folder}/tree/.", f"{box}:/bound")
    assert (cli.folder / "bound/sub/file").read_text() == "text\n"
    lines = seen(
        cli,
        "cd /srv/tree; cat link; stat -c '%a %h' script; stat -c %Y sub; readlink link; ls /kept;"
        " stat -c '%u:%g' /bound/script",
    ).split("\n")
    assert lines == ["text", "750 2", "1000000000", "sub/file", "named", "1000:1000", ""]


def test_owners_are_those_of_the_archive(cli: CliRunner, box: str) -> None:
    path = cli.folder / "owned.tar"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/file", tarfile.REGTYPE), ("d/link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid, member.mode, member.linkname = kind, 33, 1000, 0o4711, "file"
            archive.addfile(member)
    cli.own(path)
    with path.open("rb") as stream:
        subprocess.run(cli.argv("cp", "-", f"{box}:/srv"), stdin=stream, check=True, **cli.options())  # type: ignore[call-overload]
    assert seen(cli, "stat -c '%u:%g %a %F' /srv/d /srv/d/file; stat -c %u:%g /srv/d/link").splitlines() == [
        "33:1000 4711 directory",
        "33:1000 4711 regular empty file",
        "33:1000",
    ]
    out: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]
        cli.argv("cp", f"{box}:/srv/d", "-"), capture_output=True, check=True, **cli.options()
    )
    (cli.folder / "out.tar").write_bytes(out.stdout)
    with tarfile.open(cli.folder / "out.tar") as archive:
        assert {(item.name, item.uid, item.gid) for item in archive} == {
            ("d", 33, 1000),
            ("d/file", 33, 1000),
            ("d/link", 33, 1000),
        }


def test_what_is_copied_out_is_the_callers(cli: CliRunner, box: str) -> None:
    seen(cli, "mkdir -p /srv/o/deep; echo a > /srv/o/deep/a; chown -R 33:33 /srv/o; chmod 700 /srv/o; mkfifo /srv/o/p")
    target = cli.folder / "o"
    succeed(cli, "cp", f"{box}:/srv/o", ".")
    assert target.stat().st_uid == cli.folder.stat().st_uid
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert (target / "deep/a").read_text() == "a\n"
    assert stat.S_ISFIFO((target / "p").stat().st_mode)
    succeed(cli, "cp", f"{box}:/srv/o/.", "renamed")
    assert sorted(os.listdir(cli.folder / "renamed")) == ["deep", "p"]
    subprocess.run(["rm", "-rf", target, cli.folder / "renamed"], check=True)


def test_holes_and_attributes_survive(cli: CliRunner, box: str) -> None:
    path = cli.folder / "holes"
    with path.open("wb") as stream:
        stream.truncate(SPARSE_BYTES)
        stream.seek(SPARSE_BYTES // 2)
        stream.write(b"middle")
    os.setxattr(path, "user.note", b"kept")
    cli.own(path)
    succeed(cli, "cp", path, f"{box}:/kept/holes")
    succeed(cli, "cp", f"{box}:/kept/holes", "back")
    back = cli.folder / "back"
    assert back.read_bytes() == path.read_bytes()
    assert back.stat().st_blocks * 512 < SPARSE_BYTES // 8
    assert os.getxattr(back, "user.note") == b"kept"
    assert int(seen(cli, "du -k /kept/holes | cut -f1").strip()) < SPARSE_BYTES // 1024 // 8


def test_links_lead_nowhere_but_inside(cli: CliRunner, box: str) -> None:
    write(cli, {"secret": "ours\n", "new": "new\n"})
    seen(cli, f"ln -s {cli.folder}/secret /srv/l; ln -s {cli.folder} /srv/d; mkdir -p /in; ln -s /in /srv/into")
    done = cli.run("cp", "-L", f"{box}:/srv/l", "stolen")
    assert done.returncode == 1
    assert "Could not find the file" in done.stderr
    assert cli.run("cp", "new", f"{box}:/srv/d/secret").returncode == 1
    assert (cli.folder / "secret").read_text() == "ours\n"
    succeed(cli, "cp", "new", f"{box}:/srv/into")
    assert seen(cli, "cat /in/new") == "new\n"


def test_links_that_are_swapped_meanwhile_lead_nowhere(cli: CliRunner) -> None:
    """CVE-2018-15664: a directory that becomes a link between a look and an open."""
    make(cli, "running")
    write(cli, {"canary/file": "ours\n", "payload": "theirs\n"})
    canary = cli.folder / "canary"
    loop = f"mkdir /srv/a /srv/b; ln -s {canary} /srv/b/x; mkdir /srv/a/x; echo in > /srv/a/x/file"
    swap = "while :; do mv -T a/x t && mv -T b/x a/x; mv -T a/x b/x; mv -T t a/x; done"
    succeed(cli, "exec", "-d", "-u", "root", "box", "sh", "-c", f"{loop}; cd /srv; {swap}")
    stop = threading.Event()
    timer = threading.Timer(SWAPS_SECONDS, stop.set)
    timer.start()
    got = set()
    while not stop.is_set():
        cli.run("cp", "payload", "box:/srv/a/x/file")
        if cli.run("cp", "box:/srv/a/x/file", "got").returncode == 0:
            got.add((cli.folder / "got").read_text())
        cli.run("cp", "box:/srv/a", "all")
    timer.join()
    assert (canary / "file").read_text() == "ours\n"
    assert "ours\n" not in got
    subprocess.run(["rm", "-rf", cli.folder / "all", cli.folder / "got"], check=True)


def test_what_is_read_only_is_refused(cli: CliRunner) -> None:
    write(cli, {"new": "new\n"})
    make(cli, "created", "--read-only", "-v", f"{cli.folder}/bound:/ro:ro")
    for state in ("created", "running"):
        if state == "running":
            succeed(cli, "start", "box")
        for path, text in (("/srv", "container rootfs is marked read-only"), ("/ro", "volume is marked read-only")):
            done = cli.run("cp", "new", f"box:{path}")
            assert done.returncode == 1
            assert text in done.stderr
        succeed(cli, "cp", "new", "box:/kept")


def test_mounted_files_are_written_and_stay_mounted(cli: CliRunner) -> None:
    make(cli, "running")
    write(cli, {"hosts": "10.9.8.7 far\n"})
    succeed(cli, "cp", "hosts", "box:/etc/hosts")
    assert (
        succeed(cli, "exec", "box", "sh", "-c", "cat /etc/hosts; grep -c /etc/hosts /proc/mounts")
        == "10.9.8.7 far\n1\n"
    )
    done = cli.run("cp", "hosts", "box:/dev/null")
    assert done.returncode == 1
    assert "must be a directory or a regular file" in done.stderr
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert (
        succeed(cli, "exec", "box", "sh", "-c", "echo x > /dev/null; stat -c %F /dev/null")
        == "character special file\n"
    )
    assert "Linux" in succeed(cli, "cp", "box:/proc/version", "-")


def test_from_container_to_container(cli: CliRunner) -> None:
    make(cli, "running")
    make(cli, "created", name="other")
    seen(cli, "mkdir /srv/o; echo a > /srv/o/a; ln /srv/o/a /srv/o/b; chown 33:1000 /srv/o/a")
    succeed(cli, "cp", "box:/srv/o", "other:/srv/copy")
    succeed(cli, "cp", "box:/srv/o/a", "other:/srv")
    assert seen(cli, "cat /srv/copy/b /srv/a; stat -c '%u:%g %h' /srv/copy/a", "other") == "a\na\n33:1000 2\n"
    done = cli.run("cp", "box:/none", "other:/srv")
    assert done.returncode == 1
    assert "Could not find the file /none in container box" in done.stderr


def test_a_start_waits_for_a_copy(cli: CliRunner) -> None:
    make(cli, "created")
    copy = cli.start("cp", "-", "box:/srv", stdin=subprocess.PIPE)
    (folder,) = (cli.state / "containers").iterdir()
    wait_until(lambda: (folder / "files").exists())
    assert succeed(cli, "ps", "-a", "--format", "{{.State}}") == "created\n"
    begin = cli.start("start", "box")
    with pytest.raises(subprocess.TimeoutExpired):
        begin.wait(0.5)
    assert copy.communicate("")[1] == ""
    assert begin.communicate(timeout=20)[0] == "box\n"
    assert succeed(cli, "ps", "--format", "{{.State}}") == "running\n"


def test_a_copy_that_is_killed_leaves_nothing_in_the_way(cli: CliRunner) -> None:
    make(cli, "created")
    write(cli, {"new": "new\n"})
    copy = cli.start("cp", "-", "box:/srv", stdin=subprocess.PIPE)
    (folder,) = (cli.state / "containers").iterdir()
    wait_until(lambda: (folder / "files").exists())
    copy.kill()
    copy.communicate()
    succeed(cli, "cp", "new", "box:/srv")
    assert not (folder / "files").exists()
    assert seen(cli, "cat /srv/new") == "new\n"

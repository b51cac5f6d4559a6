"""tiffin run: bind mounts, volumes, tmpfs; and none of them escapes the root or leaves a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner
from tests.support.minimal_image import base_files

pytestmark = pytest.mark.userns


@pytest.fixture
def shared(cli: CliRunner, tmp_path: Path) -> Path:
    """A directory of the user's with a file in it."""
    folder = cli.folder / f"shared-{tmp_path.name}"
    folder.mkdir()
    (folder / "file").write_text("content")
    cli.own(folder)
    return folder


def test_bind_of_a_directory(cli: CliRunner, shared: Path) -> None:
    script = "cat /in/file; echo new >/in/made; stat -c %u:%g /in/made"
    assert cli.output("-v", f"{shared}:/in", "minimal", "sh", "-c", script) == "content0:0\n"
    assert (shared / "made").read_text() == "new\n"
    assert (shared / "made").stat().st_uid == shared.stat().st_uid


@pytest.mark.parametrize(
    "option", [["-v", "{}:/in:ro"], ["--mount", "type=bind,source={},target=/in,readonly"]], ids=["v", "mount"]
)
def test_read_only_bind(option: list[str], cli: CliRunner, shared: Path) -> None:
    words = [word.format(shared) for word in option]
    done = cli.run("run", "--rm", *words, "minimal", "sh", "-c", "cat /in/file; touch /in/x; rm /in/file")
    assert done.stdout == "content"
    assert done.stderr.count("Read-only file system") == 2
    assert [item.name for item in shared.iterdir()] == ["file"]


def test_bind_of_a_file_over_one_and_to_a_new_place(cli: CliRunner, shared: Path) -> None:
    file = shared / "file"
    shown = cli.output(
        *("-v", f"{file}:/etc/os-release:ro", "-v", f"{file}:/new/deep/file", "minimal"),
        *("cat", "/etc/os-release", "/new/deep/file"),
    )
    assert shown == "contentcontent"


def test_relative_and_missing_host_directories(cli: CliRunner, shared: Path) -> None:
    assert cli.output("-v", f"./{shared.name}:/in", "minimal", "cat", "/in/file") == "content"
    assert cli.output("-v", f"{shared}/not/there:/in", "minimal", "ls", "/in") == ""
    assert (shared / "not/there").is_dir()
    done = cli.run("run", "--rm", "--mount", f"type=bind,source={shared}/none,target=/in", "minimal", "true")
    assert (done.returncode, "does not exist" in done.stderr) == (125, True)


def test_mount_on_a_link_of_the_image_stays_in_the_root(cli: CliRunner, shared: Path) -> None:
    """T25: /var/run is a symlink; the mount is where it leads inside."""
    assert cli.output("-v", f"{shared}:/var/run/here", "minimal", "cat", "/run/here/file") == "content"
    cli.make_image(base_files(), {"escape": "-> ../../../../../etc", "abs": "-> /etc"}, name="links")
    for place in ("/escape/x", "/abs/x"):
        assert cli.output("-v", f"{shared}:{place}", "links", "cat", "/etc/x/file") == "content"
    assert not Path("/etc/x").exists()


def test_mount_points_leave_no_trace_in_the_container(cli: CliRunner, shared: Path) -> None:
    cli.run("run", "--name", "traces", "-v", f"{shared}:/new/deep", "--tmpfs", "/other", "minimal", "true")
    (folder,) = (cli.state / "containers").iterdir()
    assert list((folder / "upper").iterdir()) == []
    assert cli.run("rm", "traces").returncode == 0


def test_parents_are_mounted_first_whatever_their_order(cli: CliRunner, shared: Path) -> None:
    (shared / "sub").mkdir()
    cli.own(shared)
    shown = cli.output(
        *("--tmpfs", "/in/sub", "-v", f"{shared}:/in", "minimal", "sh", "-c", "touch /in/sub/x; ls /in /in/sub")
    )
    assert shown == "/in:\nfile\nsub\n\n/in/sub:\nx\n"
    assert list((shared / "sub").iterdir()) == []


def test_mount_below_a_mount_is_made_there(cli: CliRunner, shared: Path) -> None:
    shown = cli.output(
        *("--tmpfs", "/t", "-v", f"{shared}:/t/new/deep", "-v", f"{shared}/file:/t/f", "minimal"),
        *("cat", "/t/new/deep/file", "/t/f"),
    )
    assert shown == "contentcontent"


def test_tmpfs(cli: CliRunner) -> None:
    script = "stat -c %a /t /u; dd if=/dev/zero of=/t/x bs=1k count=100 2>&1 | tail -1; df -k /t | tail -1"
    shown = cli.output("--tmpfs", "/t:size=64k,mode=750", "--tmpfs", "/u", "minimal", "sh", "-c", script).split()
    assert shown[:2] == ["750", "1777"]
    assert "64" in shown


def test_shm_size(cli: CliRunner) -> None:
    assert cli.output("--shm-size", "1m", "minimal", "sh", "-c", "df -k /dev/shm | tail -1").split()[1] == "1024"


def test_named_volume_is_filled_once_and_kept(cli: CliRunner) -> None:
    script = "cat /home/alice/page 2>/dev/null; stat -c %u /home/alice; touch /home/alice/made; ls /home/alice"
    cli.make_image(base_files(), {"home/alice/page": "first\n"}, name="seeded")
    assert cli.output("-v", "data:/home/alice", "seeded", "sh", "-c", script) == "first\n1000\nmade\npage\n"
    cli.make_image(base_files(), {"home/alice/page": "second\n"}, name="seeded")
    assert cli.output("-v", "data:/home/alice:ro", "seeded", "cat", "/home/alice/page") == "first\n"
    assert cli.output("--mount", "source=data,target=/elsewhere", "minimal", "ls", "/elsewhere") == "made\npage\n"
    assert cli.output("-v", "empty:/home/alice:nocopy", "seeded", "ls", "/home/alice") == ""
    assert cli.left() == []


@pytest.mark.parametrize("options", [[], ["--read-only"]], ids=["plain", "read-only"])
def test_volumes_of_the_image_are_the_containers_own(options: list[str], cli: CliRunner) -> None:
    cli.make_image(
        base_files(), {"data/seed": "seed\n"}, name="volumes", config={"Volumes": {"/data": {}, "/fresh": {}}}
    )
    script = "cat /data/seed; echo x >/data/new && echo y >/fresh/new && cat /data/new /fresh/new"
    for _ in range(2):
        assert cli.output(*options, "volumes", "sh", "-c", script) == "seed\nx\ny\n"
    assert cli.left() == []


def test_device_as_a_mount(cli: CliRunner) -> None:
    assert cli.output("-v", "/dev/null:/dev/sub/none", "minimal", "stat", "-c", "%t:%T", "/dev/sub/none") == "1:3\n"

"""A command that runs as the very caller, `-u $(id -u):$(id -g)`, writes into a mount what belongs to the caller;
the image's files keep their owners. So do those of --userns=keep-id, podman's word for it.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import wait_until
from tests.support.unprivileged import WITH_IDS, Users

pytestmark = pytest.mark.userns
DOCKERFILE = """FROM scratch
COPY rootfs/ /
ENV PATH=/bin
RUN mkdir -p /etc/x && echo a > /etc/x/f && chown 5:6 /etc/x/f && mkdir -p /home/app && chown 1000:1001 /home/app && mkdir -m 1777 /t
"""
OWNERS = "stat -c '%u:%g' / /etc/x /etc/x/f /home/app /t"
IMAGE_OWNERS = ["0:0", "0:0", "5:6", "1000:1001", "0:0"]


class Caller:
    """A user with an image `app` and a directory `work`."""

    def __init__(self, users: Users, user: str) -> None:
        self.users, self.user, self.work = users, user, users.home(user) / "work"
        st = users.home(user).stat()
        self.uid, self.gid = st.st_uid, st.st_gid
        self.has_range = user == WITH_IDS

    def run(self, *words: str | Path, code: int = 0) -> str:
        """What a container prints."""
        done = self.users.run(self.user, ["run", *words], check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def owner(self, name: str) -> tuple[int, int]:
        st = (self.work / name).stat()
        return st.st_uid, st.st_gid


@pytest.fixture(scope="module", params=[0, -1], ids=["range", "single"])
def caller(request: pytest.FixtureRequest, users: Users, busybox: Path) -> Iterator[Caller]:
    made = Caller(users, users.names[request.param])
    folder = users.home(made.user) / "keep"
    subprocess.run(["cp", "-a", str(busybox), str(folder)], check=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    made.work.mkdir()
    for path in (folder, made.work):
        users.own(made.user, path)
    users.run(made.user, ["build", "-q", "-t", "app", folder])
    yield made
    for path in (folder, made.work):
        subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.parametrize("form", ["uid:gid", "uid", "mount", "read-only root", "keep-id", "keep-id and image user"])
def test_what_is_written_is_the_callers(caller: Caller, form: str) -> None:
    volume = ["-v", f"{caller.work}:/w"]
    words = {
        "uid:gid": ["-u", f"{caller.uid}:{caller.gid}", *volume],
        "uid": ["-u", str(caller.uid), *volume],
        "mount": ["-u", f"{caller.uid}:{caller.gid}", "--mount", f"type=bind,source={caller.work},target=/w"],
        "read-only root": ["--read-only", "-u", f"{caller.uid}:{caller.gid}", *volume],
        "keep-id": ["--userns=keep-id", *volume],
        "keep-id and image user": ["--userns", "keep-id", "-u", f"{caller.uid}:{caller.gid}", *volume],
    }[form]
    name = form.replace(" ", "-")
    script = f"echo hi > /w/{name} && mkdir /w/{name}.d && stat -c %u /w/{name} && id -u && {OWNERS}"
    *ids, first, second, third, fourth, fifth = caller.run("--rm", *words, "app", "sh", "-c", script).split()
    assert ids == [str(caller.uid)] * 2
    assert [first, second, third, fourth, fifth] == IMAGE_OWNERS
    for made in (name, f"{name}.d"):
        assert caller.owner(made)[0] == caller.uid


def test_the_mount_shows_whose_it_is(caller: Caller) -> None:
    """git asks for that."""
    words = ["--rm", "-u", f"{caller.uid}:{caller.gid}", "-v", f"{caller.work}:/w", "app", "stat", "-c", "%u:%g", "/w"]
    assert caller.run(*words).strip() == f"{caller.uid}:{caller.gid}"


def test_root_of_the_image_stays_closed(caller: Caller) -> None:
    words = ["--rm", "-u", f"{caller.uid}:{caller.gid}", "-v", f"{caller.work}:/w", "app", "sh", "-c"]
    assert "Permission denied" in caller.run(*words, "echo x > /etc/x/f", code=1)
    assert caller.run(*words, "echo x > /t/f && cat /t/f") == "x\n"


@pytest.mark.parametrize(("uid", "gid"), [(50, 70), (1000, 1001), (65535, 65535)])
def test_other_ids_may_be_the_callers(caller: Caller, uid: int, gid: int) -> None:
    words = ["--rm", f"--userns=keep-id:uid={uid},gid={gid}", "-v", f"{caller.work}:/w", "app", "sh", "-c"]
    seen = caller.run(*words, f"touch /w/{uid}; stat -c %u:%g /w/{uid}; id -u; id -g; {OWNERS}").split()
    assert seen == [f"{uid}:{gid}", str(uid), str(gid), *IMAGE_OWNERS]
    assert caller.owner(str(uid)) == (caller.uid, caller.gid)


def test_root_there_is_not_the_caller(caller: Caller) -> None:
    if caller.has_range:
        words = ["--rm", "--userns=keep-id", "-u", "0", "-v", f"{caller.work}:/w", "app", "sh", "-c", "touch /w/root"]
        caller.run(*words)
        assert caller.owner("root")[0] not in (0, caller.uid)


def test_a_container_that_is_kept_can_be_exported_and_removed(caller: Caller) -> None:
    own = f"{caller.uid}:{caller.gid}"
    script = "touch /t/mine && mkdir /t/d && cp /etc/x/f /t/d/copy"
    caller.run("--name", "kept", "-u", own, "-v", f"{caller.work}:/w", "app", "sh", "-c", script)
    path = caller.work / "root.tar"
    caller.users.run(caller.user, ["export", "-o", path, "kept"])
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        owners = {member.name.rstrip("/"): (member.uid, member.gid) for member in tar}
    assert owners["t/mine"] == owners["t/d/copy"] == (caller.uid, caller.gid)
    assert (owners["etc/x/f"], owners["home/app"], owners["t"]) == ((5, 6), (1000, 1001), (0, 0))
    assert "kept" in caller.users.run(caller.user, ["ps", "-a"]).stdout
    caller.users.run(caller.user, ["rm", "kept"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--userns=auto"], '--userns "auto" is not supported; use host, keep-id'),
        (["--userns=keep-id:size=5"], "is not supported"),
    ],
)
def test_what_cannot_be_is_refused(caller: Caller, words: list[str], reason: str) -> None:
    assert reason in caller.run("--rm", *words, "app", "true", code=125)


@pytest.mark.parametrize("made", [False, True], ids=["new", "made before"])
def test_volumes_with_names_have_owners_by_the_map_of_who_filled_them(caller: Caller, made: bool) -> None:
    tiffin = caller.users.run
    own, work = f"{caller.uid}:{caller.gid}", ["-v", f"{caller.work}:/w"]
    volumes = ["-v", "kept-home:/home/app", "-v", "kept-empty:/v"]
    keeping = ["run", "--rm", "--userns=keep-id", *volumes, "app", "sh", "-c"]
    try:
        if made:
            tiffin(caller.user, ["volume", "create", "kept-home"])
            tiffin(caller.user, ["volume", "create", "kept-empty"])
        first = tiffin(caller.user, [*keeping, "stat -c %u:%g /home/app /v"]).stdout.split()
        assert first == ["1000:1001", own]
        tiffin(caller.user, [*keeping, "echo hi > /v/mine"])
        as_caller = tiffin(
            caller.user, ["run", "--rm", "-u", own, *work, *volumes, "app", "stat", "-c", "%u:%g", "/v/mine"]
        )
        assert as_caller.stdout.split() == [own] and "other owners" not in as_caller.stderr
        tiffin(caller.user, ["create", "--name", "keeper", "--userns=keep-id", *volumes, "app", "true"])
        tiffin(caller.user, ["cp", "keeper:/v/mine", caller.work / "copied"])
        assert (caller.work / "copied").read_text() == "hi\n"
        usual = tiffin(caller.user, ["run", "--rm", *volumes, "app", "cat", "/v/mine"])
        assert usual.stdout == "hi\n"
        told = f"volume kept-empty was filled by containers with --userns keep-id:uid={caller.uid},gid={caller.gid}"
        assert (told in usual.stderr) is caller.has_range
    finally:
        tiffin(caller.user, ["rm", "-f", "keeper"])
        tiffin(caller.user, ["volume", "rm", "kept-home", "kept-empty"])


@pytest.mark.parametrize("options", [(), ("--read-only",), ("-u", "0"), ("-u", "0", "--read-only")], ids=" ".join)
def test_a_new_volume_is_of_who_runs_unless_the_image_has_the_place(caller: Caller, options: tuple[str, ...]) -> None:
    own = "0:0" if "-u" in options else f"{caller.uid}:{caller.gid}"
    words = ["--rm", "--userns=keep-id", *options, "-v", "/new", "-v", "/home/app", "app", "sh", "-c"]
    show = "touch /new/x && stat -c %u:%g /new /new/x /home/app"
    assert caller.run(*words, show).split() == [own, own, "1000:1001"]


def test_volumes_without_names_outlive_a_container_of_kept_ids(caller: Caller) -> None:
    tiffin, own = caller.users.run, f"{caller.uid}:{caller.gid}"
    caller.run("--name", "anonymous", "--userns=keep-id", "-v", "/new", "app", "touch", "/new/x")
    name = tiffin(caller.user, ["inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", "anonymous"]).stdout.strip()
    try:
        tiffin(caller.user, ["rm", "anonymous"])
        kept = caller.run("--rm", "--userns=keep-id", "-v", f"{name}:/v", "app", "stat", "-c", "%u:%g", "/v/x")
        assert kept.split() == [own]
        caller.run("--rm", "-v", f"{name}:/v", "app", "true")
        assert name in tiffin(caller.user, ["volume", "ls", "-q"]).stdout
        caller.run("-d", "--name", "borrower", "--userns=keep-id", "-v", f"{name}:/v", "app", "sleep", "1000")
        caller.run("--rm", "--userns=keep-id", "--volumes-from", "borrower", "app", "test", "-e", "/v/x")
        tiffin(caller.user, ["rm", "-f", "-v", "borrower"])
        assert name in tiffin(caller.user, ["volume", "ls", "-q"]).stdout, "who names a volume does not remove it"
    finally:
        tiffin(caller.user, ["volume", "rm", name])


def test_a_lent_volume_goes_with_its_last_container(caller: Caller) -> None:
    tiffin = caller.users.run
    caller.run("-d", "--name", "lender", "--userns=keep-id", "-v", "/new", "app", "sleep", "1000")
    caller.run("-d", "--name", "second", "--userns=keep-id", "--volumes-from", "lender", "app", "sleep", "1000")
    caller.run("-d", "--name", "third", "--userns=keep-id", "--volumes-from", "second", "app", "sleep", "1000")
    before = tiffin(caller.user, ["volume", "ls", "-q"]).stdout.split()
    for name, left in (("lender", len(before)), ("second", len(before)), ("third", len(before) - 1)):
        tiffin(caller.user, ["rm", "-f", "-v", name])
        assert len(tiffin(caller.user, ["volume", "ls", "-q"]).stdout.split()) == left


def test_the_callers_of_old_are_as_before(caller: Caller) -> None:
    """Without a mount that it may write nothing changes: no second copy of the layers."""
    own = f"{caller.uid}:{caller.gid}"
    assert caller.run("--rm", "-u", own, "app", "id", "-u").split() == [str(caller.uid)]
    assert caller.run("--rm", "--userns=host", "-v", f"{caller.work}:/w", "app", "stat", "-c", "%u", "/w").split() == [
        "0"
    ]


def test_one_that_is_removed_while_it_runs_ends(caller: Caller) -> None:
    """The death of who holds it ends it, though its init has changed its uid."""
    seconds = str(100000 + caller.uid)
    caller.run("-d", "--name", "kept", "--userns=keep-id", "app", "sleep", seconds)
    caller.users.run(caller.user, ["rm", "-f", "kept"])
    found = subprocess.run(["pgrep", "-fx", f"sleep {seconds}"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_kept_ids_in_a_network_with_a_name(caller: Caller) -> None:
    """Such a container and others of the user find each other, also after the network was killed."""
    users, user = caller.users, caller.user
    serve = "mkdir -p /t/w && echo page > /t/w/index.html && exec httpd -f -p 8080 -h /t/w"
    fetch = "until wget -q -O - http://kept:8080/; do sleep 0.1; done"

    def tiffin(*words: str) -> str:
        return users.run(user, [*words], check=True).stdout

    tiffin("network", "create", "back")
    try:
        tiffin("run", "-d", "--name", "kept", "--userns=keep-id", "--network", "back", "app", "sh", "-c", serve)
        for _ in range(2):
            assert caller.run("--rm", "--network", "back", "app", "sh", "-c", fetch) == "page\n"
            kill_network(users.home(user) / ".local/share/tiffin/networks/back.sock")
        words = ("--rm", "--userns=keep-id", "--network", "back", "-v", f"{caller.work}:/w")
        seen = caller.run(*words, "app", "sh", "-c", f"id -u; id -g; touch /w/netted; {fetch}").split()
        assert seen == [str(caller.uid), str(caller.gid), "page"]
        assert caller.owner("netted") == (caller.uid, caller.gid)
        assert tiffin("exec", "kept", "id", "-u").strip() == str(caller.uid)
    finally:
        tiffin("rm", "-f", "kept")
        tiffin("network", "rm", "back")


def kill_network(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(path))
        process = struct.unpack("=iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{process}").exists())

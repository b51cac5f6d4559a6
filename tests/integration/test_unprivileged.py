"""The main job as users who are not root, with subordinate ids and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Registry
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users, has_ids

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
DOCKERFILE = """FROM base AS a
RUN mkdir /o && echo x > /o/x && id -u > /o/id
FROM base
COPY --from=a /o /o
COPY f /f
WORKDIR /w
RUN echo more > more && cat /o/x /f
CMD ["cat", "/o/x", "/f", "/w/more", "/o/id"]
"""


@pytest.fixture
def folder(users: Users, busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Contexts below a directory that everybody can reach."""
    path = users.code / "contexts"
    path.mkdir(exist_ok=True)
    if not (path / "base").exists():
        shutil.copytree(busybox, path / "base", symlinks=True)
    (path / "app").mkdir(exist_ok=True)
    (path / "app/Dockerfile").write_text(DOCKERFILE)
    (path / "app/f").write_text("file\n")
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    yield path
    for user in users.names:
        users.run(user, ["system", "reset", "-f"])


@pytest.mark.parametrize(("user", "tier"), [(WITH_IDS, "range"), (WITHOUT_IDS, "single")], ids=["range", "single"])
def test_build_push_run(users: Users, folder: Path, registry: Registry, user: str, tier: str) -> None:
    info = json.loads(users.run(user, ["info", "--format", "json"]).stdout)
    assert info["isolation"] == tier
    lifts = [lift["text"].split("#")[0].split()[-1] for lift in info["lifts"] if "usermod" in lift["text"]]
    assert lifts == ([users.name(user)] if tier == "single" and not has_ids() else [])
    assert users.run(user, ["info", "-f", "{{.isolation}}"], TIFFIN_ISOLATION="none").stdout == "none\n"
    users.run(user, ["build", "-q", "-t", "base", folder / "base"])
    name = f"{registry.host}/{tier}:1"
    users.run(user, ["build", "--push", "-t", name, folder / "app"])
    assert users.run(user, ["run", "--rm", name]).stdout == "x\nfile\nmore\n0\n"
    again = users.run(user, ["build", "-t", name, folder / "app"])
    assert "DONE" not in again.stderr
    state = users.home(user) / ".local/share/tiffin"
    assert [item.name for item in (state / "tmp").iterdir()] == []


@pytest.mark.parametrize("user", [WITH_IDS, WITHOUT_IDS], ids=["range", "single"])
def test_bind_of_a_context_that_somebody_else_owns(users: Users, folder: Path, user: str) -> None:
    """It is root's and can be written, whoever owns it."""
    users.run(user, ["build", "-q", "-t", "base", folder / "base"])
    shared = folder / "shared"
    (shared / "d").mkdir(parents=True, exist_ok=True)
    (shared / "d/f").write_text("x\n")
    (shared / "Dockerfile").write_text(
        "FROM base\nRUN --mount=target=/m stat -c '%a %u:%g' /m /m/d /m/d/f\n"
        "RUN --mount=source=d,target=/m,rw stat -c '%a %u:%g' /m && touch /m/new && echo y >/m/f && cat /m/f\n"
        "USER app\nRUN --mount=target=/m cat /m/d/f\n"
    )
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(shared)], check=True)
    shared.chmod(0o775)
    reported = users.run(
        user, ["build", "--no-cache", "--progress=plain", "-f", shared / "Dockerfile", folder / "shared"]
    ).stderr
    assert [reported.count(line) for line in ("755 0:0\n", "644 0:0\n", " y\n", " x\n")] == [3, 1, 1, 1], reported


def test_proot_runs_what_is_asked_for(users: Users, folder: Path, registry: Registry) -> None:
    """No namespace is made. Owners of the base and those that COPY says stay; what a RUN chowns is root's."""
    users.run(WITHOUT_IDS, ["build", "-q", "-t", "base", folder / "base"])
    name = f"{registry.host}/proot:1"
    users.run(WITHOUT_IDS, ["build", "--push", "-t", name, folder / "app"], isolation="proot")
    assert users.run(WITHOUT_IDS, ["run", "--rm", name]).stdout == "x\nfile\nmore\n0\n"
    assert users.run(WITHOUT_IDS, ["run", "--rm", name], isolation="proot").stdout == "x\nfile\nmore\n0\n"
    assert "DONE" not in users.run(WITHOUT_IDS, ["build", "-t", name, folder / "app"], isolation="proot").stderr
    (folder / "proot").mkdir(exist_ok=True)
    (folder / "proot/Dockerfile").write_text(
        "FROM base\nCOPY --chown=33:34 Dockerfile /copied\n"
        "RUN --mount=type=cache,target=/c --mount=type=secret,id=s touch /c/f /made && chown 5:6 /made && cat "
        "/run/secrets/s > /seen\n"
        "USER app\nRUN id -u > /tmp/id; readlink /proc/self/ns/user > /tmp/ns; grep NoNewPrivs /proc/self/status > "
        "/tmp/no-new; (setsid sleep 4321 &) ; exit 0\n"
    )
    (folder / "proot/secret").write_text("word\n")
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    secret = ["--secret", f"id=s,src={folder / 'proot/secret'}"]
    users.run(WITHOUT_IDS, ["build", "-t", "made", *secret, folder / "proot"], isolation="proot")
    look = ["run", "--rm", "-u", "0", "made"]
    owners = users.run(WITHOUT_IDS, [*look, "stat", "-c", "%u:%g", "/copied", "/made", "/etc/passwd"]).stdout
    assert owners.split() == ["33:34", "0:0", "0:0"]
    shown = users.run(WITHOUT_IDS, [*look, "cat", "/seen", "/tmp/id", "/tmp/ns", "/tmp/no-new"]).stdout.split()
    assert shown == ["word", "1000", os.readlink("/proc/self/ns/user"), "NoNewPrivs:", "1"]
    assert users.run(WITHOUT_IDS, [*look, "ls", "/c", "/run/secrets/s"], check=False).returncode == 1
    failed = users.run(WITHOUT_IDS, ["run", "--rm", "made", "sh", "-c", "exit 7"], check=False, isolation="proot")
    assert failed.returncode == 7
    left = subprocess.run(["pgrep", "-f", "sleep 4321"], capture_output=True, check=False)
    assert left.returncode == 1, "a daemon of a RUN lives on"


@pytest.mark.parametrize("user", [WITH_IDS, WITHOUT_IDS], ids=["range", "single"])
def test_mounts_of_run(users: Users, folder: Path, user: str) -> None:
    users.run(user, ["build", "-q", "-t", "base", folder / "base"])
    (folder / "mounts").mkdir(exist_ok=True)
    (folder / "mounts/secret").write_text("word")
    (folder / "mounts/Dockerfile").write_text(
        "FROM base AS other\nRUN echo o > /o\nFROM base\n"
        "RUN --mount=target=/ctx --mount=type=bind,from=other,target=/oth,rw cat /ctx/secret /oth/o && touch /oth/new\n"
        "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t touch /c/f /t/f\n"
        "RUN --mount=type=cache,target=/c --mount=type=secret,id=s test -e /c/f && cp /run/secrets/s /seen && stat "
        "-c %a%u /run/secrets/s\n"
        "RUN --mount=target=/ctx,rw rm /ctx/secret\n"
    )
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    words = ["--secret", f"id=s,src={folder / 'mounts/secret'}", "--progress", "plain"]
    done = users.run(user, ["build", "-t", "mounted", *words, folder / "mounts"])
    assert "4000" in done.stderr
    assert users.run(user, ["run", "--rm", "mounted", "cat", "/seen"]).stdout == "word"
    given = (
        "FROM base\nRUN --mount=type=cache,id=own,target=/d,uid=1000,gid=7 --mount=type=secret,id=s,uid=1000,gid=8 "
        "stat -c %u:%g /d /run/secrets/s && touch /d/f && chown 5:6 /d/f\n"
        "RUN --mount=type=cache,id=own,target=/d,uid=1000,gid=7 stat -c %u:%g /d/f\n"
    )
    (folder / "mounts/Dockerfile").write_text(given)
    done = users.run(user, ["build", *words, folder / "mounts"])
    assert all(owner in done.stderr for owner in (" 1000:7\n", " 1000:8\n", " 5:6\n"))


def test_owners_are_the_same_with_a_range_and_with_one_id(users: Users, folder: Path) -> None:
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own/Dockerfile").write_text(
        "FROM base\nCOPY --chown=1000:1001 Dockerfile /c\nRUN chown 33:34 /c && stat -c %u:%g /c\n"
        "USER app\nRUN id -u > /tmp/id && mkdir /tmp/dir && mkdir -p /tmp/a/b\n"
    )
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    for user in (WITH_IDS, WITHOUT_IDS):
        users.run(user, ["build", "-q", "-t", "base", folder / "base"])
        users.run(user, ["build", "-t", "own", folder / "own"])
        reported = users.run(user, ["run", "--rm", "own", "stat", "-c", "%u:%g", "/c", "/tmp/id", "/tmp/dir"])
        assert reported.stdout == "33:34\n1000:1001\n1000:1001\n"
        assert users.run(user, ["run", "--rm", "-u", "33", "own", "id", "-u"]).stdout == "33\n"


def test_owners_of_a_base_survive_with_one_id(users: Users, folder: Path) -> None:
    """Unpacked with one id, packed again: the layer still has the owners it came with."""
    (folder / "keep").mkdir(exist_ok=True)
    (folder / "keep/Dockerfile").write_text("FROM base\nCOPY --chown=1000:1001 Dockerfile /c\nRUN echo more >> /c\n")
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    users.run(WITHOUT_IDS, ["build", "-q", "-t", "base", folder / "base"])
    out = users.home(WITHOUT_IDS) / "out.tar"
    users.run(WITHOUT_IDS, ["build", "-o", f"type=tar,dest={out}", folder / "keep"])
    listing = subprocess.run(["tar", "tvf", out, "--numeric-owner", "c"], capture_output=True, text=True, check=True)
    assert "1000/1001" in listing.stdout


def test_state_is_closed_to_others(users: Users, folder: Path) -> None:
    users.run(WITH_IDS, ["build", "-q", "-t", "base", folder / "base"])
    state = users.home(WITH_IDS) / ".local/share/tiffin"
    assert state.stat().st_mode & 0o777 == 0o700


def test_no_home_and_unwritable_root_are_told(users: Users) -> None:
    done = users.run(WITH_IDS, ["--root", "/proc/none", "images"], check=False)
    assert done.returncode == 1 and "set --root or TIFFIN_ROOT" in done.stderr

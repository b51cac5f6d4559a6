"""`run`, RUN and what becomes of containers, with a launcher of the tests: the sandbox is told what the line says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.bench_of_builds import COPIES, MOUNTS, OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tests.support.minimal_image import write_image
from tiffin.builder.sandbox.child.spec import Bind, SandboxSpec, Tmpfs
from tiffin.builder.sandbox.isolation import Isolation

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def tiffin(tiffin_here: Commands) -> Commands:
    tiffin_here.isolation = MOUNTS
    return tiffin_here


def spec_of(tiffin: Commands, *words: str | Path) -> SandboxSpec:
    tiffin("run", "--rm", *words)
    return tiffin.launcher.specs[-1]


@pytest.mark.parametrize("isolation", [MOUNTS, OVERLAYS, COPIES], ids=["mounts", "overlays", "copies"])
def test_a_command_has_the_image_and_its_output_and_code_are_ours(tiffin: Commands, isolation: Isolation) -> None:
    tiffin.isolation = isolation
    assert tiffin("run", "--rm", "base", "show", "/srv/page").out == "hello\n"
    failed = tiffin("run", "--rm", "base", "exit", "7", check=False)
    assert failed.code == 7
    missing = tiffin("run", "--rm", "base", "no-such-thing", check=False)
    assert missing.code == 127 and "not found" in missing.err
    assert tiffin("run", "--rm", "base", "complain", "no").err == "no\n"


def test_a_run_writes_into_its_container_alone(tiffin: Commands) -> None:
    tiffin("run", "--name", "one", "base", "write", "/new", "text")
    assert tiffin("run", "--rm", "base", "show", "/new").out == "(nothing)\n"
    listed = tiffin("ps", "-a", "--format", "{{.Names}} {{.Status}}").out
    assert listed.startswith("one Exited (0)")
    assert tiffin("ps", "-aq").out and tiffin("ps", "-q").out == ""
    assert "one" in tiffin("ps", "-a", "--filter", "name=one").out
    assert json.loads(tiffin("ps", "-a", "--format", "json").out)["Image"] == "base"
    assert tiffin("rm", "one").out == "one\n" and "one" not in tiffin("ps", "-a").out


def test_a_container_that_was_kept_is_exported(tiffin: Commands) -> None:
    tiffin.isolation = COPIES
    tiffin("run", "--name", "one", "base", "write", "/new", "text")
    assert b"text" in tiffin("export", "one").raw


def test_the_line_decides_what_the_command_sees(tiffin: Commands, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n# a comment\n")
    spec = spec_of(
        tiffin, "-e", "A=1", "--env-file", tmp_path / "env", "-w", "/w", "-u", "www", "-h", "host", "--add-host",
        "db:10.0.0.1",
        "--shm-size", "1m", "--ulimit", "nofile=1:2", "--read-only", "--cap-drop", "ALL", "--cap-add", "CHOWN",
        "--security-opt", "no-new-privileges", "--network", "none", "base", "say", "x",
    )  # fmt: skip
    assert (spec.uid, spec.gid, spec.cwd, spec.hostname, spec.network) == (33, 33, "/w", "host", "none")
    assert {"A=1", "FROM_FILE=1", "HOME=/srv"} <= set(spec.env) and "10.0.0.1\tdb" in spec.hosts
    assert (spec.shm_size_bytes, spec.ulimits) == (1 << 20, (("nofile", 1, 2),))
    assert spec.read_only_root and spec.no_new_privs and spec.capabilities == ("CHOWN",)


def test_an_entrypoint_of_the_line_replaces_that_of_the_image(tiffin: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)('FROM base\nENTRYPOINT ["say"]\nCMD ["from the image"]\n')
    tiffin("build", "-q", "-t", "speaks", folder)
    assert tiffin("run", "--rm", "speaks").out == "from the image\n"
    assert tiffin("run", "--rm", "speaks", "mine").out == "mine\n"
    assert tiffin("run", "--rm", "--entrypoint", "show", "speaks", "/srv/page").out == "hello\n"


def test_mounts_of_every_kind(tiffin: Commands, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    spec = spec_of(
        tiffin, "-v", f"{tmp_path}/host:/h:ro", "-v", "named:/n", "--mount",
        f"type=bind,source={tmp_path}/host,target=/m",
        "--tmpfs", "/t:size=1m", "base", "say", "x",
    )  # fmt: skip
    mounts = {mount.path: mount for mount in spec.mounts}
    host, named, bind, tmpfs = (mounts[path] for path in ("/h", "/n", "/m", "/t"))
    assert isinstance(host, Bind) and (host.host_path, host.read_only) == (f"{tmp_path}/host", True)
    assert isinstance(named, Bind) and not named.read_only and isinstance(bind, Bind) and not bind.read_only
    assert isinstance(tmpfs, Tmpfs) and tmpfs.size_bytes == 1 << 20
    (Path(named.host_path) / "kept").write_text("x")
    again = {mount.path: mount for mount in spec_of(tiffin, "-v", "named:/n", "base", "say", "x").mounts}["/n"]
    assert isinstance(again, Bind) and (Path(again.host_path) / "kept").exists(), "a volume outlives its container"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--restart", "sometimes"), "sometimes"),
        (("--stop-signal", "NONE"), "NONE"),
        (("--log-driver", "syslog"), "syslog"),
        (("--mount", "type=bind,source=/none/such,target=/x"), "/none/such"),
        (("-v", "rel/ative:/x"), "rel/ative"),
        (("--mount", "type=what,target=/x"), "what"),
        (("--network", "mine"), "mine"),
        (("--cap-add", "EVERYTHING"), "EVERYTHING"),
        (("--ulimit", "x=y"), "x"),
        (("--memory", "lots"), "lots"),
        (("--cpus", "many"), "many"),
        (("--security-opt", "seccomp=/none"), "/none"),
        (("--userns", "private"), "private"),
        (("-p", "x:y"), "x:y"),
        (("--env-file", "/none"), "/none"),
        (("--label-file", "/none"), "/none"),
        (("-u", "nobody"), "nobody"),
        (("--platform", "a/b/c/d"), "a/b/c/d"),
        (("--pids-limit", "x"), "x"),
    ],
)
def test_wrong_wishes_are_told_and_leave_nothing(tiffin: Commands, words: tuple[str, ...], says: str) -> None:
    done = tiffin("run", "--rm", *words, "base", "say", "x", check=False)
    assert done.code and says in done.err and tiffin.launcher.specs == []
    assert tiffin("ps", "-aq").out == ""


def test_an_image_that_is_not_here_is_not_pulled_where_that_is_said(tiffin: Commands) -> None:
    done = tiffin("run", "--pull", "never", "none", "say", "x", check=False)
    assert done.code and "none" in done.err


def test_labels_and_ids_are_for_scripts(tiffin: Commands, tmp_path: Path) -> None:
    tiffin("run", "--cidfile", tmp_path / "id", "-l", "kind=test", "--name", "one", "base", "say", "x")
    assert tiffin("ps", "-aq", "--no-trunc", "--filter", "label=kind=test").out.strip() == (tmp_path / "id").read_text()
    again = tiffin("run", "--cidfile", tmp_path / "id", "base", "say", "x", check=False)
    assert again.code and "id" in again.err
    taken = tiffin("run", "--name", "one", "base", "say", "x", check=False)
    assert taken.code and "one" in taken.err
    assert tiffin("container", "prune", "--force").code == 0 and tiffin("ps", "-aq").out == ""


def test_run_of_a_build_goes_the_same_way(tiffin: Commands, tmp_path: Path) -> None:
    make = context_at(tmp_path)
    folder = make("FROM base AS one\nRUN write /made it\nFROM base\nCOPY --from=one /made /made\nRUN show /made\n")
    done = tiffin("build", "--progress", "plain", "-t", "app", folder)
    assert "it" in done.err and "CACHED" not in done.err
    assert tiffin("run", "--rm", "app", "show", "/made").out == "it"
    failed = tiffin("build", "--progress", "plain",
        make('FROM base\nRUN complain "no way" && exit\nRUN exit 4\n', name="bad"), check=False)  # fmt: skip
    assert failed.code == 1 and "did not complete successfully" in failed.err
    assert tiffin("build", "-q", "--squash", folder).code == 0
    tiffin("system", "prune", "--all", "--force")


def test_secrets_reach_a_command_and_nothing_else(
    tiffin: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("s3cret")
    monkeypatch.setenv("OTHER", "an0ther")
    folder = context_at(tmp_path)(
        "FROM base\nRUN --mount=type=secret,id=key --mount=type=secret,id=other,env=OTHER write /x y\n"
    )
    tiffin(
        "build", "-q", "-t", "app", "--secret", f"id=key,src={tmp_path}/key", "--secret", "id=other,env=OTHER", folder
    )
    assert "OTHER=an0ther" in tiffin.launcher.specs[-1].env
    for path in tiffin.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
            data = path.read_bytes()
            assert b"s3cret" not in data and b"an0ther" not in data, path


@pytest.mark.parametrize("kind", ["dir", "local"])
def test_cache_mounts_travel_with_the_cache(tiffin: Commands, tmp_path: Path, kind: str) -> None:
    folder = context_at(tmp_path)("FROM base\nRUN --mount=type=cache,id=k,target=/c say x\n")
    place = f"path={tmp_path}/shared" if kind == "dir" else f"dest={tmp_path}/shared"
    words = ("--cache-mounts", "k", "--cache-to", f"type={kind},{place},mode=max")
    tiffin("build", "-q", *words, folder)
    mount = next(mount for mount in tiffin.launcher.specs[-1].mounts if mount.path == "/c")
    assert isinstance(mount, Bind)
    (Path(mount.host_path) / "filled").write_text("by the first")
    tiffin("build", "-q", "--no-cache", *words, folder)
    other = Commands(tmp_path / "other", tiffin.capture, tiffin.monkeypatch, MOUNTS)
    other("images")
    write_image(other.root, {"bin/sh": "another shell"}, name="docker.io/library/base:latest")
    source = place.replace("dest=", "src=")
    other("build", "-q", "--cache-mounts", "k", "--cache-from", f"type={kind},{source}", folder)
    mount = next(mount for mount in other.launcher.specs[-1].mounts if mount.path == "/c")
    assert isinstance(mount, Bind) and (Path(mount.host_path) / "filled").read_text() == "by the first"

"""What a RUN's mounts become in its sandbox, and when a step runs with emulated owners, or not at all."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tests.support.bench_of_builds import COPIES, MOUNTS, PASSWD, Bench
from tests.support.tiers import CHROOT, RANGE, SINGLE
from tiffin.builder.errors import BuildError
from tiffin.builder.execute.ssh_agents import Agents
from tiffin.builder.instructions.ops import RunDefaults
from tiffin.builder.layer.demands import Demands, Owned
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SecretFile, Tmpfs
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.userns import IdMap
from tiffin.cache.store.mounts import CacheMounts

TEN = Isolation(
    tier=RANGE,
    id_map=IdMap(tag="ten", uids=((0, os.geteuid(), 10),), gids=((0, os.getegid(), 10),), helpers=None),
    overlay=True,
    own_pids=True,
)


@pytest.fixture(autouse=True)
def base(bench: Bench) -> None:
    bench.isolation = MOUNTS
    bench.image("base", {"etc/passwd": PASSWD, "srv/page": "page"}, config=RunConfig(env=("PATH=/bin",)))


def mounts(bench: Bench, flags: str, *, before: str = "", **changes: object) -> dict[str, Mount]:
    """What is mounted in the sandbox of the last RUN, by where."""
    bench.build(f'{before}FROM base\nRUN {flags} say ""\n', **changes)  # type: ignore[arg-type]
    return {mount.path: mount for mount in bench.launcher.specs[-1].mounts}


def test_a_plain_directory_of_the_context_is_shown_in_place(bench: Bench) -> None:
    bench.write({"src/f": "F"})
    (made,) = mounts(bench, "--mount=source=src,target=/s").values()
    assert made == Bind(host_path=str(bench.context), path="/s", read_only=True, source="src")
    (written,) = mounts(bench, "--mount=source=src,target=/s,rw").values()
    assert written == Layers(
        path="/s", lower_dirs=(str(bench.context),), source="src", is_directory=True, writable=True
    )


def test_a_directory_that_looks_otherwise_is_copied(bench: Bench) -> None:
    """Ignored files, for one, may not be seen."""
    bench.write({"src/f": "F", "src/secret": "S", ".dockerignore": "src/secret\n"})
    (made,) = mounts(bench, "--mount=source=src,target=/s").values()
    assert isinstance(made, Bind) and not made.host_path.startswith(str(bench.context))


def test_a_context_that_changes_while_a_step_runs_fails_it(bench: Bench) -> None:
    bench.write({"src/f": "F"})
    with pytest.raises(BuildError, match=r'mounted at "/s" changed while the step was running'):
        bench.build(f"FROM base\nRUN --mount=source=src,target=/s meddle {bench.context}/src/f\n")


def test_files_of_images_and_stages_are_their_layers(bench: Bench) -> None:
    before = "FROM base AS other\nRUN write /made it\n"
    found = mounts(bench, "--mount=from=other,source=/srv,target=/o --mount=from=base,target=/b,rw", before=before)
    other, whole = found["/o"], found["/b"]
    assert isinstance(other, Layers) and isinstance(whole, Layers)
    assert (len(other.lower_dirs), other.source, other.writable) == (2, "srv", False)
    assert (len(whole.lower_dirs), whole.source, whole.writable, whole.is_directory) == (1, ".", True, True)


def test_without_overlays_layers_are_copied(bench: Bench) -> None:
    bench.isolation = COPIES
    bench.write({"f": "F"})
    found = mounts(bench, "--mount=from=base,source=/srv,target=/b --mount=source=f,target=/f")
    assert all(isinstance(mount, Bind) and mount.read_only for mount in found.values())


def test_a_source_that_is_missing_is_told(bench: Bench) -> None:
    for flags in ("--mount=from=base,source=/none,target=/b", "--mount=source=none,target=/b"):
        with pytest.raises(BuildError, match="not found"):
            mounts(bench, flags)


def test_tmpfs_and_what_is_mounted_below_others_comes_after_them(bench: Bench) -> None:
    found = mounts(bench, "--mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a,size=1m")
    assert list(found.values()) == [Tmpfs(path="/a", size_bytes=1 << 20), Tmpfs(path="/a/b")]
    stubs = bench.launcher.specs[-1].stubs
    assert {(stub.path, stub.is_directory) for stub in stubs} >= {("a", True), ("a/b", True)}


def test_secrets_are_files_in_memory_or_variables(bench: Bench) -> None:
    bench.secrets["key"] = b"s3cret"
    found = mounts(bench, "--mount=type=secret,id=key,uid=5,mode=0440 --mount=type=secret,id=key,env=KEY")
    secret = found["/run/secrets/key"]
    assert isinstance(secret, SecretFile) and base64.b64decode(secret.data) == b"s3cret"
    assert (secret.uid, secret.mode) == (5, 0o440)
    assert "KEY=s3cret" in bench.launcher.specs[-1].env and "s3cret" not in repr(secret)


def test_a_secret_that_is_missing_is_nothing_unless_it_is_required(bench: Bench) -> None:
    assert mounts(bench, "--mount=type=secret,id=key --mount=type=secret,id=key,env=KEY") == {}
    assert "KEY=" in bench.launcher.specs[-1].env
    with pytest.raises(BuildError, match="secret key: not found"):
        mounts(bench, "--mount=type=secret,id=key,required")


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a description of devices."""
    folder = tmp_path / "cdi"
    folder.mkdir()
    edits = {
        "env": ["GPU=one"],
        "deviceNodes": [{"path": "/dev/gpu", "hostPath": "/dev/null"}],
        "mounts": [{"hostPath": "/etc/hosts", "containerPath": "/opt/driver"}],
        "additionalGids": [44],
    }
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": edits},
            {"name": "bad", "containerEdits": {"hooks": [{"path": "/h"}]}},
        ],
    }
    (folder / "vendor.json").write_text(json.dumps(document))
    monkeypatch.setenv("TIFFIN_CDI_SPEC_DIRS", str(folder))
    return folder


def granted(*names: str) -> RunDefaults:
    return RunDefaults(devices=names)


@pytest.mark.parametrize("grant", ["*", "vendor.com/gpu", "vendor.com/gpu=0"])
def test_devices_bring_nodes_files_variables_and_groups(bench: Bench, described: Path, grant: str) -> None:
    found = mounts(bench, "--device=vendor.com/gpu=0,required", run_defaults=granted(grant))
    assert found == {
        "/dev/gpu": Bind(host_path="/dev/null", path="/dev/gpu"),
        "/opt/driver": Bind(host_path="/etc/hosts", path="/opt/driver"),
    }
    spec = bench.launcher.specs[-1]
    assert "GPU=one" in spec.env and 44 in spec.groups
    assert ("opt/driver", False) in {(stub.path, stub.is_directory) for stub in spec.stubs}
    assert "dev/gpu" not in {stub.path for stub in spec.stubs}


def test_a_device_that_is_not_here_is_nothing_unless_it_is_required(bench: Bench, described: Path) -> None:
    assert mounts(bench, "--device=vendor.com/none --device=name=vendor.com/gpu=7,required=false") == {}
    with pytest.raises(BuildError, match=r"required device vendor.com/gpu=7 is not here"):
        mounts(bench, "--device=vendor.com/gpu=7,required")


@pytest.mark.parametrize(
    ("name", "grant", "says"),
    [
        ("gpu=0", (), "device vendor.com/gpu=0 is not allowed; grant it with --allow device=vendor.com/gpu=0"),
        ("gpu=0", ("vendor.com/gpu=bad", "vendor.com/g"), "is not allowed"),
        ("gpu=bad", ("*",), r"wants hooks \(/h\)"),
    ],
)
def test_devices_that_nobody_granted_or_that_want_hooks_are_refused(
    bench: Bench, described: Path, name: str, grant: tuple[str, ...], says: str
) -> None:
    with pytest.raises(BuildError, match=says):
        mounts(bench, f"--device=vendor.com/{name}", run_defaults=granted(*grant))


def test_devices_need_mounts(bench: Bench, described: Path) -> None:
    bench.isolation = Isolation(tier=CHROOT)
    with pytest.raises(BuildError, match="isolation chroot has no mounts, and so no devices"):
        mounts(bench, "--device=vendor.com/gpu=0", run_defaults=granted("*"))


def test_an_agent_listens_for_the_time_of_the_step(bench: Bench) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"\x0c\0\0\0\0"

    services = {"agents": Agents({"default": answer})}
    own = f"--mount=type=ssh,uid={os.geteuid()},gid={os.getegid()}"
    (made,) = mounts(bench, own, services=services).values()
    assert isinstance(made, Bind) and f"SSH_AUTH_SOCK={made.path}" in bench.launcher.specs[-1].env
    assert not Path(made.host_path).exists()
    assert mounts(bench, "--mount=type=ssh,id=other", services=services) == {}
    with pytest.raises(BuildError, match='no ssh agent is called "other"'):
        mounts(bench, "--mount=type=ssh,id=other,required", services=services)


def test_a_cache_mount_outlives_the_build_and_is_no_part_of_the_image(bench: Bench) -> None:
    (first,) = mounts(bench, "--mount=type=cache,target=/c,id=x,mode=0700").values()
    (again,) = mounts(bench, "--mount=type=cache,target=/d,id=x").values()
    (other,) = mounts(bench, "--mount=type=cache,target=/c,id=y,ro").values()
    assert isinstance(first, Bind) and isinstance(again, Bind) and isinstance(other, Bind)
    assert first.host_path == again.host_path != other.host_path
    assert (first.read_only, other.read_only) == (False, True)
    assert Path(first.host_path).stat().st_mode & 0o777 == 0o700
    assert {info.id for info in CacheMounts(bench.state, "own").list()} == {"x", "y"}


def test_a_new_cache_begins_with_what_it_is_filled_from(bench: Bench) -> None:
    bench.write({"seed/f": "from the context"})
    flags = [
        "--mount=type=cache,target=/c,from=base,source=/srv",
        "--mount=type=cache,target=/c,id=k,from=low,source=/srv",
    ]
    for flag in flags:
        (made,) = mounts(bench, flag, before="FROM base AS low\nRUN write /x y\n").values()
        assert isinstance(made, Bind) and (Path(made.host_path) / "page").read_text() == "page"
    with pytest.raises(BuildError, match="is not a directory"):
        mounts(bench, "--mount=type=cache,target=/c,id=other,from=base,source=/srv/page")
    filled = []

    def fill(mount_id: str, path: Path) -> bool:
        path.mkdir()
        filled.append(mount_id)
        return True

    mounts(bench, "--mount=type=cache,target=/c,id=elsewhere", services={"fill_cache": fill})
    assert filled == ["elsewhere"]


def test_one_directory_serves_all_mounts_of_an_id_in_a_step(bench: Bench) -> None:
    found = mounts(
        bench, "--mount=type=cache,target=/a,id=x,sharing=locked --mount=type=cache,target=/b,id=x,sharing=private"
    )
    assert len({mount.host_path for mount in found.values() if isinstance(mount, Bind)}) == 1 and len(found) == 2


# -- owners that the id map does not hold
# --------------------------------------------------------------------------------


def demand(bench: Bench, demands: Demands) -> None:
    """Note it of the base's layer."""
    (diff_id,) = bench.images.images["base"].config.diff_ids
    bench.layers.snapshots.note_demands(diff_id, demands.encode())


BEYOND = Demands(by_uid=Owned(path="srv/page", uid=5000, gid=0), by_gid=None, device="")
DEVICE = Demands(by_uid=None, by_gid=None, device="dev/sda")


@pytest.mark.parametrize(("demands", "opens"), [(BEYOND, False), (DEVICE, True)])
def test_a_step_over_layers_beyond_the_range_runs_emulated(bench: Bench, demands: Demands, opens: bool) -> None:
    bench.isolation = TEN
    demand(bench, demands)
    built = bench.build("FROM base\nRUN write /new x\n")
    (spec,) = bench.launcher.specs
    assert (spec.emulated, spec.opens) == (True, opens)
    assert bench.files(built.chain)["new"] == "x"
    assert any("is beyond this user namespace" in note for note in bench.sink.notes())


def test_a_step_within_the_range_does_not(bench: Bench) -> None:
    bench.isolation = TEN
    bench.build("FROM base\nRUN write /new x\n")
    (spec,) = bench.launcher.specs
    assert (spec.emulated, spec.opens) == (False, False) and spec.abandons


def test_a_step_that_asks_for_more_is_run_again_with_it(bench: Bench) -> None:
    bench.isolation = TEN
    built = bench.build('FROM base\nRUN <<E\nwrite /first x\nwish "chown to 70000"\nwrite /second y\nE\n')
    assert [spec.emulated for spec in bench.launcher.specs] == [False, True]
    found = bench.files(built.chain)
    assert (found["first"], found["second"]) == ("x", "y")
    assert any("the step runs again with owners emulated" in note for note in bench.sink.notes())


@pytest.mark.parametrize(("wish", "opens"), [("chown to 70000", False), ("mknod of /dev/x", True)])
def test_devices_are_opened_only_for_who_asked_for_one(bench: Bench, wish: str, opens: bool) -> None:
    """Every open is asked about then, which costs time."""
    bench.isolation = TEN
    bench.build(f'FROM base\nRUN wish "{wish}"\n')
    assert [(spec.emulated, spec.opens) for spec in bench.launcher.specs] == [(False, False), (True, opens)]


def test_a_user_beyond_the_range_is_emulated(bench: Bench) -> None:
    bench.isolation = TEN
    bench.build("FROM base\nUSER 70000\nRUN write /tmp/x y\n")
    assert [spec.emulated for spec in bench.launcher.specs] == [True]


def test_a_mount_of_somebody_beyond_the_range_is_emulated(bench: Bench) -> None:
    bench.isolation = TEN
    bench.secrets["key"] = b"x"
    bench.build('FROM base\nRUN --mount=type=secret,id=key,uid=70000 say ""\n')
    assert [spec.emulated for spec in bench.launcher.specs] == [True]


def test_a_chroot_refuses_owners_that_nobody_emulates(bench: Bench) -> None:
    bench.isolation = Isolation(tier=CHROOT, id_map=TEN.id_map)
    demand(bench, BEYOND)
    with pytest.raises(BuildError, match="emulates none"):
        bench.build('FROM base\nRUN say ""\n')


def test_a_machine_without_supervision_refuses_what_it_would_have_to_emulate(bench: Bench) -> None:
    bench.isolation = Isolation(tier=SINGLE, overlay=True, own_pids=True, unsupervised="seccomp is refused")
    demand(bench, BEYOND)
    with pytest.raises(BuildError, match="seccomp is refused"):
        bench.build('FROM base\nRUN say ""\n')

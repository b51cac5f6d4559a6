"""What a run needs in a root on disk is there for its time and leaves no trace; paths lead nowhere else; foreign
programs are known.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiers import CHROOT, NONE, PROOT, RANGE, SINGLE
from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.binfmt import can_run
from tiffin.builder.sandbox.child import root_path
from tiffin.builder.sandbox.child.spec import Bind, SandboxSpec, SecretFile, Stub, Tmpfs
from tiffin.builder.sandbox.isolation import Isolation, Tier, TierReport
from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes, join_streams, stream_pipe
from tiffin.builder.sandbox.tiers.remediation import advice
from tiffin.cache.foundation.frozen import replace

SPEC = SandboxSpec(
    scratch_dir="/scratch", lower_dirs=(), upper_dir="", work_dir="", argv=("sh",), env=("A=1",), hosts="hosts\n",
    resolv_conf="resolv\n", cwd="/w",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a few files, whose directories have a time."""
    place = tmp_path / "root"
    for name in ("etc/hosts", "usr/bin/x"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("the image's")
    (place / "etc/link").symlink_to("../usr")
    (place / "etc/out").symlink_to("/nowhere/at/all")
    for folder in (place / "etc", place / "usr", place):
        os.utime(folder, (1000, 1000))
    return place


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    (tmp_path / "aside").mkdir()
    return tmp_path / "aside"


def shown(root: Path) -> dict[str, tuple[int, float, str]]:
    found = {}
    for path in sorted((root, *root.rglob("*"))):
        st = path.lstat()
        text = path.read_text() if stat.S_ISREG(st.st_mode) else ""
        found[str(path.relative_to(root))] = (st.st_mode, st.st_mtime if stat.S_ISDIR(st.st_mode) else 0.0, text)
    return found


def test_everything_is_as_it_was_afterwards(root: Path, aside: Path, tmp_path: Path) -> None:
    before = shown(root)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/f").write_text("f")
    with MountSubstitutes(root, aside) as places:
        places.file("etc/hosts", b"ours", 0o600)
        places.file("new/deep/file", b"x")
        assert places.directory("etc/link/lib", 0o700) == "usr/lib"
        places.move_in("usr/bin", tmp_path / "moved")
        places.mount_point("mnt", is_directory=True)
        places.mount_point("etc/resolv.conf", is_directory=False)
        places.mount_point("usr", is_directory=True)
        assert (root / "etc/hosts").read_text() == "ours" and (root / "usr/bin/f").read_text() == "f"
        assert stat.S_IMODE((root / "usr/lib").stat().st_mode) == 0o700
        assert places.places >= {"etc/hosts", "usr/lib", "usr/bin", "mnt"} and "usr" not in places.places
        (root / "usr/bin/made").write_text("by the run")
    assert shown(root) == before
    assert (tmp_path / "moved/made").read_text() == "by the run", "what was moved in comes back as the run left it"


def test_what_the_run_put_beside_stays(root: Path, aside: Path) -> None:
    with MountSubstitutes(root, aside) as places:
        places.file("new/file", b"x")
        (root / "new/kept").write_text("the run's")
    assert {path.name for path in (root / "new").iterdir()} == {"kept"}


def test_a_directory_that_the_run_removed_is_gone(root: Path, aside: Path) -> None:
    with MountSubstitutes(root, aside) as places:
        places.file("new/file", b"x")
        (root / "new/file").unlink()
        (root / "new").rmdir()
    assert not (root / "new").exists()


def test_links_of_an_image_lead_nowhere_else(root: Path, aside: Path) -> None:
    with pytest.raises(SandboxError, match="is a link to nothing"), MountSubstitutes(root, aside) as places:
        places.file("etc/out/file", b"x")


@pytest.mark.parametrize("tier", [CHROOT, PROOT, RANGE], ids=str)
def test_a_root_is_furnished_as_its_tier_needs(root: Path, aside: Path, tmp_path: Path, tier: Tier) -> None:
    before = shown(root)
    (tmp_path / "cache").mkdir()
    mounts = (
        Tmpfs(path="/t"),
        SecretFile(path="/run/secrets/k", data=base64.b64encode(b"s3cret").decode(), mode=0o440),
        Bind(host_path=str(tmp_path), source="cache", path="/c"),
    )
    spec = replace(SPEC, root_dir=str(root), mounts=mounts, stubs=(Stub(path="t", is_directory=True),))
    with MountSubstitutes(root, aside) as places:
        made = tier.prepare_root(spec, places)
        if tier == RANGE:
            assert made == spec and (root / "t").is_dir() and (root / "proc").is_dir()
        else:
            assert made.mounts == () and (root / "etc/hosts").read_text() == "hosts\n"
            assert (root / "run/secrets/k").read_text() == "s3cret" and (root / "c").is_dir() and (root / "t").is_dir()
        if tier == CHROOT:
            assert (root / "dev/null").exists() and os.readlink(root / "dev/stdout") == "null"
            assert (root / "proc/mounts").read_text().startswith("rootfs / ")
        if tier == PROOT:
            assert made.argv[-1] == "sh" and str(root) in made.argv and "PROOT_TMP_DIR=/scratch" in made.env
    assert shown(root) == before


def test_streams_of_a_chroot_have_names(root: Path, aside: Path) -> None:
    with MountSubstitutes(root, aside) as places:
        spec = CHROOT.prepare_root(replace(SPEC, root_dir=str(root)), places)
        reader, writer = stream_pipe(spec, "stdout")
        join_streams(spec)
        try:
            (root / "dev/stderr").write_text("said by name")
            assert os.read(reader, 100) == b"said by name"
        finally:
            os.close(reader)
            os.close(writer)
    reader, writer = stream_pipe(SPEC, "stdout")
    os.close(reader)
    os.close(writer)


# -- paths below a root
# ----------------------------------------------------------------------------------------------------


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("../../../../etc/hosts")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("opener", [root_path.open_in_root, root_path.walk_in_root])
@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("usr/bin/x", "usr/bin/x"), ("/usr//./bin/../bin/x", "usr/bin/x"), ("etc/link/bin/x", "usr/bin/x"),
        ("../../usr", "usr"), ("up", "etc/hosts"), (".", "."),
    ],
)  # fmt: skip
def test_paths_stay_below_their_root(root: Path, root_fd: int, opener: object, path: str, leads: str) -> None:
    fd = opener(root_fd, path, os.O_PATH)  # type: ignore[operator]
    try:
        assert os.path.samestat(os.fstat(fd), (root / leads).lstat())
    finally:
        os.close(fd)


@pytest.mark.parametrize("opener", [root_path.open_in_root, root_path.walk_in_root])
@pytest.mark.parametrize(
    ("path", "flags", "follow", "number"),
    [
        ("loop", os.O_PATH, True, errno.ELOOP),
        ("etc/link", os.O_RDONLY | os.O_DIRECTORY, False, errno.ELOOP),
        ("none/x", os.O_PATH, True, errno.ENOENT),
        ("usr/bin/x", os.O_RDONLY | os.O_DIRECTORY, True, errno.ENOTDIR),
        ("usr/bin/x/..", os.O_PATH, True, errno.ENOTDIR),
    ],
)
def test_paths_that_lead_to_nothing(
    root_fd: int, opener: object, path: str, flags: int, follow: bool, number: int
) -> None:
    with pytest.raises(OSError) as caught:
        os.close(opener(root_fd, path, flags, follow=follow))  # type: ignore[operator]
    assert caught.value.errno == number


# -- the machine
# -----------------------------------------------------------------------------------------------------------

ELF = "7f454c4602010100000000000000000002001600"


def registration(*lines: str) -> str:
    return "\n".join(("enabled", "interpreter /usr/bin/qemu", "flags: F", "offset 0", *lines)) + "\n"


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        (registration(f"magic {ELF}"), True),
        (registration(f"magic {ELF}").replace("enabled", "disabled"), False),
        (registration(f"magic {ELF}").replace("flags: F", "flags: OC"), False),
        (registration(f"magic {ELF}").replace("offset 0", "offset 4"), False),
        (registration(f"magic {ELF.replace('1600', 'b700')}"), False),
        (registration("magic nonsense"), False),
        ("", False),
    ],
)
def test_an_interpreter_counts_if_it_is_there_in_every_root(tmp_path: Path, text: str, runs: bool) -> None:
    """s390x, whose numbers stand the other way round, is 0016."""
    (tmp_path / "qemu").write_text(text.replace("02001600", "00020016"))
    assert can_run("s390x", str(tmp_path)) == runs
    assert not can_run("s390x", str(tmp_path / "none")) and not can_run("vax", str(tmp_path))
    assert can_run({"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine), str(tmp_path))


def report(tier: Tier, *, usable: bool = True, overlay: bool = True, own_pids: bool = True) -> TierReport:
    isolation = Isolation(tier=tier, overlay=overlay, own_pids=own_pids) if usable else None
    return TierReport(tier=tier, isolation=isolation)


def test_advice_is_for_what_is_missing_alone() -> None:
    assert advice([report(RANGE), report(SINGLE)]) == []
    nothing = [lift.what for lift in advice([report(tier, usable=False) for tier in (RANGE, SINGLE, CHROOT)])]
    assert "A pod that runs as root gets tier chroot" in nothing
    copied = [lift.what for lift in advice([report(RANGE, overlay=False, own_pids=False)])]
    assert any("volume" in what for what in copied) and any("its own user namespace" in what for what in copied)
    assert report(RANGE, overlay=False).limits() and not report(NONE, usable=False).limits()

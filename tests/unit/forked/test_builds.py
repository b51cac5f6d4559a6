"""Builds whose commands run for real: programs of bare system calls, in an image with nothing else."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program
from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.child import kernel

HERE = -100  # AT_FDCWD
PR_CAPBSET_DROP = 24
IS_ROOT = os.getuid() == 0  # who alone may have a chroot, and a range without lines in /etc/subuid


def reads(path: bytes) -> Call:
    return "openat", (HERE, path, os.O_RDONLY)


def writes(path: bytes) -> Call:
    return "openat", (HERE, path, os.O_WRONLY | os.O_TRUNC)


def makes(path: bytes, mode: int = 0o644) -> Call:
    return "openat", (HERE, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def context(folder: Path, dockerfile: str, **programs: bytes) -> Path:
    """A build context with programs of these names."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM scratch AS base\nCOPY --chmod=755 programs /bin/\n{dockerfile}")
    (folder / "programs").mkdir()
    for name, program in programs.items():
        (folder / "programs" / name).write_bytes(program)
    return folder


def files(forked: Forked, target: Path, *words: str | Path) -> dict[str, os.stat_result]:
    forked("build", "-q", "-o", target, *words)
    return {str(path.relative_to(target)): path.lstat() for path in target.rglob("*") if "bin" not in path.parts}


@pytest.mark.thorough
@pytest.mark.parametrize("isolation", ["single", *(["chroot"] if IS_ROOT else [])])
def test_commands_find_their_mounts_and_leave_their_files(isolation: str, forked: Forked, tmp_path: Path) -> None:
    place = context(
        tmp_path / "context",
        """
FROM base AS other
COPY word /folder/word
FROM base
WORKDIR /work
RUN --mount=type=bind,source=word,target=/bound/word ["/bin/bound"]
RUN --mount=type=bind,from=other,source=folder,target=/stage,rw ["/bin/stage"]
RUN --mount=type=secret,id=word,mode=0444,uid=5 ["/bin/secret"]
RUN --mount=type=secret,id=word,env=WORD --mount=type=tmpfs,target=/memory,size=65536 ["/bin/memory"]
RUN --mount=type=cache,target=/cache --network=none ["/bin/cache"]
RUN --mount=type=cache,target=/cache ["/bin/again"]
USER 33:44
RUN ["/bin/own"]
""",
        bound=raw_program(makes(b"relative"), reads(b"/bound/word")),
        stage=raw_program(makes(b"/stage/thrown-away"), reads(b"/stage/word")),
        secret=raw_program(reads(b"/run/secrets/word")),
        memory=raw_program(makes(b"/memory/file")),
        cache=raw_program(makes(b"/cache/file")),
        again=raw_program(reads(b"/cache/file")),
        own=raw_program(makes(b"/tmp/mine", 0o600)),
    )
    (place / "word").write_text("said")
    with (place / "Dockerfile").open("a") as file:
        file.write('RUN ["/bin/refused"]\n')
    (place / "programs/refused").write_bytes(raw_program(makes(b"/not-mine")))
    words = ["--isolation", isolation, "--secret", f"id=word,src={place}/word", str(place)]
    refused = forked("build", *words, check=False)
    assert refused.returncode != 0 and "/bin/own" in refused.stderr  # there is no /tmp yet
    text = (place / "Dockerfile").read_text().replace("USER", "COPY --chmod=1777 empty /tmp/\nUSER")
    (place / "empty").mkdir()
    (place / "Dockerfile").write_text(text)
    refused = forked("build", *words, check=False)
    assert "/bin/refused" in refused.stderr and "13" in refused.stderr, refused.stderr  # EACCES
    (place / "Dockerfile").write_text(text.replace('RUN ["/bin/refused"]\n', ""))
    found = files(forked, tmp_path / "out", *words)
    assert set(found) == {"work", "work/relative", "tmp", "tmp/mine"}
    assert stat.S_IMODE(found["tmp/mine"].st_mode) == 0o600


@pytest.mark.parametrize("isolation", ["single", *(["range"] if IS_ROOT else [])])
def test_owners_and_devices_of_commands_are_in_the_layer(isolation: str, forked: Forked, tmp_path: Path) -> None:
    """In tier range, too, where the first attempt at a device is run again with emulated ones."""
    place = context(
        tmp_path / "context",
        'RUN ["/bin/own"]\nRUN ["/bin/device"]\nRUN ["/bin/beyond"]\n',
        own=raw_program(makes(b"/file"), ("fchownat", (HERE, b"/file", 5, 6, 0))),
        device=raw_program(("mknodat", (HERE, b"/node", stat.S_IFCHR | 0o640, os.makedev(1, 3))), writes(b"/node")),
        beyond=raw_program(makes(b"/far"), ("fchownat", (HERE, b"/far", 4_000_000_000, 7, 0))),
    )
    forked("build", "-q", "-t", "made", "--isolation", isolation, place)
    tree = forked("build", "-q", "-o", "type=tar,dest=-", "--isolation", isolation, place, check=False)
    assert tree.returncode == 0, tree.stderr
    with tarfile.open(tmp_path / "stdout") as archive:
        found = {item.name: (item.uid, item.gid, item.ischr(), item.devmajor, item.devminor) for item in archive}
    assert found["file"] == (5, 6, False, 0, 0)
    assert found["node"] == (0, 0, True, 1, 3)
    assert found["far"][:2] == (4_000_000_000, 7)


def test_stages_and_targets_run_side_by_side(forked: Forked, tmp_path: Path) -> None:
    place = context(
        tmp_path / "context",
        """
FROM base AS one
RUN ["/bin/one"]
FROM base AS two
RUN ["/bin/two"]
FROM base AS bad
RUN ["/bin/bad"]
FROM base AS both
COPY --from=one /one /
COPY --from=two /two /
""",
        one=raw_program(makes(b"/one")),
        two=raw_program(makes(b"/two")),
        bad=raw_program(reads(b"/none")),
    )
    assert set(files(forked, tmp_path / "out", "--target", "both", place)) == {"one", "two"}
    names = ("one", "both", "bad")
    targets = {name: {"context": str(place), "target": name, "tags": [f"baked-{name}"]} for name in names}
    groups = {"default": {"targets": ["one", "both"]}}
    (tmp_path / "bake.json").write_text(json.dumps({"target": targets, "group": groups}))
    forked("bake", "-f", tmp_path / "bake.json")
    assert set(forked("images", "--format", "{{.Repository}}").stdout.split()) >= {"baked-one", "baked-both"}
    failed = forked("bake", "-f", tmp_path / "bake.json", "both", "bad", check=False)
    assert failed.returncode == 1 and "/bin/bad" in failed.stderr
    kept = forked("bake", "-f", tmp_path / "bake.json", "--keep-going", "bad", "one", "--no-cache", check=False)
    assert kept.returncode == 1 and "baked-one" in kept.stderr


@pytest.mark.skipif(not IS_ROOT, reason="a chroot is for root alone")
def test_a_chroot_without_device_nodes_has_the_devices_of_the_machine(forked: Forked, tmp_path: Path) -> None:
    """Where root may make no nodes, opens of files that stand for them are answered with the machine's own."""
    place = context(
        tmp_path / "context",
        "".join(f'RUN ["/bin/{name}"]\n' for name in ("null", "zero", "same", "shown", "absent", "openat2")),
        null=raw_program(writes(b"/dev/null")),
        zero=raw_program(reads(b"/dev/zero")),
        same=raw_program(reads(b"/dev/null")),
        shown=raw_program(reads(b"/dev/stdin")),
        absent=raw_program(reads(b"/dev/nothing"), ("openat", (HERE, b"/dev", os.O_RDONLY | os.O_DIRECTORY))),
        openat2=raw_program(("openat2", (HERE, b"/dev/urandom", bytes(24), 24))),
    )
    words = ("build", "-q", "-t", "made", "--isolation", "chroot")
    assert forked(*words, place, before=without_nodes).stdout.startswith("sha256:")
    (place / "programs/null").write_bytes(raw_program(("mknodat", (HERE, b"/node", stat.S_IFCHR | 0o640, 0x103))))
    refused = forked(*words, place, before=without_nodes, check=False)
    assert refused.returncode and "exit code: 1\n" in refused.stderr, refused.stderr  # EPERM


def without_nodes() -> None:
    """Go on without CAP_MKNOD."""
    kernel.prctl(PR_CAPBSET_DROP, kernel.CAPABILITIES.index("MKNOD"))
    held = userns.effective_capabilities()
    names = {name for number, name in enumerate(kernel.CAPABILITIES) if held >> number & 1}
    kernel.set_capabilities(frozenset(names - {"MKNOD"}))

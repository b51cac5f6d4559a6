"""A racer that swaps directories for symlinks, ten thousand rounds: unpack, COPY, mount and clean-up stay inside.

Each round pairs one swap (RENAME_EXCHANGE, so that there is always something there) with the operation under test. The
functions that open, write and remove are driven directly; some whole builds show that nothing else opens a path.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import PRECIOUS, Harness, fingerprint, make_canary
from tests.conftest import CHECKOUT
from tests.support.minimal_image import base_files
from tiffin.builder.errors import ContextError, TiffinError
from tiffin.builder.layer.disk.directories import Directories
from tiffin.builder.layer.disk.tree_writer import TreeWriter
from tiffin.builder.layer.index import new_entry
from tiffin.builder.sandbox.child import root_path
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import select, walk
from tiffin.cache.foundation.files import remove_tree

ROUNDS = 10_000
RENAME_EXCHANGE = 2
AT_FDCWD = -100
LIBC = ctypes.CDLL(None, use_errno=True)
ENOSYS_FOR_OPENAT2 = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, 437),  # openat2, on every architecture
        (0x06, 0, 0, 0x00050000 | 38),  # ENOSYS
        (0x06, 0, 0, 0x7FFF0000),  # allow
    )
)


def exchange(one: str, two: str) -> None:
    """renameat2: each takes the other's place at once."""
    if LIBC.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, two.encode(), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def forbid_openat2() -> None:
    """From now on the kernel says it has no such call, as under an old seccomp profile."""
    program = ctypes.create_string_buffer(ENOSYS_FOR_OPENAT2)
    header = struct.pack("HxxxxxxP", len(ENOSYS_FOR_OPENAT2) // 8, ctypes.addressof(program))
    assert LIBC.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert LIBC.prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP


class Racer:
    """Does `act` for ever in a process of its own, as threads of Python take turns."""

    def __init__(self, act: Callable[[], object], *, pause_seconds: float = 0) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            while True:
                with contextlib.suppress(OSError):
                    act()
                if pause_seconds:
                    time.sleep(pause_seconds)

    @classmethod
    def swapping(cls, victim: Path, link: Path, *, pause_seconds: float = 0) -> Racer:
        """Swaps a directory and a link."""
        one, two = str(victim), str(link)
        return cls(lambda: exchange(one, two), pause_seconds=pause_seconds)

    def __enter__(self) -> Racer:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Path]:
    """A tree with a directory `d` and beside the tree a link to a canary that has the same names."""
    canary = make_canary(tmp_path)
    (tmp_path / "tree/d/open").mkdir(parents=True)
    (tmp_path / "tree/d/file").write_text("harmless")
    (tmp_path / "tree/d/open/inner").write_text("harmless")
    (tmp_path / "tree/l").symlink_to(canary)
    before = fingerprint(canary)
    yield tmp_path
    assert fingerprint(canary) == before, "a racer led a write out of the root"


def outcomes(act: Callable[[int], object], rounds: int = ROUNDS) -> tuple[int, int]:
    """How often it went well, and how often it was disturbed. Anything but an error in words fails."""
    well = disturbed = 0
    for number in range(rounds):
        try:
            act(number)
            well += 1
        except (TiffinError, OSError):
            disturbed += 1
    return well, disturbed


def raced(counts: tuple[int, int]) -> None:
    well, disturbed = counts
    assert well + disturbed == ROUNDS and well > 20 and disturbed > 20, f"the racer did not race: {counts}"


@pytest.mark.attack("T5")
def test_directories_are_opened_without_links(arena: Path) -> None:
    """CVE-2018-15664: a path that was checked is another when it is opened."""

    def read(_: int) -> None:
        with Directories(arena / "tree") as directories, os.fdopen(directories.open("d/open/inner"), "rb") as stream:
            assert stream.read() == b"harmless", "a file outside was read"

    with Racer.swapping(arena / "tree/d", arena / "tree/l"):
        raced(outcomes(read))


@pytest.mark.attack("T5")
@pytest.mark.parametrize("walker", [root_path.open_in_root, root_path.walk_in_root], ids=["openat2", "walk"])
@pytest.mark.parametrize("follow", [True, False])
def test_mount_points_are_found_in_the_root(arena: Path, walker: Callable[..., int], follow: bool) -> None:
    """CVE-2021-30465: the target of a mount is a link when it is mounted on."""
    root_fd = os.open(arena / "tree", os.O_PATH | os.O_DIRECTORY)
    try:

        def find(number: int) -> None:
            path = ("d/open/inner", "d/../d/open/inner", "/d/open/../../d/file", "d/open/../../../../d/file")[
                number % 4
            ]
            fd = walker(root_fd, path, os.O_PATH, follow=follow)
            try:
                assert "canary" not in os.readlink(f"/proc/self/fd/{fd}"), "a mount point outside was found"
            finally:
                os.close(fd)

        with Racer.swapping(arena / "tree/d", arena / "tree/l"):
            raced(outcomes(find))
    finally:
        os.close(root_fd)


PATHS = ["d", "d/file", "d/open/inner", "d/../d/file", "../../d/file", "/d/file", "up/d/file", "abs/file", "l",
    "l/file", "loop",
         "loop/x", "d/file/..", "d/file/x", "missing", "d//open/./inner", "", ".", "/", "..", "long/file",
         "proc/root/etc"]  # fmt: skip


@pytest.mark.attack("T5")
@pytest.mark.parametrize("follow", [True, False])
def test_both_walkers_find_the_same(arena: Path, follow: bool) -> None:
    """Where the kernel has no openat2 our own walk takes its place."""
    tree = arena / "tree"
    for name, target in (
        ("up", "../../.."),
        ("abs", "/d"),
        ("loop", "loop"),
        ("long", "/./d/../d/open/.."),
        ("proc", "/../l"),
    ):
        (tree / name).symlink_to(target)
    root_fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    try:
        for path in PATHS:
            found = []
            for walker in (root_path.open_in_root, root_path.walk_in_root):
                for flags in (os.O_PATH, os.O_PATH | os.O_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY):
                    try:
                        fd = walker(root_fd, path or ".", flags, follow=follow)
                        found.append(os.readlink(f"/proc/self/fd/{fd}"))
                        os.close(fd)
                    except OSError as exc:
                        found.append(str(exc.errno))
            assert found[:3] == found[3:], path
    finally:
        os.close(root_fd)


@pytest.mark.attack("T4", "T5")
@pytest.mark.parametrize("swapped", ["link", "fifo"])
def test_a_file_of_a_context_swapped_after_it_was_listed(tmp_path: Path, swapped: str) -> None:
    """What the name means by the time of the copy is neither followed nor waited for."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("harmless")
    (tmp_path / "canary").write_text(PRECIOUS)
    tree = DirectoryTree(context, None, None, what="build context")
    entry = tree.lookup("file")
    assert entry is not None
    (context / "file").unlink()
    if swapped == "link":
        (context / "file").symlink_to(tmp_path / "canary")
        with pytest.raises(ContextError, match="changed while it was read"):
            tree.opener(entry)()
    else:
        os.mkfifo(context / "file")
        with tree.opener(entry)() as stream:
            assert stream.read() == b""


@pytest.mark.attack("T5")
def test_contexts_are_read_without_links(arena: Path) -> None:
    """CVE-2024-11218: a directory of the context is a link to another when it is listed, hashed, copied."""
    secret = {PRECIOUS.encode()}

    def copy(_: int) -> None:
        tree = DirectoryTree(arena / "tree", None, None, what="build context")
        for item in select(tree, ["d"], span=None):  # type: ignore[arg-type]
            for _name, entry in walk(tree, item):
                if entry.kind == "file":
                    with tree.opener(entry)() as stream:
                        assert stream.read() not in secret, "a file outside was copied"

    with Racer.swapping(arena / "tree/d", arena / "tree/l"):
        raced(outcomes(copy))


@pytest.mark.attack("T5")
def test_unpacking_writes_nowhere_else(arena: Path) -> None:
    """A tree that is changed while a layer is unpacked into it: refused, or inside."""
    entry = new_entry("d/open/evil", "file", 0o777)._replace(size=4, uid=0, gid=0)
    link = new_entry("d/evil-link", "hardlink", 0o644)._replace(link="d/open/inner")
    special = [new_entry("d/fifo", "fifo", 0o666), new_entry("d/sym", "symlink", 0o777)._replace(link="x"), link]

    def write(number: int) -> None:
        with TreeWriter(arena / "tree") as writer:
            try:
                writer.put(entry, io.BytesIO(b"evil"))
                for item in special:
                    writer.put(item)
                writer.put(new_entry("d/open", "dir", 0o755), merges=True)
                writer.finish()
            finally:
                for name in ("d/open/evil", "d/fifo", "d/sym", "d/evil-link"):
                    for place in ("tree/d", "tree/l"):
                        path = arena / place
                        with contextlib.suppress(OSError), Directories(path) as real:
                            os.unlink(name[2:], dir_fd=real.descriptor("."))

    with Racer.swapping(arena / "tree/d", arena / "tree/l"):
        _, disturbed = outcomes(write)
    assert disturbed > 20, "the racer did not race"


@pytest.mark.attack("T5", "T18")
def test_removal_removes_nothing_else(arena: Path) -> None:
    """Cleaning up follows no link, though a directory was one when it was looked at."""

    work, canary = arena / "tree/work", arena / "canary"

    def make_and_swap() -> None:
        steps: tuple[Callable[[], object], ...] = (
            lambda: work.mkdir(),
            lambda: (work / "a/open").mkdir(parents=True),
            lambda: (work / "b").symlink_to(canary),
            lambda: exchange(f"{work}/a", f"{work}/b"),
        )
        for step in steps:
            with contextlib.suppress(OSError):
                step()

    with Racer(make_and_swap):
        well, disturbed = outcomes(lambda _: remove_tree(work))
    assert well + disturbed == ROUNDS and well > 20, (well, disturbed)
    remove_tree(work)


# -- whole commands --------------------------------------------------------------------------------------------------


@pytest.mark.attack("T5", "T14")
@pytest.mark.userns
@pytest.mark.xdist_group("attacks")
def test_whole_builds_under_a_racer(harness: Harness) -> None:
    """The context is swapped while builds copy it and bind it: what lies outside is never in an image."""
    harness.cli.make_image(base_files(), name="minimal", config={"Env": ["PATH=/bin"]})
    folder = harness.context(
        "FROM minimal\nCOPY d /copied\nRUN cat /copied/file\n"
        "RUN --mount=type=bind,source=d,target=/bound cat /bound/file\n"
        "RUN --mount=type=bind,source=d,target=/w,rw cat /w/file && touch /w/file && rm -rf /w/open\n",
        {"d/file": "harmless", "d/open/inner": "harmless", "l": f"-> {harness.canary}"},
    )
    # few enough swaps that some builds come to their end
    with Racer.swapping(folder / "d", folder / "l", pause_seconds=0.0005):
        for _ in range(8):
            done = harness.build(folder)
            assert PRECIOUS not in done.stderr, "a build copied or bound what lies outside its context"


@pytest.mark.attack("T5")
@pytest.mark.userns
@pytest.mark.xdist_group("attacks")
def test_whole_commands_without_openat2(root_harness: Harness) -> None:
    """Under a seccomp profile older than openat2 sandboxes are made by our own walk."""
    links: dict[str, bytes | str | None] = {"inside": "-> /srv", "out": f"-> ../../..{root_harness.canary}"}
    root_harness.cli.make_image(base_files(), links, name="walked", config={"Env": ["PATH=/bin"]})
    folder = root_harness.context(
        "FROM walked\nRUN --mount=type=cache,target=/inside/cache echo kept > /srv/cache/x\n"
        "RUN --mount=type=bind,source=d,target=/out/d cat /out/d/file; echo harmless > /out/d/file; true\n",
        {"d/file": "harmless"},
    )
    script = (
        "import os, sys; from tests.attacks.test_races import forbid_openat2; forbid_openat2(); os.execv(sys.argv[1], "
        "sys.argv[1:])"
    )
    for words in (
        ("build", "--no-cache", folder),
        ("run", "--rm", "-v", f"{folder}/d:/inside/d:ro", "walked", "cat", "/srv/d/file"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *root_harness.cli.argv(*words)],
            capture_output=True,
            text=True,
            timeout=60,
            **{**root_harness.cli.options(), "cwd": CHECKOUT},  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr
    assert "harmless" in done.stdout


def test_filter_takes_openat2_away() -> None:
    """The filter of the test above does what it says."""
    with tempfile.TemporaryDirectory() as folder:
        script = (
            "import os, sys; from tests.attacks.test_races import forbid_openat2; from tiffin.builder.sandbox.child "
            "import kernel, root_path\n"
            f"forbid_openat2(); root = os.open({folder!r}, os.O_PATH)\n"
            "try: kernel.open_in_root(root, '.', os.O_PATH)\n"
            "except OSError as exc: print(exc.errno)\n"
            "print(os.path.isdir(f'/proc/self/fd/{root_path.open_in_root(root, chr(46), os.O_PATH)}'))\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "38\nTrue\n"


@pytest.mark.attack("T5")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EAGAIN])
def test_a_path_is_walked_where_the_kernel_does_not_say(
    arena: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """EAGAIN: something was renamed or mounted while the kernel looked at a path with "..", as on any busy machine."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tiffin.builder.sandbox.child.root_path.kernel.open_in_root", refuse)
    (arena / "tree/sub").mkdir()
    (arena / "tree/link").symlink_to("../../sub")
    root_fd = os.open(arena / "tree", os.O_PATH | os.O_DIRECTORY)
    try:
        fd = root_path.open_in_root(root_fd, "link", os.O_PATH)
        assert os.readlink(f"/proc/self/fd/{fd}") == str(arena / "tree/sub")
        os.close(fd)
    finally:
        os.close(root_fd)

"""Trees are made away from what was deleted lately, where the file system can, and deleted when the command ends."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiffin.cache.foundation.spreading import FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL, spread_below
from tiffin.cache.store import statedir
from tiffin.cache.store.statedir import StateDir

NODUMP = 0x00000040  # FS_NODUMP_FL, a flag of users


def flags(folder: Path, add: int = 0) -> int | None:
    """The flags of a directory, with some more; None where its file system has none such."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        found = int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)), sys.byteorder)
        if add:
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, (found | add).to_bytes(8, sys.byteorder))
        return found | add
    except OSError:
        return None
    finally:
        os.close(fd)


@pytest.fixture(params=["/var/tmp", "/dev/shm"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory on the machine's disk, and one in memory, as far as they are there."""
    if not os.access(request.param, os.W_OK):
        pytest.skip(f"{request.param} cannot be written")
    with tempfile.TemporaryDirectory(dir=request.param) as name:
        yield Path(name)


def test_a_directory_gets_the_flag_where_there_is_one(place: Path) -> None:
    (place / "a").mkdir()
    (place / "b").mkdir()
    possible = flags(place / "a", FS_TOPDIR_FL)
    spread_below(place / "b")
    assert bool((flags(place / "b") or 0) & FS_TOPDIR_FL) == (possible is not None)


def test_its_other_flags_stay(place: Path) -> None:
    had = flags(place, NODUMP)
    spread_below(place)
    assert bool((flags(place) or 0) & NODUMP) == (had is not None)


@pytest.mark.parametrize("kind", ["missing", "file", "link to nothing"])
def test_what_is_no_directory_is_no_error(place: Path, kind: str) -> None:
    path = place / "x"
    if kind == "file":
        path.touch()
    elif kind != "missing":
        path.symlink_to("nothing")
    spread_below(path)


def test_scratch_directories_lie_in_one_that_spreads_under_names_that_are_drawn(place: Path) -> None:
    state, names = StateDir.open(place / "state"), []
    possible = flags(place, FS_TOPDIR_FL)
    for _ in range(4):
        with state.scratch("run") as scratch:
            names.append(scratch.name)
    assert len(set(names)) == 4 and len({name[4:8] for name in names}) > 1
    assert bool((flags(state.tmp) or 0) & FS_TOPDIR_FL) == (possible is not None)


def test_a_tree_is_deleted_when_the_command_ends(place: Path) -> None:
    state = StateDir.open(place / "state")
    tree = state.layers / "old"
    (tree / "d").mkdir(parents=True)
    state.discard(tree)
    assert not tree.exists() and len(list(state.tmp.glob("discarded-*/d"))) == 1, "it is put aside first"
    statedir.finish()
    assert list(state.tmp.iterdir()) == []

"""The state directory and its stores: whole or not there, held or swept, damaged and begun anew."""

from __future__ import annotations

import fcntl
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tiffin.cache.backend import AvailableOnly, StepCache, StepRecord, Tiered
from tiffin.cache.errors import CorruptError, StoreError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.keys import KeyPart
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.filestat import MAX_SELECTIONS, ROW, UNKNOWN, Listing, StatTable, fields_of
from tiffin.cache.store.local import LocalCache, Table
from tiffin.cache.store.snapshots import BlobRef, Snapshots
from tiffin.cache.store.statedir import StateDir, finish, sweep_at_end

DATA = b"some bytes"
KEY = Digest.of(b"key")


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.open(tmp_path / "state")


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def table(state: StateDir, warnings: list[str]) -> Table:
    return Table(state, warnings.append)


def record(text: str = "x") -> StepRecord:
    return StepRecord(
        diff_id=Digest.of(text.encode()),
        parent_chain=Digest.of(b"parent"),
        created="2026-01-01T00:00:00Z",
        seconds=1.5,
        parts=(KeyPart("op", "run"), KeyPart("path", "\udcff")),
        layer=BlobRef(media_type="t", digest=Digest.of(b"l"), size_bytes=3),
        empty=False,
        description="RUN x",
    )


@pytest.mark.attack("T30")
def test_open_makes_private_folders_and_keeps_a_foreign_directory(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "deep/state")
    assert state.root.stat().st_mode & 0o777 == 0o700
    assert (state.images / "oci-layout").exists()
    assert StateDir.open(state.root).root == state.root
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letters").write_text("")
    with pytest.raises(StoreError, match="holds other files"):
        StateDir.open(tmp_path / "mine")
    (state.root / "format").write_text("tiffin 99\n")
    with pytest.raises(StoreError, match="another format"):
        StateDir.open(state.root)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TIFFIN_ROOT": "/a", "XDG_DATA_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_DATA_HOME": "/b", "HOME": "/c"}, "/b/tiffin"),
        ({"HOME": "/c"}, "/c/.local/share/tiffin"),
    ],
)
def test_default_root(environ: dict[str, str], expected: str) -> None:
    assert StateDir.default_root(environ) == Path(expected)


@pytest.mark.parametrize("kind", ["link", "file", "open to a group", "of another user"])
def test_a_root_for_the_homeless_that_is_not_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Anybody can put something below that name into a directory for temporary files, before us."""
    place = tmp_path / f"tiffin-{os.getuid()}"
    environ = {"HOME": "/", "TMPDIR": str(tmp_path)}
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to("elsewhere")
    elif kind == "file":
        place.touch(mode=0o600)
    else:
        place.mkdir(mode=0o700)
        assert StateDir.default_root(environ) == place
    if kind == "open to a group":
        place.chmod(0o770)
    elif kind == "of another user":
        other = os.getuid() + 1
        place.rename(tmp_path / f"tiffin-{other}")
        monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(StoreError, match="is not this user's alone"):
        StateDir.default_root(environ)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_state_directory_is_its_owners_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    root = tmp_path / "a/b/state"
    before = os.umask(mask)
    try:
        state = StateDir.open(root)
        with state.scratch("x"), state.lock("y"):
            folders = [tmp_path / "a", tmp_path / "a/b", root, *(path for path in root.rglob("*") if path.is_dir())]
            modes = {path: path.stat().st_mode & 0o777 for path in folders}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o700}, modes


def test_locks_exclude_and_share(state: StateDir) -> None:
    with state.lock("a/b weird"), state.lock("a/b weird", blocking=False) as again:
        assert not again
    with state.lock("x", shared=True), state.lock("x", shared=True, blocking=False) as again:
        assert again


def test_sweep_takes_the_dead_and_leaves_the_living(state: StateDir) -> None:
    with state.scratch("live") as live:
        dead = state.tmp / "dead-1"
        dead.mkdir()
        (dead / "file").write_text("")
        (state.tmp / "dead-1.lock").write_text("")
        assert state.sweep() == 1
        assert live.exists() and not dead.exists()
    assert list(state.tmp.iterdir()) == []


def test_discarded_tree_goes_when_the_command_ends(state: StateDir) -> None:
    with state.scratch("run") as scratch:
        tree = scratch / "tree"
        (tree / "d").mkdir(parents=True)
        (tree / "d/file").write_text("")
        state.discard(tree)
        assert not tree.exists()
        assert state.sweep() == 0, "another command took what this one holds"
    left = [item for item in state.tmp.iterdir() if not item.name.endswith(".lock")]
    assert len(left) == 1 and (left[0] / "d/file").exists()
    finish()
    assert list(state.tmp.iterdir()) == []


def test_what_dead_processes_left_goes_when_the_command_ends(state: StateDir) -> None:
    (state.tmp / "dead-1").mkdir()
    (state.tmp / "dead-1.lock").write_text("")
    sweep_at_end(state)
    assert (state.tmp / "dead-1").exists()
    finish()
    assert list(state.tmp.iterdir()) == []


def test_second_tree_of_a_layer_is_put_aside(state: StateDir) -> None:
    snapshots = Snapshots(state, "f")
    first, second = state.root / "first", state.root / "second"
    for tree in (first, second):
        tree.mkdir()
        (tree / "name").write_text(tree.name)
    diff_id = Digest.of(b"layer")
    published = snapshots.publish(diff_id, first)
    assert snapshots.publish(diff_id, second) == published
    assert (published / "name").read_text() == "first" and not second.exists()
    assert any(item.name.startswith("discarded-") for item in state.tmp.iterdir()), "deleted in the middle of a command"
    finish()
    assert list(state.tmp.iterdir()) == []


def test_scratch_directories_are_spread_where_the_file_system_can(state: StateDir) -> None:
    with state.scratch("run"):
        pass
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    place = max((m for m in mounts if str(state.tmp).startswith(m[1])), key=lambda mount: len(mount[1]))
    fd = os.open(state.tmp, os.O_RDONLY)
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, 0x80086601, bytes(8)), sys.byteorder)
    except OSError:
        flags = 0  # no such flags at all
    finally:
        os.close(fd)
    assert bool(flags & 0x20000) == (place[2] in ("ext2", "ext3", "ext4")), place


def test_what_is_swept_before_it_is_locked_is_not_used(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its directory has no lock file, and stays for ever should the process die."""
    real, turns = fcntl.flock, [state.sweep]

    def flock(fd: int, operation: int) -> None:
        if turns:
            assert turns.pop()() == 1
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with state.scratch("live") as live:
        assert live.with_name(f"{live.name}.lock").exists()
    assert list(state.tmp.iterdir()) == [] and not turns


@pytest.mark.attack("T18")
def test_remove_tree_opens_closed_directories_and_follows_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("")
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/f").write_text("")
    (tree / "link").symlink_to(outside)
    (tree / ".moved-1").write_text("")
    (tree / "a/b").chmod(0)
    (tree / "a").chmod(0)
    remove_tree(tree)
    assert not tree.exists() and (outside / "keep").exists()
    remove_tree(tree)


def test_blob_is_whole_or_not_there(state: StateDir) -> None:
    blobs = BlobStore(state)
    with blobs.ingest() as writer:
        writer.write(DATA)
        assert not blobs.has(Digest.of(DATA))
        assert writer.commit() == (Digest.of(DATA), len(DATA))
    assert blobs.read(Digest.of(DATA), 100) == DATA
    assert list(blobs) == [Digest.of(DATA)]
    with pytest.raises(CorruptError, match="came as"), blobs.ingest() as writer:
        writer.write(b"other")
        writer.commit(Digest.of(DATA))
    with blobs.ingest() as writer:
        writer.write(b"never committed")
    assert list(blobs) == [Digest.of(DATA)] and list(state.tmp.iterdir()) == []
    with pytest.raises(StoreError, match="not in the store"):
        blobs.open(KEY)


@pytest.mark.parametrize("damage", [b"some bytez", b"some byte", b"some bytes!"])
def test_damaged_blob_is_noticed_when_read(state: StateDir, damage: bytes) -> None:
    blobs = BlobStore(state)
    digest = blobs.put(DATA)
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(damage)
    with pytest.raises(CorruptError):
        blobs.read(digest, 100)


def test_snapshot_of_another_flavor_is_not_ours(state: StateDir) -> None:
    ours, theirs = Snapshots(state, "a"), Snapshots(state, "b")
    tree = state.tmp / "tree"
    tree.mkdir()
    ours.publish(KEY, tree)
    assert ours.tree(KEY) is not None and theirs.tree(KEY) is None
    assert Snapshots(state).has_tree(KEY) and not theirs.has_tree(KEY)
    second = state.tmp / "tree"
    second.mkdir()
    ours.publish(KEY, second)
    assert not second.exists()
    ref = BlobRef(media_type="t", digest=KEY, size_bytes=1)
    ours.add_blob(KEY, ref)
    ours.add_blob(KEY, ref)
    assert ours.blobs(KEY) == (ref,)


def test_record_comes_back_as_it_was() -> None:
    assert StepRecord.decode(record().encode()) == record()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"null", b"\x80", record().encode().replace(b'"schema":3', b'"schema":2'), b"[" * 10**5]
)
def test_foreign_record_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptError):
        StepRecord.decode(data)


class Memory:
    """The simplest StepCache."""

    name = "memory"

    def __init__(self) -> None:
        self.held: dict[Digest, StepRecord] = {}

    def get_many(self, keys: object) -> dict[Digest, StepRecord]:
        return dict(self.held)

    def put(self, key: Digest, record: StepRecord) -> None:
        self.held[key] = record


@pytest.mark.parametrize(
    "make", [lambda table: LocalCache(table), lambda _: Memory(), lambda _: Tiered([Memory(), Memory()])]
)
def test_step_cache_contract(table: Table, make: Callable[[Table], StepCache]) -> None:
    cache = make(table)
    assert cache.get_many([KEY]) == {}
    cache.put(KEY, record())
    cache.put(KEY, record("y"))
    assert cache.get_many([KEY]) == {KEY: record("y")}
    assert AvailableOnly(cache, lambda _: True).get_many([KEY]) == {KEY: record("y")}
    assert AvailableOnly(cache, lambda _: False).get_many([KEY]) == {}
    assert cache.name


def test_tiers_fill_the_nearer() -> None:
    near, far = Memory(), Memory()
    far.put(KEY, record())
    assert Tiered([near, far]).get_many([KEY]) == {KEY: record()}
    assert near.held == {KEY: record()}


@pytest.mark.attack("T12")
def test_planted_pickle_is_never_loaded(state: StateDir, table: Table, tmp_path: Path, warnings: list[str]) -> None:
    """Whoever can write the database must not be able to run code with it."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    table.set("name", b"value")
    table.close()
    with sqlite3.connect(state.cache / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Bomb()),))
    database.close()
    fresh = Table(state, warnings.append)
    assert fresh.get("name") is None
    assert not (tmp_path / "exploded").exists() and warnings
    fresh.close()


def test_damaged_database_is_begun_anew(state: StateDir, warnings: list[str]) -> None:
    (state.cache / "cache.db").write_bytes(b"no database" * 1000)
    table = Table(state, warnings.append)
    assert "damaged" in warnings[0]
    table.set("a", b"b")
    assert table.get("a") == b"b"
    table.close()


def listing_of(path: Path, *names: str, mtime_ns: int = 10**9, ctime_ns: int | None = None) -> Listing:
    """What stat says of files, as if their times were these, with their names hashed for digests."""
    rows, digests = [], []
    for name in names:
        fields = list(fields_of((path / name).stat()))
        fields[-2:] = [mtime_ns, mtime_ns if ctime_ns is None else ctime_ns]
        rows.append(ROW.pack(*fields))
        digests.append(sha256(os.fsencode(name)).digest())
    return Listing("/".join(names), b"".join(rows), b"".join(digests))


def test_stat_table_trusts_only_what_is_the_same_and_old(table: Table, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_text("x")
    old, new = listing_of(tmp_path, "old"), listing_of(tmp_path, "new", ctime_ns=time.time_ns())
    first = StatTable.load(table, "dir")
    first.record("old", old)
    first.record("sub/new", new)  # as young as the table: it may change again unseen
    first.save()
    second = StatTable.load(table, "dir")
    assert second.lookup("old", old.rows) == old.digests
    assert second.lookup("sub/new", new.rows) is None
    assert second.lookup("old", listing_of(tmp_path, "old", mtime_ns=10**9 + 1).rows) is None
    assert second.lookup("sub/old", old.rows) is None
    assert StatTable.load(table, "other").lookup("old", old.rows) is None


def test_a_listing_has_the_digests_that_another_one_has_of_the_same_files(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    known = listing_of(tmp_path, "a", "b", "c")
    same = Listing(known.names, known.rows)
    assert same.digests_by(known) is known.digests
    changed = Listing("a/c", b"".join((known.row(0), listing_of(tmp_path, "c", mtime_ns=5).rows)))
    assert changed.digests_by(known) == bytes(known.digest(0)) + UNKNOWN
    assert changed.unknown(changed.digests_by(known)) == [1]
    fewer = Listing("b", known.row(1))
    assert fewer.digests_by(known) == known.digest(1) and fewer.digests_by(None) == UNKNOWN
    assert [known.find(name) for name in ("a", "c", "", "d")] == [0, 2, -1, -1]


def test_stat_table_keeps_what_most_builds_do_not_ask_for(table: Table, tmp_path: Path) -> None:
    names = tuple(f"ä{number:02}\udcff" for number in range(100))
    for name in (*names, "new"):
        (tmp_path / name).write_text("x")
    large, small = listing_of(tmp_path, *names, mtime_ns=-5 * 10**9), listing_of(tmp_path, "new")
    first = StatTable.load(table, "dir")
    first.keep("ö", large, is_new=True)
    first.keep("empty", Listing("", b""), is_new=True)
    first.save()
    part = StatTable.load(table, "dir")  # a build of a small part that learns something
    assert part.listing("empty") is None
    part.keep("", small, is_new=True)
    part.save()
    third = StatTable.load(table, "dir")
    for path, kept in (("ö", large), ("", small)):
        found = third.listing(path)
        assert found is not None and found.is_like(kept) and found.digests == kept.digests
    third.keep("ö", listing_of(tmp_path, *names[1:]), is_new=True)
    third.save()
    last = StatTable.load(table, "dir")
    assert last.lookup(f"ö/{names[0]}", large.row(0)) is None and last.listing("") is None


def test_one_file_is_remembered_beside_those_of_its_directory(table: Table, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    first = StatTable.load(table, "dir")
    first.keep("d", listing_of(tmp_path, "a", "c"), is_new=True)
    first.save()
    second = StatTable.load(table, "dir")
    second.record("d/b", listing_of(tmp_path, "b"))
    second.save()
    found = StatTable.load(table, "dir").listing("d")
    assert found is not None and found.names == "a/b/c"
    assert found.digests == listing_of(tmp_path, "a", "b", "c").digests


def test_digests_of_selections_are_remembered_unless_something_is_young(table: Table, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    stats = StatTable.load(table, "dir")
    old, young = listing_of(tmp_path, "a"), listing_of(tmp_path, "a", ctime_ns=time.time_ns())
    for number in range(MAX_SELECTIONS + 1):
        stats.note_selection(f"{number:064x}", f"{number + 1:064x}", [old])
    stats.note_selection("f" * 64, "e" * 64, [old, young])
    again = StatTable.load(table, "dir")
    assert again.selection(f"{MAX_SELECTIONS:064x}") == f"{MAX_SELECTIONS + 1:064x}"
    assert again.selection(f"{0:064x}") is None and again.selection("f" * 64) is None
    table.set("selected:dir", b"\xff not whole")
    assert StatTable.load(table, "dir").selection(f"{1:064x}") is None


def test_a_damaged_stat_table_is_nothing(table: Table, tmp_path: Path) -> None:
    names = ("f0", "f1", "f2")
    for name in names:
        (tmp_path / name).write_text("x")
    kept = listing_of(tmp_path, *names)
    first = StatTable.load(table, "dir")
    first.keep("d", kept, is_new=True)
    first.save()
    data = table.get("stat:dir")
    assert data is not None
    for damaged in (data[:-1], data + b"x", data[:20], b"\0" + data[1:], data[:16] + b"\0" + data[17:], b"[1,2]", b""):
        table.set("stat:dir", damaged)
        assert StatTable.load(table, "dir").lookup("d/f1", kept.row(1)) is None, damaged


def test_a_disk_that_is_full_in_the_middle_of_a_write_is_told(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the last write of a blob is cut short."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from tiffin.cache.store.blobs import BlobStore; "
        "from tiffin.cache.errors import StoreError; from tiffin.cache.store.statedir import StateDir\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); blobs = BlobStore(StateDir.open(Path(sys.argv[1])))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    blobs.put(b'x' * 300_000)\nexcept StoreError:\n    print(list(blobs))\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "state")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"

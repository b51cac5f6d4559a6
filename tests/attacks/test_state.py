"""The state directory: who may read it, what its keys leave out, what is left of a command that was killed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import Harness, error_of
from tests.conftest import CHECKOUT
from tests.support.minimal_image import base_files, write_image
from tests.support.unprivileged import WITHOUT_IDS, Users, has_ids, interpreter, remove_folder
from tiffin.builder.errors import TiffinError
from tiffin.builder.image.store import ImageStore
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.oci.reference import Reference
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import LocalCache, Table
from tiffin.cache.store.snapshots import Snapshots
from tiffin.cache.store.statedir import StateDir

# -- permissions (T30) -----------------------------------------------------------------------------------------------


def reachable(folder: Path) -> list[str]:
    """What somebody else may open or enter, seen from the folder's parent on."""
    found = []
    for parent, names, files in os.walk(folder):
        if not Path(parent).stat().st_mode & 0o005:
            names.clear()
            continue
        found += [f"{parent}/{name}" for name in (*names, *files)]
    return found


@pytest.mark.attack("T30")
@pytest.mark.userns
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.xdist_group("attacks")
def test_umask_decides_nothing(users: Users, umask: int) -> None:
    """CVE-2021-41091: the store is its owner's alone; what is built is the same under any umask."""
    home = users.home(users.usual)
    place = home / f"umask-{umask:o}"
    place.mkdir()
    (place / "context").mkdir()
    (place / "context/file").write_text("x")
    (place / "context/file").chmod(0o644)
    (place / "context/Dockerfile").write_text(
        "FROM minimal\nCOPY file /made/\nRUN umask; touch /by-run && mkdir /d && chmod 4755 /by-run && stat -c %a "
        "/by-run /d /made\n"
    )
    users.own(users.usual, place)
    place.chmod(0o755)
    state = place / "a/b/state"
    script = f'umask {umask:04o}; exec "$@"'

    def tiffin(*words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = ["sh", "-c", script, "sh", interpreter(), "-m", "tiffin", "--root", str(state), *map(str, words)]
        return users.program(users.usual, argv, SOURCE_DATE_EPOCH="1700000000")

    assert tiffin("images").returncode == 0
    write_image(state)
    users.own(users.usual, state / "images")
    done = tiffin(
        "build", "--no-cache", "--progress=plain", "--iidfile", place / "iid", "-t", "umasked", place / "context"
    )
    assert done.returncode == 0, done.stderr
    assert "0022" in done.stderr, "a step has the umask of the caller"
    assert reachable(state) == [], "others reach the store"
    assert reachable(place / "a") in ([], [f"{place}/a/b"], [f"{place}/a/b", f"{state}"]), (
        "others may replace the store"
    )
    for folder in (place / "a", place / "a/b", state):
        assert folder.stat().st_mode & 0o022 == 0, f"others may write {folder}"
    ids = home / "umask-ids"
    known = set(ids.read_text().split()) if ids.exists() else set()
    ids.write_text(" ".join({*known, (place / "iid").read_text().strip()}))
    assert len(ids.read_text().split()) == 1, "the image depends on the umask"
    if os.getuid() == 0:  # else there is no other user to try it
        other = users.program(WITHOUT_IDS, ["find", str(state), "-perm", "-4000"])
        assert other.stdout == "" and "Permission denied" in other.stderr, (
            "another user reaches set-id files of the store"
        )
    remove_folder(place)


@pytest.mark.attack("T30")
@pytest.mark.xdist_group("attacks")
@pytest.mark.skipif(has_ids(), reason="newuidmap, which is set-uid, writes no id maps under strace")
def test_no_predictable_names_in_tmp(root_harness: Harness, tmp_path: Path) -> None:
    """Nothing is written below /tmp but what was asked for."""
    trace = tmp_path / "trace"
    folder = root_harness.context("FROM minimal\nCOPY Dockerfile /x\nRUN true\n")
    argv = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=open,openat,mkdir,mkdirat,symlink,symlinkat,mknod,mknodat",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]
    subprocess.run(
        [*argv, *root_harness.cli.argv("build", "--no-cache", folder)],
        check=True,
        capture_output=True,
        timeout=120,
        **root_harness.cli.options(),
    )  # type: ignore[call-overload]
    own = (str(root_harness.cli.folder), str(tmp_path))
    made = [
        line for line in trace.read_text(errors="replace").splitlines()
        if ('"/tmp' in line or '"/var/tmp' in line or '"/dev/shm' in line) and ("O_CREAT" in line or "mk" in line or "symlink" in line) and not any(place in line for place in own)
    ]  # fmt: skip
    assert made == [], "something is written below /tmp"


# -- keys (T21) ------------------------------------------------------------------------------------------------------

CHANGES = {
    "command": ("RUN echo one > /f", "RUN echo two > /f"),
    "argument": ("ARG A=1\nRUN echo $A > /f", "ARG A=2\nRUN echo $A > /f"),
    "variable": ("ENV A=1\nRUN echo $A > /f", "ENV A=2\nRUN echo $A > /f"),
    "user": ("USER 1\nRUN id -u > /tmp/f", "USER 2\nRUN id -u > /tmp/f"),
    "directory": ("WORKDIR /tmp\nRUN pwd > /f", "WORKDIR /srv\nRUN pwd > /f"),
    "shell": ('SHELL ["/bin/sh", "-c"]\nRUN echo $0 > /f', 'SHELL ["/bin/sh", "-xc"]\nRUN echo $0 > /f'),
    "network": ("RUN --network=host ls /sys/class/net > /f", "RUN --network=none ls /sys/class/net > /f"),
    "security": ("RUN grep CapEff /proc/self/status > /f",
        ("RUN --security=insecure grep CapEff /proc/self/status > /f")),
    "exec form": ('RUN ["sh", "-c", "echo 1 > /f"]', "RUN sh -c 'echo 1 > /f' && true"),
    "mounted content": ("RUN --mount=target=/m cat /m/a > /f", "RUN --mount=target=/m,source=b cat /m > /f"),
    "mount point": ("RUN --mount=type=tmpfs,target=/m ls -d /m /n > /f 2>&1; true",
        ("RUN --mount=type=tmpfs,target=/n ls -d /m /n > /f 2>&1; true")),
    "owner": ("COPY --chown=1 a /f", "COPY --chown=2 a /f"),
    "mode": ("COPY --chmod=600 a /f", "COPY --chmod=644 a /f"),
    "destination": ("COPY a /f", "COPY a /g"),
    "source": ("COPY a /f", "COPY b /f"),
    "heredoc": ("COPY <<E /f\none\nE", "COPY <<E /f\ntwo\nE"),
    "script": ("RUN <<E\necho one > /f\nE", "RUN <<E\necho two > /f\nE"),
    "layer below": ("RUN echo 1 > /g\nRUN cat /g > /f", "RUN echo 2 > /g\nRUN cat /g > /f"),
    "base": ("RUN ls / > /f", "RUN ls / > /f"),
    "framing": ("ENV A=1 B=2\nRUN echo $A-$B > /f", 'ENV A="1 B=2"\nRUN echo $A-$B > /f'),
    "onbuild": ("ONBUILD RUN true\nRUN ls / > /f", "HEALTHCHECK CMD true\nRUN ls / > /f"),
}  # fmt: skip


@pytest.mark.attack("T21")
@pytest.mark.userns
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.xdist_group("attacks")
def test_builds_that_differ_share_nothing_wrong(root_harness: Harness, name: str) -> None:
    """CVE-2024-24557: an instruction that is not in the key lets one Dockerfile poison another."""
    first, second = CHANGES[name]
    files = {"a": "content of a", "b": "content of b"}
    root_harness.cli.make_image({**base(), "only-here": b"x"}, name="otherbase", config={"Env": ["PATH=/bin"]})
    words = ("--allow=security.insecure", "--progress=plain", "-q")
    bases = ("minimal", "otherbase" if name == "base" else "minimal")
    fresh: list[str] = []
    for use_cache in (False, True):
        ids = []
        for name_of_base, text in zip(bases, (first, second), strict=True):
            folder = root_harness.context(f"FROM {name_of_base}\n{text}\nRUN true\n", files)
            more = () if use_cache else ("--no-cache",)
            done = root_harness.run("build", *words, *more, folder, env={"SOURCE_DATE_EPOCH": "1700000000"})
            assert done.returncode == 0, done.stderr
            ids.append(done.stdout.strip())
        if use_cache:
            assert ids == fresh, f"a cached build differs from a fresh one: {name}"
        fresh = ids


def base() -> dict[str, bytes | str | None]:
    return base_files()


@pytest.mark.attack("T21")
@pytest.mark.userns
@pytest.mark.xdist_group("attacks")
def test_pulled_images_are_no_cache(root_harness: Harness) -> None:
    """An image that claims to be the result of a step is not taken for it."""
    step = "RUN echo honest > /result"
    history = [{"created_by": "base"}, {"created_by": f"/bin/sh -c {step[4:]}"}, {"created_by": step}]
    root_harness.cli.make_image(
        base(), {"result": b"poisoned"}, name="poison", config={"Env": ["PATH=/bin"], "History": history}
    )
    folder = root_harness.context(f"FROM minimal\n{step}\nRUN cat /result\n")
    done = root_harness.run("build", "--progress=plain", folder)
    assert done.returncode == 0 and "honest" in done.stderr and "poisoned" not in done.stderr


# -- killed at every write (section "crash consistency") -------------------------------------------------------------

MUTATORS = "write,pwrite64,rename,renameat,renameat2,fsync,fdatasync,mkdir,unlink,unlinkat,ftruncate"
SHIM = """
import os, sys
sys.path.insert(0, {checkout!r})
budget = int(sys.argv[1])
def counted(name):
    real = getattr(os, name)
    def act(*args, **options):
        global budget
        budget -= 1
        if budget < 0:
            os.kill(os.getpid(), 9)
        return real(*args, **options)
    setattr(os, name, act)
for name in ("write", "rename", "replace", "fsync", "mkdir", "unlink", "link", "chmod", "fchmod", "rmdir", "open", "pwrite"):
    counted(name)
from pathlib import Path
{body}
print("done", flush=True)
"""
OPENED = """
from tiffin.cache.store.statedir import StateDir
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.foundation.digest import Digest
state = StateDir.open(Path(sys.argv[2]))
blobs = BlobStore(state)
"""
OPERATIONS = {
    "state directory": "from tiffin.cache.store.statedir import StateDir\nStateDir.open(Path(sys.argv[2]))\n",
    "blob": OPENED
    + (
        "for part in (b'a', b'b'):\n    with blobs.ingest() as writer:\n        writer.write(part * 100000)\n"
        "        writer.commit(Digest.of(part * 100000))\n"
    ),
    "layer": OPENED
    + """
from tiffin.cache.store.snapshots import Snapshots, BlobRef
from tiffin.builder.layer.unpack import unpack
import io
sys.path.insert(0, {checkout!r} + "/tests/unit/layer")
from layer_samples import archive, raw
snapshots = Snapshots(state, "idmap_tag")
tar = archive(raw("d/", "dir"), raw("d/f", data=b"x" * 5000), raw("l", "symlink", link="d/f")).getvalue()
diff_id = Digest.of(tar)
with state.scratch("unpack") as scratch:
    tree = scratch / "tree"
    tree.mkdir()
    index = unpack(io.BytesIO(tar), tree)
    snapshots.write_index(diff_id, index.encoded(), has_implied=False)
    digest = blobs.put(tar)
    snapshots.add_blob(diff_id, BlobRef(media_type="application/vnd.oci.image.layer.v1.tar", digest=digest, size_bytes=len(tar)))
    snapshots.publish(diff_id, tree)
""",
    "image and tag": OPENED
    + """
from tiffin.cache.store.local import Table
from tiffin.builder.image.store import ImageStore
from tiffin.builder.oci.reference import Reference
import json
table = Table(state, print)
store = ImageStore(state, blobs, lambda: table)
config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(Digest.of(config)), "size": len(config)}
manifest = json.dumps({"schemaVersion": 2, "config": described, "layers": []}).encode()
image = store.put(manifest, config, [Reference.parse("one:1")])
store.tag(image, Reference.parse("two:2"))
store.untag(Reference.parse("one:1"))
""",
}
RECORD = """
import sys
sys.path.insert(0, {checkout!r})
from pathlib import Path
from tiffin.cache.store.statedir import StateDir
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.local import Table, LocalCache
from tiffin.cache.backend import StepRecord
table = Table(StateDir.open(Path(sys.argv[1])), print)
cache = LocalCache(table)
record = StepRecord(diff_id=Digest.of(b"x"), parent_chain=Digest.of(b"y"), created="2024-01-01T00:00:00Z", seconds=1.0, parts=(), layer=None, empty=False, description="RUN true")
cache.put(Digest.of(b"key"), record)
table.close()
"""


def run_until(budget: int, body: str, state: Path) -> bool:
    """Run `body`, killed after so many changes of the disk; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        sink = os.open(os.devnull, os.O_RDWR)
        os.dup2(sink, 1)
        sys.argv = ["shim", str(budget), str(state)]
        code = 3
        try:
            exec(
                compile(
                    SHIM.replace("{checkout!r}", repr(str(CHECKOUT))).replace(
                        "{body}", body.replace("{checkout!r}", repr(str(CHECKOUT)))
                    ),
                    "shim",
                    "exec",
                ),
                {"__name__": "shim"},
            )
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the operation failed at {budget}"
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return not os.WIFSIGNALED(status)


def check_store(state_path: Path) -> None:
    """What holds at any moment: names are of whole things, the list names what is here, locks are free, tmp can be
    swept.
    """
    state = StateDir.open(state_path)
    state.sweep()
    assert list(state.tmp.iterdir()) == [], "something stays in tmp"
    assert not list(state.root.rglob(".new-*")) or all(
        path.parent in (state.images, *state.layers.iterdir(), state.root) for path in state.root.rglob(".new-*")
    )
    blobs = BlobStore(state)
    for digest in blobs:
        assert Digest.of(blobs.path(digest).read_bytes()) == digest, "a blob is not what its name says"
    warnings: list[str] = []
    table = Table(state, warnings.append)
    for image in ImageStore(state, blobs, lambda: table).images():
        assert blobs.has(image.id), "the list names an image that is not here"
    for _, record in LocalCache(table).records():
        assert record.diff_id
    table.close()
    assert warnings == [], "the local cache was damaged"
    snapshots = Snapshots(state, "idmap_tag")
    for diff_id in snapshots:
        data = snapshots.read_index(diff_id)
        tree = snapshots.tree(diff_id)
        if tree is not None:
            assert data is not None and (tree / "d/f").read_bytes() == b"x" * 5000, "a tree is half a layer"
        if data is not None:
            LayerIndex.decode(data)
        for ref in snapshots.blobs(diff_id):
            assert blobs.has(ref.digest), "a layer names a blob that is not here"
    with state.lock("images", blocking=False) as held:
        assert held, "a dead process holds a lock"


@pytest.mark.attack("T20", "T30")
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_change_of_the_disk(tmp_path: Path, name: str) -> None:
    """kill -9 before the n-th write, rename, sync …, for every n: the store is whole, and the next try succeeds."""
    for budget in range(2000):
        state = tmp_path / f"state-{budget}"
        if name != "state directory":
            StateDir.open(state)
        ended = run_until(budget, OPERATIONS[name], state)
        check_store(state)
        assert run_until(1 << 30, OPERATIONS[name], state), "the next try does not succeed"
        check_store(state)
        remove_tree(state)
        if ended:
            assert budget > 5, "nothing was counted"
            return
    raise AssertionError("the operation has no end")


@pytest.mark.attack("T20")
def test_record_killed_at_every_system_call(tmp_path: Path) -> None:
    """The same for a record in the local cache, whose writes are SQLite's own: strace kills before the n-th."""
    for number in range(1, 200, 2):
        state = tmp_path / f"state-{number}"
        Table(StateDir.open(state), pytest.fail).close()
        argv = [sys.executable, "-c", RECORD.replace("{checkout!r}", repr(str(CHECKOUT))), str(state)]
        inject = f"inject={MUTATORS}:signal=KILL:when={number}"
        done = subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={MUTATORS}", "-e", inject, *argv], check=False
        )
        check_store(state)
        again = Table(StateDir.open(state), pytest.fail)
        again.set("name", b"value")
        assert again.get("name") == b"value", "the next command cannot write"
        again.close()
        if done.returncode == 0:
            assert number > 5, "nothing was counted"
            return
    raise AssertionError("the operation has no end")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Directories on file systems of so many KiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted: list[Path] = []

    def make(kib: int) -> Path:
        place = tmp_path / f"small-{kib}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], check=True)
        mounted.append(place)
        return place

    yield make
    gc.collect()  # databases that could not be opened whole
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.attack("T10")
def test_full_at_every_size(small: Callable[[int], Path]) -> None:
    """No space left, at every step of keeping a blob and naming an image: a StoreError, nothing half done."""
    outcomes = set()
    for kib in (*range(40, 200, 16), *range(200, 600, 80)):
        place, stack = small(kib), contextlib.ExitStack()
        try:
            state = StateDir.open(place / "state")
            blobs = BlobStore(state)
            noise = os.urandom(100_000)
            with blobs.ingest() as writer:
                writer.write(noise)
                writer.commit(Digest.of(noise))
            table = stack.enter_context(contextlib.closing(Table(state, lambda text: None)))
            config = json.dumps(
                {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
            ).encode()
            described = {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(Digest.of(config)),
                "size": len(config),
            }
            manifest = json.dumps({"schemaVersion": 2, "config": described, "layers": []}).encode()
            ImageStore(state, blobs, _giving(table)).put(manifest, config, [Reference.parse("one:1")])
            outcomes.add("whole")
        except TiffinError as exc:
            assert exc.remedy
            outcomes.add("full")
        stack.close()
        if (place / "state/format").exists():
            assert list((place / "state/tmp").iterdir()) == [], "a full disk stays full"
            for digest in BlobStore(StateDir.open(place / "state")):
                path = BlobStore(StateDir.open(place / "state")).path(digest)
                assert Digest.of(path.read_bytes()) == digest, "half a blob has a name"
    assert outcomes == {"whole", "full"}


@pytest.mark.attack("T20")
@pytest.mark.userns
@pytest.mark.xdist_group("attacks")
def test_every_blob_damaged_in_turn(root_harness: Harness) -> None:
    """Other bytes of the same length, and other lengths, under every name of the store: refused, or made anew."""
    root_harness.output("FROM minimal\nCOPY Dockerfile /x\nRUN true\n", "-t", "damaged")
    folder = root_harness.state / "images/blobs/sha256"
    rows = json.loads((root_harness.state / "images/index.json").read_text())["manifests"]
    row = next(row for row in rows if "damaged" in row.get("annotations", {}).get("io.containerd.image.name", ""))
    manifest = json.loads((folder / row["digest"].partition(":")[2]).read_bytes())
    for digest in (row["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])):
        path = folder / digest.partition(":")[2]
        right = path.read_bytes()
        for wrong in (right[:-1] + bytes([right[-1] ^ 1]), right[:-1], right + b"x", b""):
            path.write_bytes(wrong)
            done = root_harness.run("save", "-o", root_harness.cli.folder / "saved.tar", "damaged")
            if done.returncode == 0:
                with (root_harness.cli.folder / "saved.tar").open("rb") as stream:
                    assert right in stream.read(), "a damaged blob was saved"
            else:
                assert error_of(done)
        path.write_bytes(right)
    (root_harness.cli.folder / "saved.tar").unlink(missing_ok=True)
    root_harness.run("rmi", "damaged")


def _giving(table: Table) -> Callable[[], Table]:
    return lambda: table

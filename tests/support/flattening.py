"""How other tools show an image: each unpacks or mounts an OCI layout with the tag `x`, and lists all files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.dockerd import running_docker
from tests.support import list_tree
from tests.support.servers import START_SECONDS, TIED
from tests.support.unprivileged import remove_folder

Listing = dict[str, Any]
Show = Callable[[Path], Listing]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TAG = "x"
TIMEOUT_SECONDS = 300
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def write_layout(folder: Path, layers: Sequence[bytes], packed: Sequence[tuple[bytes, Mapping[str, str]]] = ()) -> Path:
    """Write an image of these tars as an OCI layout; `packed`: them as zstd, with the annotations of each."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    rows = [put(layer, LAYER_TYPE) for layer in layers]
    diff_ids = [row["digest"] for row in rows]
    if packed:
        rows = [{**put(blob, f"{LAYER_TYPE}+zstd"), "annotations": dict(told)} for blob, told in packed]
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "test"} for _ in rows],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": rows,
    }
    row = put(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    row["annotations"] = {"org.opencontainers.image.ref.name": TAG}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    return folder


def sh(*words: str | Path, **options: Any) -> str:
    """Run a tool; its output."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, timeout=TIMEOUT_SECONDS, check=False, **options
    )
    assert done.returncode == 0, (words, done.stderr.decode(errors="replace")[-2000:])
    return str(done.stdout.decode())


@contextlib.contextmanager
def umoci() -> Iterator[Show]:
    def show(layout: Path) -> Listing:
        with tempfile.TemporaryDirectory() as place:
            sh("umoci", "unpack", "--image", f"{layout}:{TAG}", f"{place}/bundle")
            return list_tree.listing(os.fsencode(f"{place}/bundle/rootfs"))

    yield show


@contextlib.contextmanager
def containers_storage(tool: str, driver: str = "overlay", **user: Any) -> Iterator[Show]:
    """podman or buildah, of containers/storage; `user` is how subprocess becomes another one."""
    place = Path(tempfile.mkdtemp(prefix="tpod-"))  # podman wants a short path
    program = shutil.copy(list_tree.__file__, place / "list_tree.py")
    (place / "run").mkdir(mode=0o700)
    if "user" in user:
        for folder in (place, place / "run"):
            os.chown(folder, user["user"], user["group"])
        user["env"] = {**user["env"], "XDG_RUNTIME_DIR": f"{place}/run", "TMPDIR": f"{place}"}  # else it leaves folders
    words = [tool, "--root", f"{place}/p", "--runroot", f"{place}/r", "--storage-driver", driver]
    inside = [tool, "unshare"] if user else []

    def show(layout: Path) -> Listing:
        if tool == "buildah":
            name = sh(*words, "from", "--pull-never", f"oci:{layout}:{TAG}", cwd=place, **user).strip()
            script = f'd=$({" ".join(words)} mount {name}) && python3 {program} "$d"'
        else:
            name = sh(*words, "pull", "-q", f"oci:{layout}:{TAG}", cwd=place, **user).strip()
            script = f'd=$({" ".join(words)} image mount {name}) && python3 {program} "$d"'
        found: Listing = json.loads(sh(*inside, "sh", "-c", script, cwd=place, **user))
        if driver == "vfs":  # which copies all for each layer, and of links those of plain files alone
            found = {path: entry if entry["content"] else {**entry, "names": []} for path, entry in found.items()}
        return found

    try:
        yield show
    finally:
        for clean in (["image", "umount", "-af"], ["umount", "-a"], ["rm", "-af"], ["rmi", "-af"]):
            subprocess.run([*words, *clean], capture_output=True, check=False, cwd=place, **user)
        subprocess.run([*inside, "umount", "-R", f"{place}/p/overlay"], capture_output=True, check=False, **user)
        # a user's podman keeps a process, which the file of its number leads to
        subprocess.run([tool, "system", "migrate"], capture_output=True, check=False, cwd=place, **user)
        remove_folder(place)


@contextlib.contextmanager
def docker(folder: Path) -> Iterator[Show]:
    with running_docker(folder) as words:

        def show(layout: Path) -> Listing:
            archive, name = layout.parent / "docker.tar", f"t{layout.parent.name}-{layout.name}".lower()
            sh("skopeo", "copy", f"oci:{layout}:{TAG}", f"docker-archive:{archive}:{name}:x")
            sh(*words, "load", "-i", archive)
            archive.unlink()
            [found] = json.loads(sh(*words, "image", "inspect", f"{name}:x"))
            data = found["GraphDriver"]["Data"]
            lower = ":".join(filter(None, [data["UpperDir"], data.get("LowerDir", "")]))
            short = lower.replace(f"{folder}/d/overlay2/", "")
            with tempfile.TemporaryDirectory() as place:
                root, empty = Path(place, "root"), Path(place, "empty")
                root.mkdir()
                empty.mkdir()  # an overlay without an upper directory has two lower ones
                options = f"ro,lowerdir={short}:{empty}"
                sh("mount", "-t", "overlay", "-o", options, "none", root, cwd=f"{folder}/d/overlay2")
                try:
                    return list_tree.listing(os.fsencode(root))
                finally:
                    sh("umount", root)

        yield show


@contextlib.contextmanager
def containerd(folder: Path) -> Iterator[Show]:
    address = f"{folder}/c.sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([*TIED, "containerd", "-c", f"{folder}/config.toml"], stdout=log, stderr=log)
    words = ["ctr", "-a", address]
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run([*words, "version"], capture_output=True, check=False).returncode:
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)

        def show(layout: Path) -> Listing:
            archive, name = layout.parent / "oci.tar", f"localhost/t{layout.parent.name}-{layout.name}".lower()
            sh("tar", "-C", layout, "-cf", archive, ".")
            sh(*words, "images", "import", "--base-name", name, archive)
            archive.unlink()
            with tempfile.TemporaryDirectory() as place:
                sh(*words, "images", "mount", f"{name}:{TAG}", place)
                try:
                    return list_tree.listing(os.fsencode(place))
                finally:
                    sh(*words, "images", "unmount", "--rm", place)

        yield show
    finally:
        daemon.terminate()
        daemon.wait(30)

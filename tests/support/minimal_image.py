"""Make a small image of busybox-static in a state directory, by the OCI layout alone: no code of ours is involved.

Run as a program: `minimal_image.py STATE_DIR [NAME]`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

NAME = "docker.io/library/minimal:latest"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/srv:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
GROUP = "root:x:0:\nwww:x:33:\nalice:x:1000:\nwheel:x:10:alice\nvideo:x:44:alice,www\n"
Files = Mapping[str, bytes | str | None]  # content; "-> TARGET" for a symlink; None for a directory


def busybox() -> str | None:
    """The static busybox of this machine, or None."""
    return shutil.which("busybox")


def base_files() -> dict[str, bytes | str | None]:
    """A root file system: busybox with all its applets, users, groups."""
    program = busybox()
    assert program is not None, "busybox is not installed"
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files: dict[str, bytes | str | None] = {
        "bin/busybox": Path(program).read_bytes(),
        "etc/passwd": PASSWD.encode(),
        "etc/group": GROUP.encode(),
        "etc/os-release": b"ID=minimal\n",
        "tmp": None,
        "root": None,
        "home/alice": None,
        "srv/page": b"hello from the image\n",
        "var/run": "-> ../run",
        "run": None,
    }
    return files | {f"bin/{name}": "-> busybox" for name in applets if name != "busybox"}


def layer(files: Files) -> bytes:
    """A plain tar of `files`."""
    directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
    everything: dict[str, bytes | str | None] = {**dict.fromkeys(directories), **files}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(everything):
            content = everything[name]
            member = tarfile.TarInfo(name)
            member.mtime = 1_700_000_000
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            elif isinstance(content, str) and content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:]
            else:
                data = content.encode() if isinstance(content, str) else content
                member.size, member.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
                archive.addfile(member, io.BytesIO(data))
                continue
            if name.startswith("home/alice"):
                member.uid = member.gid = 1000
            archive.addfile(member)
    return stream.getvalue()


def write_image(state: Path, *layers: Files, name: str = NAME, config: Mapping[str, object] | None = None) -> str:
    """Put an image of `layers` (default: the base files) into the state directory; returns its id."""
    images = state / "images"
    (images / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (images / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        path = images / "blobs/sha256" / digest
        if not path.exists():  # writing a file anew makes the disk wait
            path.write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    tars = [layer(files) for files in (layers or (base_files(),))]
    packed = [blob(gzip.compress(tar, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for tar in tars]
    document = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
    }
    described = blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described,
        "layers": packed,
    }
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = images / "index.json"
    known = json.loads(index.read_text())["manifests"] if index.exists() else []
    known = [item for item in known if item.get("annotations", {}).get("io.containerd.image.name") != name]
    index.write_text(json.dumps({"schemaVersion": 2, "manifests": [*known, entry]}))
    return str(described["digest"])


if __name__ == "__main__":
    state_directory = Path(sys.argv[1])
    print(write_image(state_directory, name=sys.argv[2] if len(sys.argv) > 2 else NAME))  # noqa: T201

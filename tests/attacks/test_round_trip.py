"""What a step makes is what somebody else unpacks: built on each tier, pushed, unpacked by umoci under real root."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.attacks.harness import Harness
from tests.integration.layer_round_trip import view
from tests.support.servers import Registry

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.xdist_group("attacks")]
EPOCH = 1_700_000_000
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep
STEPS = """FROM minimal
ADD special.tar /
RUN mkdir -p /d/sub && echo content > /d/f && ln /d/f /d/hard && ln -s ../d/f /d/sub/soft && mkfifo /d/fifo \\
 && chown 33:44 /d/f && chmod 4755 /d/f && chown -h 12:13 /d/sub/soft && mkdir /d/gid && chgrp 44 /d/gid && chmod 2775 /d/gid && touch /d/gid/inherits \\
 && mkdir /d/sticky && chmod 1777 /d/sticky && touch -d @1234567890 /d/old && dd if=/dev/zero of=/d/sparse bs=1 seek=1M count=1 2>/dev/null \\
 && chmod 0 /d/old && mknod /d/null c 1 3 && mknod /d/block b 8 1 && chown 1000 /d/null && printf x > "/d/$(printf 'a\\377b')"
RUN rm /etc/group /d/old && rm -r /d/sub && mkdir /d/sub && touch /d/sub/new && mv /d/f /d/moved && echo more >> /d/gid/inherits && chmod 600 /special/ping && chmod 755 /special/ping
USER 33
RUN touch /tmp/of-user && mkdir /tmp/dir-of-user
USER 0
COPY --chown=7:8 --chmod=640 special.tar /copied
"""


def special() -> bytes:
    """What busybox has no command for: a capability."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("special/ping")
        member.size, member.mode, member.mtime = 4, 0o755, EPOCH - 7
        member.pax_headers = {
            "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.user.note": "value",
        }
        tar.addfile(member, io.BytesIO(b"ping"))
    return stream.getvalue()


def members(path: Path) -> dict[str, tuple[object, ...]]:
    """What Python's own reader finds in a tar of a root: the same facts in the form of `view`."""
    result: dict[str, tuple[object, ...]] = {}
    kinds = {
        tarfile.REGTYPE: 0o100000,
        tarfile.DIRTYPE: 0o040000,
        tarfile.SYMTYPE: 0o120000,
        tarfile.CHRTYPE: 0o020000,
        tarfile.BLKTYPE: 0o060000,
        tarfile.FIFOTYPE: 0o010000,
    }
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.rstrip("/")
            target = tar.getmember(member.linkname) if member.islnk() else member
            stream = tar.extractfile(target) if target.isreg() else None
            content = hashlib.sha256(stream.read()).hexdigest() if stream else ""
            xattrs = sorted(key[13:] for key in target.pax_headers if key.startswith("SCHILY.xattr."))
            mode = kinds[target.type] | (0o777 if target.issym() else target.mode)
            result[name] = (
                mode,
                target.uid,
                target.gid,
                int(target.mtime),
                content,
                target.linkname if target.issym() else "",
                xattrs,
            )
    return result


def unpacked(root: Path) -> dict[str, tuple[object, ...]]:
    """A tree on disk as `members` has it."""
    return {
        path: (mode, uid, gid, int(mtime_ns) // 10**9, content, os.fsdecode(link), [key for key, _ in attributes])  # type: ignore[call-overload,arg-type,attr-defined]
        for path, (mode, uid, gid, mtime_ns, content, link, attributes, _) in view(root).items()
    }


@pytest.mark.attack("T36")
def test_layers_come_back_as_they_went(each_harness: Harness, registry: Registry, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can unpack owners and devices")
    folder = each_harness.context(STEPS, {"special.tar": special()})
    os.utime(folder / "special.tar", (EPOCH - 5, EPOCH - 5))
    name = f"{registry.host}/round:{each_harness.tier}"
    done = each_harness.build(folder, "--push", "-t", name, env={"SOURCE_DATE_EPOCH": str(EPOCH)})
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out.tar"
    there = Harness.of(tmp_path)
    pulled = there.context(f"FROM {name}\n")
    assert there.build(pulled, "-o", f"type=tar,dest={out}").returncode == 0
    image = tmp_path / "oci"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{image}:x"], check=True)
    subprocess.run(["umoci", "unpack", "--image", f"{image}:x", tmp_path / "bundle"], check=True, capture_output=True)
    ours, theirs = members(out), unpacked(tmp_path / "bundle/rootfs")
    for path in sorted(ours.keys() | theirs.keys()):
        assert ours.get(path) == theirs.get(path), (path, ours.get(path), theirs.get(path))
    # and it is what the steps say
    assert theirs["d/moved"][:3] == (0o104755, 33, 44) and theirs["d/hard"] == theirs["d/moved"]
    assert theirs["special/ping"][6] == ["security.capability", "user.note"]
    assert theirs["d/gid"][:3] == (0o042775, 0, 44) and theirs["d/gid/inherits"][2] == 44
    assert theirs["d/null"][:3] == (0o020644, 1000, 0) and theirs["d/block"][0] == 0o060644
    assert theirs["tmp/of-user"][1] == 33 and theirs["copied"][:3] == (0o100640, 7, 8)
    assert "etc/group" not in theirs and "d/old" not in theirs and "d/sub/soft" not in theirs
    same = tmp_path.parent / "round-trip-listing"
    listing = "\n".join(f"{path} {facts}" for path, facts in sorted(theirs.items()))
    known = same.read_text(errors="surrogateescape") if same.exists() else listing
    same.write_text(listing, errors="surrogateescape")
    assert known == listing, "a tier makes another layer than the one before"

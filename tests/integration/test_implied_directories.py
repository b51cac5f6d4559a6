"""Directories that a layer has something in but does not tell of look as what is below: --link, and layers of other
tools.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conformance.images import machine_architecture
from tests.conftest import Run
from tests.support.listing import list_tar
from tests.support.minimal_image import base_files, layer
from tests.support.unprivileged import has_one_id

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
LOOK = "stat -c '%n %a %u:%g' /w /w/c /w/new /w/new/d"
TEXT = f"""FROM base
RUN mkdir -p /w/c && chown -R 1000:1001 /w && chmod 2770 /w && chmod 700 /w/c
COPY --link f /w/c/
COPY --link --chown=33:33 --chmod=640 f /w/new/d/f
RUN {LOOK} > /seen
RUN touch /w/c/later
RUN {LOOK} >> /seen
"""
SEEN = "/w 2770 1000:1001\n/w/c 700 1000:1001\n/w/new 755 0:0\n/w/new/d 755 0:0\n"


@pytest.mark.parametrize("isolation", ["best", "single", "chroot"])
def test_a_linked_copy_leaves_the_directories_on_the_way(
    tiffin: Run, base: str, context: Make, tmp_path: Path, isolation: str
) -> None:
    if isolation == "chroot" and has_one_id():
        pytest.skip("the tier chroot is root's")
    words = [] if isolation == "best" else ["--isolation", isolation]
    out = tmp_path / "tree.tar"
    tiffin("build", "--progress=plain", *words, "-o", f"type=tar,dest={out}", "-t", "linked", context(TEXT, f="f"))
    tree = list_tar(out)
    assert {path: (tree[path].mode, tree[path].owner) for path in ("w", "w/c", "w/new", "w/new/d", "w/new/d/f")} == {
        "w": ("2770", (1000, 1001)),
        "w/c": ("700", (1000, 1001)),
        "w/new": ("755", (0, 0)),
        "w/new/d": ("755", (0, 0)),
        "w/new/d/f": ("640", (33, 33)),
    }
    with tarfile.open(out) as archive:
        seen = archive.extractfile("seen")
        assert seen is not None and seen.read().decode() == SEEN * 2


def test_a_linked_layer_is_the_same_on_any_base(tiffin: Run, base: str, context: Make) -> None:
    diff_ids = []
    for mode in ("700", "2775"):
        folder = context(f"FROM {base}\nRUN mkdir -m {mode} /w\nCOPY --link f /w/c/\nRUN stat -c %a /w > /m", f="f")
        tiffin("build", "-q", "-t", "linked", folder)
        assert tiffin("run", "--rm", "linked", "cat", "/m").stdout == f"{mode}\n"
        diff_ids.append(tiffin("inspect", "--format", "{{index .RootFS.Layers 2}}", "linked").stdout)
    assert diff_ids[0] == diff_ids[1]


def test_squashing_keeps_what_is_below(tiffin: Run, base: str, context: Make) -> None:
    tiffin("build", "-q", "-t", "below", context(f"FROM {base}\nRUN mkdir -m 2770 /w && chown 1000:1001 /w"))
    tiffin("build", "-q", "--squash", "-t", "over", context("FROM below\nCOPY --link f /w/c/\nRUN true > /x", f="f"))
    assert tiffin("run", "--rm", "over", "stat", "-c", "%a %u:%g", "/w").stdout == "2770 1000:1001\n"


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of files alone."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def image_of(*layers: bytes) -> bytes:
    """An archive that docker loads."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    config = {"architecture": machine_architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["bare:latest"], "Layers": names}]
    files = {"config.json": json.dumps(config | {"config": {"Env": ["PATH=/bin"]}}).encode()}
    return tar_of({**files, **dict(zip(names, layers, strict=True)), "manifest.json": json.dumps(manifest).encode()})


@pytest.mark.parametrize("isolation", ["best", "chroot"])
def test_layers_of_other_tools_without_directories_leave_those_below(
    tiffin: Run, context: Make, tmp_path: Path, isolation: str
) -> None:
    """As docker and podman unpack them."""
    if isolation == "chroot" and has_one_id():
        pytest.skip("the tier chroot is root's")
    words = [] if isolation == "best" else ["--isolation", isolation]
    image = tmp_path / "image.tar"
    tool = tar_of({"home/alice/made": b"made\n", "tmp/made": b"made\n", "opt/new/made": b"made\n"})
    image.write_bytes(image_of(layer(base_files()), tool))
    tiffin("load", "-i", image)
    look = "stat -c '%a %u' /tmp /home/alice /opt/new"
    folder = context(f"FROM bare\nRUN {look} > /seen && touch /tmp/more && {look} >> /seen\nCOPY f /tmp/\n", f="f")
    tiffin("build", "-q", "-t", "over", *words, folder)
    expected = "1777 0\n755 1000\n755 0\n"
    script = ("sh", "-c", f"cat /seen; {look}; cat /tmp/made")
    shown = tiffin("run", "--rm", *words, "over", *script).stdout
    assert shown == expected * 3 + "made\n"

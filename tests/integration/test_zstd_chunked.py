"""Layers in the form zstd:chunked: read as a whole by everybody, file by file by podman, put together by tar-split."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support import flattening
from tests.support.flattening import sh, write_layout
from tests.support.random_layers import RandomLayers
from tests.support.servers import Registry
from tests.unit.layer.test_layer_chunked import MARK, contents, packed, skipped
from tiffin.builder.layer.pack import pack

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.xdist_group("split-layers")]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OLD_MARK = "io.containers.zstd-chunked."  # the names that podman 4 looks for; those of today are others
PARTIAL = """[storage]
driver="overlay"
graphroot="{place}/p"
runroot="{place}/r"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos=""}}
"""
FEW = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")  # this machine may forbid to raise them


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


def tar_of(seed: int, *, removes: bool = True) -> bytes:
    layers = RandomLayers(seed)
    sink = io.BytesIO()
    below = layers.base()
    pack(layers.over(below) if removes else below, sink)
    return sink.getvalue()


@pytest.mark.parametrize("seed", range(6))
def test_tar_split_puts_the_tar_together(tmp_path: Path, seed: int) -> None:
    needs("tar-split")
    tar = tar_of(seed)
    blob, annotations = packed(tar)
    entries = json.loads(skipped(blob, annotations[f"{MARK}manifest-position"]))["entries"]
    for name, data in contents(blob, entries).items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    split = skipped(blob, annotations[f"{MARK}tarsplit-position"])
    (tmp_path / "split.json.gz").write_bytes(gzip.compress(split))
    (tmp_path / "files").mkdir(exist_ok=True)
    sh("tar-split", "asm", "--input", tmp_path / "split.json.gz", "--path", tmp_path / "files", "--output",
       tmp_path / "made.tar")  # fmt: skip
    assert (tmp_path / "made.tar").read_bytes() == tar


@pytest.mark.parametrize("tool", ["umoci", "containerd", "podman"])
def test_tools_read_it_as_a_whole(tmp_path: Path, tool: str) -> None:
    needs(tool)
    if os.getuid() != 0:
        pytest.skip("owners and device nodes take root")
    ways: dict[str, Callable[[], Any]] = {
        "umoci": flattening.umoci,
        "containerd": lambda: flattening.containerd(tmp_path),
        "podman": lambda: flattening.containers_storage("podman"),
    }
    with ways[tool]() as show:
        for seed in range(3):
            tar = tar_of(seed, removes=False)  # the only layer of its image
            blob, annotations = packed(tar)
            plain = show(write_layout(tmp_path / f"plain{seed}", [tar]))
            if tool == "umoci":  # Debian's knows no zstd
                sh("zstd", "-d", "-q", "-o", tmp_path / f"tar{seed}", input=blob)
                assert (tmp_path / f"tar{seed}").read_bytes() == tar
                continue
            chunked = show(write_layout(tmp_path / f"chunked{seed}", [tar], packed=[(blob, annotations)]))
            assert chunked == plain and len(plain) > 10


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """podman as root that may fetch parts of layers."""
    needs("podman")
    if os.getuid() != 0:
        pytest.skip("a root is compared with all of its owners")
    place = tempfile.mkdtemp(prefix="tpod-")
    Path(place, "storage.conf").write_text(PARTIAL.format(place=place))
    words = ["env", f"CONTAINERS_STORAGE_CONF={place}/storage.conf", "podman", "--runtime", "runc"]
    words += ["--cgroup-manager", "cgroupfs", "--log-level", "debug"]
    yield words
    sh(*words, "rm", "-af")
    sh(*words, "rmi", "-af")
    sh("sh", "-c", f"umount -R {place}/p/overlay 2> /dev/null; rm -rf {place}")


def with_old_names(host: str, name: str, tag: str) -> str:
    """Give an image of the registry the annotations that podman 4 looks for as well, under another tag."""
    place = f"http://{host}/v2/{name}/manifests/"
    with urllib.request.urlopen(urllib.request.Request(place + tag, headers={"Accept": MANIFEST})) as answer:
        document = json.load(answer)
    for layer in document["layers"]:
        told = layer.get("annotations", {})
        told.update({key.replace(MARK, OLD_MARK): text for key, text in told.items()})
    data = json.dumps(document).encode()
    asked = urllib.request.Request(place + "old", data=data, method="PUT", headers={"Content-Type": MANIFEST})
    urllib.request.urlopen(asked).close()
    return f"{host}/{name}:old"


@pytest.mark.parametrize("split", [False, True])
def test_podman_fetches_only_files_that_changed(
    tiffin: Run, base: str, context: Callable[..., Path], registry: Registry, podman: list[str], split: bool
) -> None:
    text = f"FROM {base}\nCOPY site /site\nRUN cp -r /site /made && chmod 700 /made && ln /made/p1/m /made/link\n"
    files = {f"site/p{number}/m": os.urandom(50_000) for number in range(30)}
    files["site/large"] = os.urandom(3_000_000)
    folder = context(text, **files)
    name = f"chunked-{split}".lower()
    words = [
        "--timestamp=1700000000",
        "-o",
        "type=image,push=true,compression=zstd:chunked" + ",layers=split,size=64kB" * split,
    ]
    tiffin("build", "-t", f"{registry.host}/{name}:1", *words, folder)
    pull = [*podman, "pull", "--tls-verify=false"]
    log = pulled(pull, with_old_names(registry.host, name, "1"))
    assert sum(missing for missing, _ in log) == sum(all_bytes for _, all_bytes in log) > 4_000_000
    (folder / "site/p7/m").write_bytes(b"changed")
    tiffin("build", "-t", f"{registry.host}/{name}:1", *words, folder)
    changed = with_old_names(registry.host, name, "1")
    log = pulled(pull, changed)
    assert 0 < sum(missing for missing, _ in log) < 200
    script = "cat /site/p7/m /made/p7/m; stat -c %a%h /made /made/link; sha256sum /site/*/m /site/large /made/large"
    out = sh(*podman, "run", "--rm", "--network=host", *FEW, changed, "sh", "-c", script)
    whole = f"{registry.host}/{name}:1"
    assert tiffin("run", "--rm", whole, "sh", "-c", script).stdout == out
    assert out.startswith("changedchanged")
    sh(*podman, "rmi", "-af")
    pulled(pull, whole)  # with the names of today it is fetched as a whole
    assert sh(*podman, "run", "--rm", "--network=host", *FEW, whole, "sh", "-c", script) == out


def pulled(words: list[str], name: str) -> list[tuple[int, int]]:
    """Pull an image; the bytes of files that were not here, and of all, of each layer that was not fetched whole."""
    done = subprocess.run([*words, name], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"Missing (\d+) bytes out of (\d+)", done.stderr)
    return [(int(missing), int(total)) for missing, total in found]

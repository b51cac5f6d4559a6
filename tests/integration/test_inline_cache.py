"""A cache that an image holds itself: written into its configuration, read from a registry, unseen by other tools."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.conftest import CHECKOUT, Run
from tests.support.servers import Registry

pytestmark = pytest.mark.network
Make = Callable[..., Path]
TEXT = "FROM scratch AS one\nCOPY a /a\nFROM one\nWORKDIR /w\nCOPY b /b\nLABEL salt={}\n"


def name_of(registry: Registry, tmp_path: Path) -> str:
    return f"{registry.host}/inline/{re.sub('[^a-z0-9]+', '-', tmp_path.name.lower()).strip('-')}:1"


def cached(tiffin: Run, folder: Path, *words: str) -> int:
    """How many steps another machine finds, with nothing but the image in the registry."""
    tiffin("system", "reset", "-f")
    return tiffin("build", *words, folder).stderr.count("CACHED")


@pytest.mark.parametrize(
    "words",
    [
        ["--build-arg", "BUILDKIT_INLINE_CACHE=1"],
        ["--cache-to", "type=inline"],
        ["--cache-to", "type=inline,mode=min", "--build-arg", "BUILDKIT_INLINE_CACHE=true"],
        ["--cache-to", "type=inline", "-o", "type=registry,compression=zstd"],
        ["--cache-to", "type=inline", "-o", "type=image,push=true,oci-mediatypes=false"],
        ["--cache-to", "type=inline", "--platform", "linux/amd64,linux/arm64"],
    ],
    ids=lambda words: words[-1],
)
def test_image_is_a_cache_to_build_from(
    tiffin: Run, context: Make, registry: Registry, tmp_path: Path, words: list[str]
) -> None:
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    push = [] if "-o" in words else ["--push"]
    tiffin("build", "-t", name, *words, *push, folder)
    (folder / "Dockerfile").write_text(TEXT.format(2))
    assert cached(tiffin, folder, "--cache-from", name) == 3
    (folder / "b").write_text("changed")
    assert cached(tiffin, folder, "--cache-from", f"type=registry,ref={name}") == 1, "the step before it"
    copied = name.replace("inline/", "copied/")
    copy = ["skopeo", "copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"docker://{name}", f"docker://{copied}"], check=True, capture_output=True)
    assert cached(tiffin, folder, "--cache-from", copied) == 1, "it goes where the image goes"


def repacked(source: str, target: str, folder: Path, pack: Callable[[bytes], bytes]) -> None:
    """Push an image again, its configuration as it is and its layers packed anew, as docker save, load and push do."""
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*copy, f"docker://{source}", f"dir:{folder / 'image'}"], check=True)
    manifest = json.loads((folder / "image/manifest.json").read_bytes())
    for layer in manifest["layers"]:
        data = pack(gzip.decompress((folder / "image" / layer["digest"].removeprefix("sha256:")).read_bytes()))
        name = hashlib.sha256(data).hexdigest()
        (folder / "image" / name).write_bytes(data)
        kind = "+zstd" if data[:4] == zstandard.FRAME_HEADER else "+gzip" if data[:2] == b"\x1f\x8b" else ""
        layer |= {
            "digest": f"sha256:{name}",
            "size": len(data),
            "mediaType": f"application/vnd.oci.image.layer.v1.tar{kind}",
        }
    (folder / "image/manifest.json").write_text(json.dumps(manifest))
    subprocess.run([*copy, f"dir:{folder / 'image'}", f"docker://{target}"], check=True)


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "best": lambda data: gzip.compress(data, 9, mtime=1),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("pack", WAYS.values(), ids=WAYS)
def test_an_image_that_was_packed_anew_is_still_one(
    tiffin: Run, context: Make, registry: Registry, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    tiffin("build", "-t", name, "--push", "--cache-to", "type=inline", folder)
    again = name.replace("inline/", "again/")
    repacked(name, again, tmp_path, pack)
    (folder / "Dockerfile").write_text(TEXT.format(2))
    assert cached(tiffin, folder, "--cache-from", again) == 3
    tiffin("build", "-q", "-o", f"type=tar,dest={tmp_path / 'made.tar'}", folder)  # which reads the layers
    with tarfile.open(tmp_path / "made.tar") as archive:
        assert {"a", "b"} <= {member.name.removeprefix("./") for member in archive}


def test_signed_records_of_such_an_image_are_left_out(
    tiffin: Run, context: Make, registry: Registry, tmp_path: Path
) -> None:
    """Who signed them named other blobs."""
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    (tmp_path / "key").write_text("k" * 40)
    words = ["--cache-sign-key", str(tmp_path / "key")]
    tiffin("build", "-t", name, "--push", "--cache-to", "type=inline", *words, folder)
    again = name.replace("inline/", "again/")
    repacked(name, again, tmp_path, WAYS["zstd"])
    assert cached(tiffin, folder, "--cache-from", again, *words) == 0
    assert cached(tiffin, folder, "--cache-from", name, *words) == 3


def test_without_it_there_is_none(tiffin: Run, context: Make, registry: Registry, tmp_path: Path) -> None:
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    tiffin("build", "-t", name, "--push", "--build-arg", "BUILDKIT_INLINE_CACHE=0", folder)
    tiffin("system", "reset", "-f")
    done = tiffin("build", "--cache-from", name, folder)
    assert "CACHED" not in done.stderr and done.stderr.count("it holds no steps") == 1


def test_other_tools_see_an_image(tiffin: Run, context: Make, registry: Registry, tmp_path: Path) -> None:
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    tiffin("build", "-t", name, "--push", "--cache-to", "type=inline", folder)
    words = ["skopeo", "inspect", "--tls-verify=false", "--config", f"docker://{name}"]
    config = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert config["config"]["Labels"] == {"salt": "1"} and len(config["rootfs"]["diff_ids"]) == 3
    child = f"{name}-child"
    tiffin("build", "-t", child, "--push", context(f"FROM {name}\nLABEL a=b\n", name="child"))
    (raw,) = [
        subprocess.run([*words[:-1], "--raw", f"docker://{image}"], check=True, capture_output=True, text=True).stdout
        for image in (child,)
    ]
    assert "vnd.tiffin.cache" not in raw, "what is built on it does not inherit it"


def test_same_bytes_on_two_machines(context: Make, tmp_path: Path) -> None:
    """Not the time that a step took, nor when: with SOURCE_DATE_EPOCH nothing of either is in the image."""
    folder, ids = context(TEXT.format(1), a="1", b="2"), set()
    for number in range(2):
        argv = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / f"state{number}"), "build", "-q"]
        more = ["--cache-to", "type=inline", "--build-arg", "SOURCE_DATE_EPOCH=1000"]
        ids.add(subprocess.run([*argv, *more, str(folder)], check=True, capture_output=True, cwd=CHECKOUT).stdout)
    assert len(ids) == 1


def test_records_of_strangers_are_refused(tiffin: Run, context: Make, registry: Registry, tmp_path: Path) -> None:
    name, folder = name_of(registry, tmp_path), context(TEXT.format(1), a="1", b="2")
    keys = []
    for letter in "ab":
        keys.append(tmp_path / letter)
        keys[-1].write_text(letter * 40)
    tiffin("build", "-t", name, "--push", "--cache-to", "type=inline", "--cache-sign-key", keys[0], folder)
    assert cached(tiffin, folder, "--cache-from", name, "--cache-sign-key", str(keys[0])) == 3
    assert cached(tiffin, folder, "--cache-from", name, "--cache-sign-key", str(keys[1])) == 0


@pytest.mark.userns
def test_steps_that_run(tiffin: Run, base: str, context: Make, registry: Registry, tmp_path: Path) -> None:
    name = name_of(registry, tmp_path)
    tiffin("tag", base, f"{name}-base")
    tiffin("push", "-q", f"{name}-base")
    folder = context(f"FROM {name}-base\nRUN echo one > /one\nCOPY a /a\nRUN cat /one /a > /two\n", a="1")
    tiffin("build", "-t", name, "--push", "--cache-to", "type=inline", folder)
    (folder / "a").write_text("2")
    assert cached(tiffin, folder, "-t", "again", "--cache-from", name) == 1
    assert tiffin("run", "--rm", "again", "cat", "/two").stdout == "one\n2"

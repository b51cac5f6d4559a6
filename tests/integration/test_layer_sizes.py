"""Layers are about as small as BuildKit's: of each kind one step, beside the size that BuildKit's layer of it has.

`python -m tests.integration.test_layer_sizes FOLDER` writes the context, for any builder to be asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
MOST = 1.02  # of BuildKit's size
SLACK_BYTES = 2048  # of headers: Go's deflate takes thousands that hardly differ a little better
# of each step the size of its layer in the image that BuildKit (docker.io 28.5 with containerd's store) pushes
STEPS = [
    ("COPY small /srv/small/", 37_942),
    ("COPY code /srv/code/", 347_437),
    ("COPY deep /srv/node_modules/", 102_763),
    ("COPY binary /srv/binary", 1_593_117),
    ("RUN mkdir /srv/made && cd /srv/made && for i in $(seq 1 500); do echo line $i > f$i; done", 6143),
    ("RUN chown -R 0:0 /srv && chmod -R u+rwX /srv", 29),
    ("COPY code /srv/code/", 29),
    # BuildKit keeps fractions of seconds where it builds, and busybox copies none: equal files are new ones to it
    ("RUN cp -a /srv/code /tmp/code && rm -r /srv/code && cp -a /tmp/code /srv/code && rm -r /tmp/code", 347_438),
    ("RUN chown -R 1000:1000 /srv/code /srv/small", 385_223),
    ("RUN cat /srv/code/* > /srv/all && rm -r /srv/small /srv/made", 345_294),
]
WORDS = [hashlib.sha256(b"%d" % number).hexdigest()[: 2 + number % 9] for number in range(2000)]


def text(seed: int, words: int) -> str:
    """So many words that look drawn and are the same everywhere."""
    return "".join(
        f"{WORDS[(seed * 7919 + n * n * 31 + n * 17) % 2000]}{' ' if n % 12 else chr(10)}" for n in range(words)
    )


def write_context(folder: Path, base: str) -> None:
    for number in range(400):
        _write(folder / f"small/d{number % 19}/f{number}", text(number, number % 40).encode())
        name = f"{WORDS[number]}{'-with-a-long-name' * 3}"
        _write(folder / f"deep/{name}/node_modules/{name}/lib/{number}.js", text(number, number % 90).encode())
    for number in range(60):
        _write(folder / f"code/{number}.py", text(number, 3000).encode())
    blocks = (hashlib.sha512(b"%d" % n).digest() * 2 + b"%064d" % (n * 3) + text(n, 40).encode() for n in range(8000))
    _write(folder / "binary", b"".join(blocks))
    (folder / "Dockerfile").write_text("\n".join([f"FROM {base}", *(step for step, _ in STEPS)]))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789 + len(data) * 10**9))


@pytest.fixture
def sizes(tiffin: Run, base: str, tmp_path: Path) -> list[int]:
    folder, layout = tmp_path / "sizes", tmp_path / "layout"
    write_context(folder, base)
    tiffin("build", "-q", "-o", f"type=oci,tar=false,compression=gzip,dest={layout}", folder)

    def read(digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
        return found

    index = json.loads((layout / "index.json").read_bytes())
    return [layer["size"] for layer in read(index["manifests"][0]["digest"])["layers"]][1:]


def test_layers_are_as_small_as_buildkits(sizes: list[int]) -> None:
    assert len(sizes) == len(STEPS)
    larger = [
        (step, size, theirs)
        for (step, theirs), size in zip(STEPS, sizes, strict=True)
        if size > theirs * MOST + SLACK_BYTES
    ]
    assert not larger, "step, size, BuildKit's"
    assert sum(sizes) <= sum(theirs for _, theirs in STEPS) * MOST


if __name__ == "__main__":
    write_context(Path(sys.argv[1]), sys.argv[2])

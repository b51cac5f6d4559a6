"""--squash and --commit explicit: fewer layers, the same files."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base}
RUN mkdir -p /d/sub /gone && echo 1 > /d/f && ln /d/f /d/hard && echo x > /gone/x && chmod 4755 /d/f #!COMMIT
RUN rm -r /gone /etc/group && rm /d/f && echo 2 > /d/g && ln -s g /d/l
ENV A=1 #!commit
COPY --chown=5:6 file /d/sub/
RUN rm -r /d/sub && mkdir -p /d/sub && echo new > /d/sub/n && rm -rf /tmp && mkdir /tmp && chown 7:8 /d/sub/n # a comment
RUN touch /last
"""


def files(tiffin: Run, folder: Path, out: Path, *words: str) -> list[tuple[object, ...]]:
    tiffin("build", "-q", *words, "-o", f"type=tar,dest={out}", folder)
    with tarfile.open(out) as tar:
        return [(m.name, m.type, m.mode, m.uid, m.gid, m.size, m.linkname, m.mtime) for m in tar]


@pytest.mark.parametrize(("words", "layers"), [(("--squash",), 1), (("--commit", "explicit"), 3), ((), 5)])
def test_fewer_layers_and_the_same_files(
    tiffin: Run, base: str, context: Make, tmp_path: Path, words: tuple[str, ...], layers: int
) -> None:
    folder = context(TEXT.format(base=base), file="f")
    plain = files(tiffin, folder, tmp_path / "plain")
    done = tiffin("build", "-t", "grouped", *words, folder)
    image = json.loads(tiffin("inspect", "grouped").stdout)[0]
    assert len(image["RootFS"]["Layers"]) == layers + 1
    history = tiffin("history", "--format", "json", "--no-trunc", "grouped").stdout.splitlines()
    (tmp_path / "again").mkdir()
    (tmp_path / "again/Dockerfile").write_text("FROM grouped\n")
    assert files(tiffin, tmp_path / "again", tmp_path / "grouped") == plain
    assert (
        tiffin(
            "run", "--rm", "grouped", "sh", "-c", "cat /d/hard /d/l; test ! -e /etc/group; stat -c %u:%g /d/sub/n"
        ).stdout
        == "1\n2\n7:8\n"
    )
    again = tiffin("build", "-t", "grouped", *words, folder)
    assert again.stdout == done.stdout and "DONE" not in again.stderr
    assert len(history) >= 7


def test_squashed_layer_says_only_what_differs(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=base), file="f")
    tiffin("build", "--squash", "-o", f"type=oci,dest={tmp_path / 'o'},compression=uncompressed", folder)
    with tarfile.open(tmp_path / "o") as archive:

        def read(digest: str) -> bytes:
            return archive.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}").read()  # type: ignore[union-attr]

        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
        layer = json.loads(read(index["manifests"][0]["digest"]))["layers"][-1]["digest"]
        (tmp_path / "layer").write_bytes(read(layer))
    with tarfile.open(tmp_path / "layer") as tar:
        names = set(tar.getnames())
    assert {"etc/.wh.group", "tmp", "d/hard", "last"} <= names
    assert not any(name.startswith((".wh.gone", "gone", "d/sub/file", "d/.wh.f")) for name in names)


def test_mark_is_no_argument(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base} #!COMMIT\nCOPY file /x #!COMMIT\nRUN echo '#!COMMIT' > /y #!Commit\n", file="f")
    tiffin("build", "-t", "marked", folder)
    assert tiffin("run", "--rm", "marked", "cat", "/x", "/y").stdout == "f#!COMMIT\n"

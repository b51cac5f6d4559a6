"""Layers cut into parts: the same files in every tool that applies layers, few bytes moved, the same bytes everywhere.

`TIFFIN_SPLIT_IMAGES=30` compares that many images.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.support import flattening
from tests.support.cli_runner import CliRunner
from tests.support.flattening import Show, sh, write_layout
from tests.support.random_layers import RandomLayers
from tests.support.servers import Registry
from tests.support.unprivileged import Users
from tiffin.builder.layer.change import Change, ordered
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.pack import pack
from tiffin.builder.layer.parts.cuts import Files, cut_layers
from tiffin.builder.layer.parts.tables import extra_layers, part_tables

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("split-layers")]
IMAGES = int(os.environ.get("TIFFIN_SPLIT_IMAGES", "3"))
TOOLS = ("umoci", "podman", "podman-vfs", "buildah", "docker", "containerd")


@contextlib.contextmanager
def shown_by(tool: str, folder: Path) -> Iterator[Show]:
    name, _, driver = tool.partition("-")
    if shutil.which("dockerd" if name == "docker" else name) is None:
        pytest.skip(f"{name} is not installed")
    with contextlib.ExitStack() as stack:
        if name == "umoci":
            yield stack.enter_context(flattening.umoci())
        elif name == "docker":
            yield stack.enter_context(flattening.docker(folder))
        elif name == "containerd":
            yield stack.enter_context(flattening.containerd(folder))
        else:
            yield stack.enter_context(flattening.containers_storage(name, driver or "overlay"))


@pytest.fixture(scope="module", params=TOOLS)
def show(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """How a tool of this machine's packages shows an image to root."""
    if os.getuid() != 0:
        pytest.skip("owners and device nodes take root")
    with shown_by(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.mark.parametrize("seed", range(IMAGES))
def test_tools_show_the_same_files(show: Show, tmp_path: Path, seed: int) -> None:
    compare(show, tmp_path, RandomLayers(seed), implied=seed % 5 == 4)


@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_tools_of_a_user_show_the_same_files(users: Users, tool: str) -> None:
    if os.getuid() != 0 or shutil.which(tool) is None:
        pytest.skip("root runs tools as another user")
    user: dict[str, Any] = {"env": users.environ(users.usual), **users.identity(users.usual)}
    folder = users.home(users.usual) / f"split-{tool}"
    with flattening.containers_storage(tool, **user) as show:
        for seed in range(IMAGES):
            compare(show, folder / str(seed), RandomLayers(seed, privileged=False), implied=False)
    shutil.rmtree(folder)


def compare(show: Show, folder: Path, layers: RandomLayers, *, implied: bool) -> None:
    below = layers.base()
    over = layers.over(below, implied=implied)
    (base, _), (whole, table) = tar_of(below), tar_of(over)
    files = Files(table)
    [cuts] = cut_layers([files], [extra_layers(table)], layers.random.choice([1000, 4000, 20_000]), 30)
    parts = [part_of(part, over) for part in part_tables(table, files, cuts)]
    plain = show(write_layout(folder / "plain", [base, whole]))
    split = show(write_layout(folder / "split", [base, *parts]))
    if implied:  # a directory that no layer tells of has the time when it was made here
        for listing in (plain, split):
            listing.update({path: {**listing[path], "time": 0} for path in table.implied if path in listing})
    different = {path for path in plain.keys() | split.keys() if plain.get(path) != split.get(path)}
    assert not different, [(path, plain.get(path), split.get(path)) for path in sorted(different)[:5]]
    assert len(plain) > 10


def tar_of(changes: list[Change]) -> tuple[bytes, LayerIndex]:
    sink = io.BytesIO()
    index = pack(changes, sink)
    return sink.getvalue(), index


def part_of(part: LayerIndex, changes: list[Change]) -> bytes:
    openers = {change.entry.path: change.open for change in ordered(changes)}
    entries = [Change(entry, openers.get(entry.path), entry.path in part.implied) for entry in part.entries]
    return tar_of(entries)[0]


# -- builds


STEPS = """FROM minimal
COPY site /site
RUN cp -r /site /made && ln /made/p1/m0 /made/p9/link && chmod 4755 /made/p2/m0 && chmod 1777 /made/p3; rm -f /srv/page
RUN rm -r /made/p4 && mkdir /made/p4 && cp -r /site /made/p4/all && rm -rf /home && ln -s made /home && mknod /made/p p
RUN touch /small
"""


def site(folder: Path, packages: int = 12) -> Path:
    lots = random.Random(5)
    for number in range(packages):
        for part in range(3):
            place = folder / f"site/p{number}/m{part}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(lots.randbytes(lots.randint(500, 30_000)))
    return folder


def members(path: Path) -> list[tuple[object, ...]]:
    with tarfile.open(path) as tar:
        return [(m.name, m.type, m.mode, m.uid, m.gid, m.size, m.linkname, m.mtime) for m in tar]


@pytest.mark.usefixtures("nothing_left")
def test_an_image_of_split_layers_has_the_files_of_the_other(cli: CliRunner, tmp_path: Path) -> None:
    folder = site(cli.folder / "context")
    (folder / "Dockerfile").write_text(STEPS)
    cli.own(folder)
    plain, split = cli.folder / "plain.tar", cli.folder / "split.tar"
    words = ("build", "-q", "-t", "split", "-o", "type=image,layers=split,size=64kB", "-o", f"type=tar,dest={split}")
    first = cli.run(*words, folder)
    assert first.returncode == 0, first.stderr
    assert cli.run("build", "-q", "-o", f"type=tar,dest={plain}", folder).returncode == 0
    assert members(split) == members(plain)
    image = json.loads(cli.run("inspect", "split").stdout)[0]
    assert len(image["RootFS"]["Layers"]) > 12
    history = cli.run("history", "-q", "split").stdout.split()
    assert len(history) == len(image["RootFS"]["Layers"])
    script = "cd made; stat -c '%a %h %F' p1/m0 p2/m0 p; stat -c %a p3; ls /made/p4 /srv; readlink /home; "
    script += "wc -c < /site/p0/m0"
    size = (folder / "site/p0/m0").stat().st_size
    assert cli.output("split", "sh", "-c", script).split("\n") == [
        "644 2 regular file", "4755 1 regular file", "644 1 fifo", "1777", "/made/p4:", "all", "", "/srv:",
        "made", str(size), "",
    ]  # fmt: skip
    again = cli.run(*words, folder)
    assert again.stdout == first.stdout and "split" not in again.stderr
    (folder / "child").mkdir()
    (folder / "child/Dockerfile").write_text(
        "FROM split\nRUN test -e /small && rm -r /site && cp /made/p9/link /copy\n"
    )
    cli.own(folder)
    assert cli.run("build", "-t", "child", folder / "child").returncode == 0
    assert cli.output("child", "sh", "-c", "ls / | grep site; stat -c %h /made/p1/m0") == "2\n"


def test_two_machines_make_the_same_image(tiffin: Run, base: str, tmp_path: Path) -> None:
    """Other directories, other times and another order of files; whatever was built before."""
    made = []
    for number in range(2):
        folder = site(tmp_path / f"machine{number}")
        (folder / "Dockerfile").write_text(STEPS.replace("minimal", base))
        for path in (folder / "site").rglob("*"):
            os.utime(path, (1_600_000_000 + number * 1000, 1_600_000_000 + number * 777))
        state = tmp_path / f"state{number}"
        shutil.copytree(tmp_path / "state/images", state / "images")
        words = (sys.executable, "-m", "tiffin", "--root", state, "build", "--timestamp=1500000000", "-o")
        output = f"type=oci,dest={tmp_path}/{number}.tar,layers=split,size=64kB,compression="
        for compression in ("zstd:chunked", "gzip")[number:]:
            sh(*words, output + compression, folder)
        made.append((tmp_path / f"{number}.tar").read_bytes())
    assert made[0] == made[1]


def test_a_change_of_one_package_pushes_and_pulls_a_twentieth(
    tiffin: Run, base: str, tmp_path: Path, registry: Registry
) -> None:
    folder = site(tmp_path / "context", packages=200)
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY site /opt/site\n")
    name = f"{registry.host}/parts:1"
    words = ("build", "--split-layers=size=256kB", "--push", "-t", name, folder)
    tiffin(*words)
    before = blobs(registry)
    for part in range(3):
        (folder / f"site/p77/m{part}").write_bytes(os.urandom(20_000))
    tiffin(*words)
    added = {digest: size for digest, size in blobs(registry).items() if digest not in before}
    assert 0 < sum(added.values()) < 0.05 * sum(before.values())


def blobs(registry: Registry) -> dict[str, int]:
    """Sizes of all that the registry holds."""
    return {path.parent.name: path.stat().st_size for path in registry.data.glob("**/blobs/sha256/*/*/data")}

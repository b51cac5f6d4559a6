"""Layers cut into parts: the same files in every tool that applies layers, few bytes moved, the same bytes everywhere.

`TIFFIN_SPLIT_IMAGES=30` compares that many images.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import flattening
from tests.support.flattening import Show, write_layout
from tests.support.random_layers import RandomLayers
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

"""Small commands load what they need and no more; `ci/bench --only startup` has what that costs."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.loaded_modules import modules_of

# what such a build has nothing to do with
OTHERS = (
    "api.buildx.builders", "api.buildx.imagetools", "api.compose", "api.containers", "api.networks",
    "cli.commands.kaniko", "cli.compose", "compose", "containers", "delivery.provenance", "execute.executor",
    "image.remote", "registry", "sandbox", "sharing.caches", "solver.explain", "layer.demands", "layer.tar",
    "layer.change", "image.streaming_fetch",
)  # fmt: skip
HEAVY = (
    "click", "rich", "requests", "ssl", "socket", "subprocess", "jsonschema", "yaml", "dockerfile_parse", "logging",
    "hashlib",
)  # fmt: skip
MOST_OF_VERSION, MOST_OF_REBUILD = 10, 131


def ours(loaded: list[str]) -> list[str]:
    return [name for name in loaded if name.startswith("tiffin")]


def test_version_loads_next_to_nothing() -> None:
    loaded = modules_of("version")
    assert len(ours(loaded)) <= MOST_OF_VERSION, ours(loaded)
    assert not {"typing", "json", "tiffin.builder.errors"} & set(loaded)


def test_build_with_nothing_to_do_loads_what_finds_that_out(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("content")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    words = ("--root", str(tmp_path / "state"), "build", "-q", "-t", "image", str(context))
    modules_of(*words)
    loaded = modules_of(*words)
    assert os.listdir(tmp_path / "state/cache") == ["cache.db"], "a database was not closed"
    unneeded = [
        name
        for name in loaded
        for other in OTHERS
        if name == f"tiffin.builder.{other}" or name.startswith(f"tiffin.builder.{other}.")
    ]
    assert unneeded == []
    assert not set(HEAVY) & set(loaded)
    assert len(ours(loaded)) <= MOST_OF_REBUILD, ours(loaded)

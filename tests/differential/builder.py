"""tiffin builds examples one by one: the layers it makes, laid over the base by code that is not tiffin's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.forkserver import ForkServer
from tests.conformance.images import Archive, write_base
from tests.conformance.nodes import merge_layers
from tests.differential.generator import BASE, BASE_TREE, FOLDER, Example
from tests.differential.listing import listing
from tests.differential.oracle import write_example


class Builder:
    """tiffin with the base in its store, in `folder`. `isolation` forces a tier."""

    def __init__(self, server: ForkServer, folder: Path, isolation: str) -> None:
        self._server = server
        self._folder = folder
        self._env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TIFFIN_ISOLATION": isolation}

    def prepare(self) -> None:
        """Load the base."""
        archive = self._folder / "base.tar"
        write_base(archive, BASE, {"files": BASE_TREE})
        done = self._run("load", "-i", str(archive))
        assert not done[0], done[1]

    def build(self, each: Example) -> Mapping[str, str] | str:
        """The listing of the image, or the error."""
        context = self._folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        write_example(each, context / FOLDER)
        (context / "Dockerfile").write_text(each.text(FOLDER))
        archive = self._folder / "result.tar"
        archive.unlink(missing_ok=True)
        output = f"type=docker,dest={archive},compression=uncompressed"
        code, error = self._run("build", "--progress=plain", "-o", output, str(context))
        assert "Traceback" not in error and "internal error" not in error, f"seed {each.seed}: {error}"
        return error if code else listing(merge_layers(Archive(archive).layers()))

    def _run(self, *words: str) -> tuple[int, str]:
        argv = ["--root", str(self._folder / "state"), *words]
        done = self._server.run(argv, cwd=self._folder, env=self._env)
        return done.returncode, done.stderr

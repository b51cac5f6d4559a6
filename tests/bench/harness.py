"""The place of a benchmark as workloads see it: contexts, base images, builds that are timed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.engines import BuildRequest, Engine
from tests.bench.measuring import Place, Sample, measured

SMALL_FILE_BYTES = 600


@dataclass(slots=True, kw_only=True)
class Harness:
    """A folder all can read, a registry, base images in it. `scale` is of the numbers of files and bytes."""

    place: Place
    host: str
    registry_data: Path
    checkout: Path
    scale: float = 1.0
    debian: str = ""

    @property
    def folder(self) -> Path:
        return self.place.folder

    def context(self, name: str, dockerfile: str) -> Path:
        """A new build context."""
        path = self.folder / name
        path.mkdir(parents=True)
        (path / "Dockerfile").write_text(dockerfile)
        return path

    def files(self, path: Path, count: int, size: int = SMALL_FILE_BYTES, *, fanout: int = 100) -> None:
        """Many small files below `path`, no two alike."""
        for number in range(count):
            file = path / f"d{number % fanout}/e{number // fanout % fanout}/f{number}"
            if number < fanout * fanout:
                file.parent.mkdir(parents=True, exist_ok=True)
            line = f"{path.name} {number}\n".encode()
            file.write_bytes(line * (size // len(line) + 1))

    def opened(self, path: Path) -> Path:
        """`path`, readable by all."""
        subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
        return path

    def count(self, full: int) -> int:
        return max(10, int(full * self.scale))

    def image(self, name: str, context: Path, *, splits: bool = False) -> str:
        """Build and push an image for all engines."""
        reference = f"{self.host}/{name}"
        tool = [sys.executable, "-m", "tiffin", "--root", str(self.folder / "state"), "build", "-q", "--push"]
        tool += ["--split-layers"] if splits else []
        subprocess.run([*tool, "-t", reference, str(context)], check=True, cwd=self.checkout, stdout=subprocess.DEVNULL)
        return reference

    def name_of(self, engine: Engine, image: str) -> str:
        return f"{self.host}/bench-{image}-{engine.name}:1"

    def time(
        self,
        engine: Engine,
        context: Path,
        image: str,
        *,
        push: bool = False,
        args: Mapping[str, str] | None = None,
        cache: str = "",
        fills: bool = False,
        splits: bool = False,
        reads: bool = False,
    ) -> Sample | None:
        """One build; None where the engine has no such thing."""
        shared = f"{self.host}/bench-{cache}" if cache else ""
        job = BuildRequest(
            context=context,
            image=self.name_of(engine, image),
            args=args or {},
            push=push,
            cache=shared,
            fills=fills,
            splits=splits,
            reads=reads,
        )
        commands = engine.build(job)
        return measured(self.place, commands) if commands else None

    def forget_pushed(self) -> None:
        """Let no engine find in the registry what was pushed before, shared caches apart."""
        repositories = self.registry_data / "docker/registry/v2/repositories"
        for path in repositories.glob("bench-*"):
            if not path.name.startswith("bench-cache-"):
                shutil.rmtree(path)

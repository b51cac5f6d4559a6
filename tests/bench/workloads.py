"""What is measured. A workload prepares its contexts once; in each round every engine does it in turn."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.engines import Engine, Sample, measured
from tests.unprivileged import Users

SMALL_FILE = 600
BIG_FILE = 1 << 30


@dataclass(slots=True)
class Lab:
    """The place of a benchmark: a folder all can read, a registry, base images in it."""

    folder: Path
    users: Users
    host: str
    checkout: Path
    scale: float = 1.0  # of the numbers of files and bytes
    debian: str = ""

    def context(self, name: str, dockerfile: str) -> Path:
        """A new build context."""
        path = self.folder / name
        path.mkdir(parents=True)
        (path / "Dockerfile").write_text(dockerfile)
        return path

    def files(self, path: Path, count: int, size: int = SMALL_FILE, *, fanout: int = 100) -> None:
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

    def image(self, name: str, context: Path) -> str:
        """Build and push an image for all engines."""
        reference = f"{self.host}/{name}"
        tool = [sys.executable, "-m", "builder", "--root", str(self.folder / "state"), "build", "-q", "--push"]
        subprocess.run([*tool, "-t", reference, str(context)], check=True, cwd=self.checkout, stdout=subprocess.DEVNULL)
        return reference

    def time(
        self,
        engine: Engine,
        context: Path,
        image: str,
        *,
        push: bool = False,
        args: Mapping[str, str] | None = None,
    ) -> Sample:
        """One build."""
        name = f"{self.host}/{image}-{engine.name}:1"
        return measured(self.users, engine.build(context, name, args or {}, push=push))

    def name_of(self, engine: Engine, image: str) -> str:
        return f"{self.host}/{image}-{engine.name}:1"


class Workload(Protocol):
    """One row of the table."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def target(self) -> Mapping[str, float]:
        """At most this ratio, by engine; `best` is the fastest of the others."""

    def prepare(self, lab: Lab) -> None: ...

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        """Do it in round `number`; None where the engine has no such thing."""


@dataclass(slots=True)
class Base:
    """What workloads have in common."""

    name: str
    title: str
    target: Mapping[str, float] = field(default_factory=dict)
    path: Path = Path()


SERVICE = """ARG BASE
FROM ${BASE} AS build
COPY src /src
RUN mkdir /out && cat /src/*/*/* | sha256sum > /out/sum && tar cf /out/src.tar /src
FROM ${BASE}
RUN echo configured > /etc/configured
COPY --from=build /out /out
COPY src/d0 /srv
CMD ["true"]
"""


class Service(Base):
    """A service of two stages: nothing changed, cold, or one of many files changed."""

    def __init__(self, name: str, title: str, target: Mapping[str, float], *, files: int, mode: str) -> None:
        super().__init__(name, title, target)
        self._files = files
        self._mode = mode

    def prepare(self, lab: Lab) -> None:
        self.path = lab.context(self.name, SERVICE)
        lab.files(self.path / "src", lab.count(self._files), 3000)
        lab.opened(self.path)

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        args = {"BASE": lab.debian}
        if engine.name == "kaniko" and self._mode == "warm":
            return None
        engine.reset()
        if self._mode == "cold":
            return lab.time(engine, self.path, self.name, push=True, args=args)
        lab.time(engine, self.path, self.name, push=self._mode == "change", args=args)
        if self._mode == "change":
            (self.path / "src/d1/e0/f1").write_text(f"changed {engine.name} {number}")
        return lab.time(engine, self.path, self.name, push=self._mode == "change", args=args)


class TinyRuns(Base):
    """Three tiny RUNs over a base of many files."""

    def __init__(self, name: str, title: str, target: Mapping[str, float], *, files: int) -> None:
        super().__init__(name, title, target)
        self._files = files

    def prepare(self, lab: Lab) -> None:
        base = lab.context(f"{self.name}-base", f"FROM {lab.debian}\nCOPY files /files\n")
        lab.files(base / "files", lab.count(self._files))
        image = lab.image(f"{self.name}-base:1", lab.opened(base))
        runs = "".join(f"RUN echo $NONCE {number} > /tiny{number}\n" for number in range(3))
        self.path = lab.opened(lab.context(self.name, f"FROM {image}\nARG NONCE\n{runs}"))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            lab.time(engine, self.path, self.name, args={"NONCE": "first"})
        return lab.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


class BigLayer(Base):
    """One large file, half of it compressible, built and pushed."""

    def prepare(self, lab: Lab) -> None:
        self.path = lab.context(self.name, "FROM scratch\nCOPY big /big\n")
        source = random.Random(1)
        with (self.path / "big").open("wb") as stream:
            for _ in range(lab.count(BIG_FILE) >> 20):
                stream.write(source.randbytes(1 << 19) + b"compressible " * ((1 << 19) // 13))
        lab.opened(self.path)

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        engine.reset()
        _forget_pushed(lab)
        return lab.time(engine, self.path, self.name, push=True)


class RunTrue(Base):
    """`run --rm IMAGE true`."""

    def prepare(self, lab: Lab) -> None:
        self.path = lab.opened(lab.context(self.name, f"FROM {lab.debian}\nLABEL a=b\n"))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        commands = engine.run(lab.name_of(engine, self.name))
        if not commands:
            return None
        if number == 0:
            engine.reset()
            lab.time(engine, self.path, self.name)
            measured(lab.users, commands)
        return measured(lab.users, commands)


class Stages(Base):
    """Four stages that sleep two seconds each."""

    def prepare(self, lab: Lab) -> None:
        stages = "".join(f"FROM {lab.debian} AS s{n}\nARG NONCE\nRUN sleep 2; echo $NONCE > /s{n}\n" for n in range(4))
        copies = "".join(f"COPY --from=s{n} /s{n} /\n" for n in range(4))
        self.path = lab.opened(lab.context(self.name, f"{stages}FROM {lab.debian}\n{copies}"))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            lab.time(engine, self.path, self.name, args={"NONCE": "first"})
        return lab.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


class CopyOnly(Base):
    """Files onto a remote base, cold, pushed."""

    def prepare(self, lab: Lab) -> None:
        self.path = lab.context(self.name, f"FROM {lab.debian}\nCOPY src /app\nCMD true\n")
        lab.files(self.path / "src", 50, 10_000)
        lab.opened(self.path)

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        engine.reset()
        (self.path / "src/d0/e0/f0").write_text(f"{engine.name} {number}")
        return lab.time(engine, self.path, self.name, push=True)


class AptInstall(Base):
    """apt-get install of real packages; the package source is the machine's own."""

    def prepare(self, lab: Lab) -> None:
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends git gcc libc6-dev python3 vim"
        env = "ENV DEBIAN_FRONTEND=noninteractive\n"
        self.path = lab.opened(lab.context(self.name, f"FROM {lab.debian}\n{env}ARG NONCE\nRUN {install}\n"))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
        return lab.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


class ManyFiles(Base):
    """A context like node_modules."""

    def __init__(self, name: str, title: str, target: Mapping[str, float], *, files: int, warm: bool) -> None:
        super().__init__(name, title, target)
        self._files = files
        self._warm = warm

    def prepare(self, lab: Lab) -> None:
        self.path = lab.context(self.name, "FROM scratch\nCOPY node_modules /app/node_modules\n")
        lab.files(self.path / "node_modules", lab.count(self._files))
        lab.opened(self.path)

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if engine.name == "kaniko" and self._warm:
            return None
        if not self._warm or number == 0:
            engine.reset()
        if self._warm and number == 0:
            lab.time(engine, self.path, self.name)
        return lab.time(engine, self.path, self.name)


class CopyFrom(Base):
    """Many files from one stage to another."""

    def prepare(self, lab: Lab) -> None:
        count = lab.count(20_000)
        make = f"mkdir -p /t && cd /t && seq {count} | split -l 1 -a 4 - f"
        text = f"FROM {lab.debian} AS a\nRUN {make}\nFROM {lab.debian}\nARG NONCE\nRUN echo $NONCE > /n\nCOPY --from=a /t /t\n"
        self.path = lab.opened(lab.context(self.name, text))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            lab.time(engine, self.path, self.name, args={"NONCE": "first"})
        return lab.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


class Pull(Base):
    """Pull an image of ten layers and run something in it."""

    image = ""

    def prepare(self, lab: Lab) -> None:
        layers = "".join(f"COPY l{number} /l{number}\n" for number in range(10))
        context = lab.context(self.name, f"FROM {lab.debian}\n{layers}")
        for number in range(10):
            lab.files(context / f"l{number}", lab.count(1000), 8000)
        self.image = lab.image(f"{self.name}:1", lab.opened(context))

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        commands = engine.pull(self.image)
        if not commands:
            return None
        engine.reset()
        return measured(lab.users, commands)


class Growth(Base):
    """How the time grows: `count` files copied, or `count` RUN steps."""

    def __init__(self, name: str, title: str, *, count: int, steps: bool) -> None:
        super().__init__(name, title)
        self._count = count
        self._steps = steps

    def prepare(self, lab: Lab) -> None:
        if self._steps:
            runs = "".join(f"RUN echo $NONCE {number} > /s{number}\n" for number in range(self._count))
            self.path = lab.opened(lab.context(self.name, f"FROM {lab.debian}\nARG NONCE\n{runs}"))
            return
        self.path = lab.context(self.name, "FROM scratch\nCOPY files /files\n")
        lab.files(self.path / "files", lab.count(self._count))
        lab.opened(self.path)

    def run(self, lab: Lab, engine: Engine, number: int) -> Sample | None:
        if engine.name != "tiffin":
            return None
        if not self._steps or number == 0:
            engine.reset()
        return lab.time(engine, self.path, self.name, args={"NONCE": f"{number}"} if self._steps else {})


def _forget_pushed(lab: Lab) -> None:
    """Let no engine find the blobs of another one in the registry."""
    repositories = lab.folder / "registry/data/docker/registry/v2/repositories"
    for path in repositories.glob("*-*"):
        if any(path.name.endswith(f"-{name}") for name in ("tiffin", "buildah", "docker", "buildkit", "kaniko")):
            subprocess.run(["rm", "-rf", str(path)], check=True)


def all_workloads() -> Sequence[Workload]:
    """Every row, in the table's order."""
    rows: list[Workload] = [
        Service(
            "nothing", "nothing changed", {"buildah": 0.25, "docker": 1.0, "buildkit": 1.0}, files=2000, mode="warm"
        ),
        Service("cold", "cold build and push", {"best": 0.6}, files=2000, mode="cold"),
        Service("change", "one of 10,000 files changed", {"best": 0.5}, files=10_000, mode="change"),
        TinyRuns("tiny", "three tiny RUNs over 100,000 files", {"best": 0.3}, files=100_000),
        TinyRuns("tiny-10k", "the same over 10,000 files", {}, files=10_000),
        TinyRuns("tiny-200k", "the same over 200,000 files", {}, files=200_000),
        BigLayer("big", "a layer of 1 GiB, pushed", {"best": 0.5}),
        RunTrue("run", "run true", {"buildah": 0.2, "docker": 0.25}),
        Stages("stages", "four stages of sleep 2", {}),
        CopyOnly("copy", "COPY onto a remote base, cold, pushed", {"best": 0.1}),
        AptInstall("apt", "apt-get install", {"best": 0.8}),
        ManyFiles("files", "100,000 files, cold", {"best": 0.5}, files=100_000, warm=False),
        ManyFiles("files-warm", "100,000 files, nothing changed", {"best": 0.2}, files=100_000, warm=True),
        CopyFrom("copy-from", "COPY --from of 20,000 files", {}),
        Pull("pull", "pull ten layers and run", {"best": 0.7}),
    ]
    rows += [
        Growth(f"grow-{count}", f"COPY of {count:,} files", count=count, steps=False)
        for count in (10_000, 50_000, 100_000, 200_000)
    ]
    rows += [Growth(f"steps-{count}", f"{count} RUN steps", count=count, steps=True) for count in (10, 50, 200)]
    return rows


def cores() -> int:
    """How many processors there are."""
    return os.cpu_count() or 1

"""What is measured. A workload prepares its contexts once; in each round every engine does it in turn."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.engines import Engine, Python, Tiffin
from tests.bench.harness import Harness
from tests.bench.measuring import Sample, measured

BIG_FILE_BYTES = 1 << 30
MAX_PEAK_MIB = 120  # of every workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """At most these ratios of time, by engine (`best` is the fastest of the others), this ratio of bytes over the
    network to the engine that moves the fewest, seconds, and memory of tiffin.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    moved: float | None = None
    seconds: float | None = None
    peak_mib: int = MAX_PEAK_MIB


class Workload(Protocol):
    """One row of the table."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def target(self) -> Target: ...

    @property
    def rounds(self) -> int:
        """How often it is done unless the caller says."""

    @property
    def is_here(self) -> bool:
        """Whether it is done on the machine's own file system, with what was deleted there lately."""

    def prepare(self, harness: Harness) -> None: ...

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        """Do it in round `number`; None where the engine has no such thing."""


@dataclass(slots=True)
class Base:
    """What workloads have in common."""

    name: str
    title: str
    rounds: int
    target: Target = field(default_factory=Target)
    path: Path = Path()
    is_here: bool = False


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
COLD, WARM, CHANGE, SHARED = "cold", "warm", "change", "shared"


@dataclass(slots=True, kw_only=True)
class Service(Base):
    """A service of two stages: cold; nothing changed; one of many files changed; from a shared cache on an empty
    disk.
    """

    files: int
    mode: str
    splits: bool = False

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, SERVICE)
        harness.files(self.path / "src", harness.count(self.files), 3000)
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        args, pushes = {"BASE": harness.debian}, self.mode != WARM
        if self.mode == WARM and not engine.remembers:
            return None
        if self.mode == SHARED:
            if number == 0:
                engine.reset()
                if harness.time(engine, self.path, self.name, args=args, push=True, cache="cache", fills=True) is None:
                    return None
            engine.reset()
            harness.forget_pushed()
            return harness.time(engine, self.path, self.name, args=args, push=True, cache="cache")
        if self.mode == COLD or number == 0:
            engine.reset()
            harness.forget_pushed()
        if self.mode != COLD and number == 0:
            harness.time(engine, self.path, self.name, push=pushes, args=args, splits=self.splits)
        if self.mode == CHANGE:
            (self.path / "src/d1/e0/f1").write_text(f"changed {engine.name} {number}")
        return harness.time(engine, self.path, self.name, push=pushes, args=args, splits=self.splits)


@dataclass(slots=True, kw_only=True)
class Runs(Base):
    """RUN steps that are new in each round, over a base with `files` more files."""

    script: str
    steps: int
    files: int = 0
    only_ours: bool = False

    def prepare(self, harness: Harness) -> None:
        image = harness.debian
        if self.files:
            base = harness.context(f"{self.name}-base", f"FROM {harness.debian}\nCOPY files /files\n")
            harness.files(base / "files", harness.count(self.files))
            image = harness.image(f"{self.name}-base:1", harness.opened(base))
        runs = "".join(f"RUN {self.script.format(number=number)}\n" for number in range(self.steps))
        self.path = harness.opened(harness.context(self.name, f"FROM {image}\nARG NONCE\n{runs}"))

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if self.only_ours and not isinstance(engine, Tiffin):
            return None
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name, args={"NONCE": "first"})
        return harness.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


@dataclass(slots=True, kw_only=True)
class BigLayer(Base):
    """One large file, half of it compressible, built and pushed."""

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, "FROM scratch\nCOPY big /big\n")
        source = random.Random(1)
        with (self.path / "big").open("wb") as stream:
            for _ in range(harness.count(BIG_FILE_BYTES) >> 20):
                stream.write(source.randbytes(1 << 19) + b"compressible " * ((1 << 19) // 13))
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        engine.reset()
        harness.forget_pushed()
        return harness.time(engine, self.path, self.name, push=True)


@dataclass(slots=True, kw_only=True)
class Environment(Base):
    """An environment of packages of which one changed, pushed: tiffin splits its layer."""

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, "FROM scratch\nCOPY site /site\n")
        source = random.Random(1)
        for number in range(harness.count(300)):
            package = self.path / f"site/p{number}"
            package.mkdir(parents=True)
            for part in range(20):
                (package / f"m{part}").write_bytes(source.randbytes(20_000) + b"compressible " * 2400)
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name, push=True, splits=True)
        for part in range(20):
            (self.path / f"site/p3/m{part}").write_text(f"{engine.name} {number} {part}\n" * 2000)
        return harness.time(engine, self.path, self.name, push=True, splits=True)


@dataclass(slots=True, kw_only=True)
class Unread(Base):
    """An edit of a file that a RUN below `COPY . .` does not read: it unpacks 5,000 files, as `npm ci` does."""

    def prepare(self, harness: Harness) -> None:
        text = f"FROM {harness.debian}\nWORKDIR /app\nCOPY . .\nRUN mkdir /deps && tar xf packages.tar -C /deps\n"
        self.path = harness.context(self.name, text)
        harness.files(self.path / "src", harness.count(2000))
        packages = harness.folder / f"{self.name}-packages"
        harness.files(packages, harness.count(5000), 3000)
        subprocess.run(["tar", "cf", str(self.path / "packages.tar"), "-C", str(packages), "."], check=True)
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name, reads=True)
        (self.path / "src/d1/e0/f1").write_text(f"changed {engine.name} {number}")
        return harness.time(engine, self.path, self.name, reads=True)


@dataclass(slots=True, kw_only=True)
class RunTrue(Base):
    """`run --rm IMAGE true`."""

    def prepare(self, harness: Harness) -> None:
        self.path = harness.opened(harness.context(self.name, f"FROM {harness.debian}\nLABEL a=b\n"))

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        commands = engine.run(harness.name_of(engine, self.name))
        if not commands:
            return None
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name)
            measured(harness.place, commands)
        return measured(harness.place, commands)


@dataclass(slots=True, kw_only=True)
class Stages(Base):
    """Four stages that sleep two seconds each."""

    def prepare(self, harness: Harness) -> None:
        stages = "".join(
            f"FROM {harness.debian} AS s{n}\nARG NONCE\nRUN sleep 2; echo $NONCE > /s{n}\n" for n in range(4)
        )
        copies = "".join(f"COPY --from=s{n} /s{n} /\n" for n in range(4))
        self.path = harness.opened(harness.context(self.name, f"{stages}FROM {harness.debian}\n{copies}"))

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name, args={"NONCE": "first"})
        return harness.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


@dataclass(slots=True, kw_only=True)
class CopyOnly(Base):
    """Files onto a remote base, cold, pushed."""

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, f"FROM {harness.debian}\nCOPY src /app\nCMD true\n")
        harness.files(self.path / "src", 50, 10_000)
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        engine.reset()
        harness.forget_pushed()
        (self.path / "src/d0/e0/f0").write_text(f"{engine.name} {number}")
        return harness.time(engine, self.path, self.name, push=True)


@dataclass(slots=True, kw_only=True)
class ManyFiles(Base):
    """A context of many files, like node_modules."""

    files: int
    warm: bool = False
    only_ours: bool = False

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, "FROM scratch\nCOPY node_modules /app/node_modules\n")
        harness.files(self.path / "node_modules", harness.count(self.files))
        harness.opened(self.path)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if (self.warm and not engine.remembers) or (self.only_ours and not isinstance(engine, Tiffin)):
            return None
        if not self.warm or number == 0:
            engine.reset()
        if self.warm and number == 0:
            harness.time(engine, self.path, self.name)
        return harness.time(engine, self.path, self.name)


@dataclass(slots=True, kw_only=True)
class CopyFrom(Base):
    """Many files from one stage to another."""

    files: int

    def prepare(self, harness: Harness) -> None:
        make = f"mkdir -p /t && cd /t && seq {harness.count(self.files)} | split -l 1 -a 4 - f"
        text = (
            f"FROM {harness.debian} AS a\nRUN {make}\nFROM {harness.debian}\nARG NONCE\nRUN echo $NONCE > /n\n"
            "COPY --from=a /t /t\n"
        )
        self.path = harness.opened(harness.context(self.name, text))

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if number == 0:
            engine.reset()
            harness.time(engine, self.path, self.name, args={"NONCE": "first"})
        return harness.time(engine, self.path, self.name, args={"NONCE": f"{number}"})


@dataclass(slots=True, kw_only=True)
class Pull(Base):
    """Pull an image of ten layers and run something in it."""

    image: str = ""

    def prepare(self, harness: Harness) -> None:
        layers = "".join(f"COPY l{number} /l{number}\n" for number in range(10))
        context = harness.context(self.name, f"FROM {harness.debian}\n{layers}")
        for number in range(10):
            harness.files(context / f"l{number}", harness.count(1000), 8000)
        self.image = harness.image(f"{self.name}:1", harness.opened(context))

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        commands = engine.pull(self.image)
        if not commands:
            return None
        engine.reset()
        return measured(harness.place, commands)


@dataclass(slots=True, kw_only=True)
class PullChanged(Base):
    """Pull an image of one large COPY of which 2 % changed since the last pull: tiffin's layers are split, those of the
    others are what every builder makes.
    """

    images: dict[bool, tuple[str, str]] = field(default_factory=dict)  # of split layers or not: before and after

    def prepare(self, harness: Harness) -> None:
        self.path = harness.context(self.name, f"FROM {harness.debian}\nCOPY data /data\n")
        source = random.Random(1)
        count = harness.count(BIG_FILE_BYTES >> 20)
        for number in range(count):
            file = self.path / f"data/d{number // 16}/f{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source.randbytes(1 << 20))
        harness.opened(self.path)
        before = {
            splits: harness.image(f"{self.name}:{splits}-1", self.path, splits=splits) for splits in (True, False)
        }
        for number in range(count // 2, count // 2 + count // 50):  # of files that are changed together
            (self.path / f"data/d{number // 16}/f{number}").write_bytes(source.randbytes(1 << 20))
        for splits, image in before.items():
            after = harness.image(f"{self.name}:{splits}-2", self.path, splits=splits)
            self.images[splits] = (image, after)

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        before, after = self.images[isinstance(engine, Tiffin)]
        if not engine.pull(before):
            return None
        engine.reset()
        measured(harness.place, engine.pull(before))
        return measured(harness.place, engine.pull(after))


@dataclass(slots=True, kw_only=True)
class StartUp(Base):
    """A command that does nothing, beside `python3 -c pass`."""

    word: str

    def prepare(self, harness: Harness) -> None:
        """It needs nothing."""

    def run(self, harness: Harness, engine: Engine, number: int) -> Sample | None:
        if not isinstance(engine, (Tiffin, Python)):
            return None
        return measured(harness.place, [engine.start(self.word)])


def _best(limit: float, *, moved: float | None = None, peak_mib: int = MAX_PEAK_MIB) -> Target:
    return Target(ratios={"best": limit}, moved=moved, peak_mib=peak_mib)


def all_workloads() -> Sequence[Workload]:
    """Every row, in the table's order."""
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends git gcc libc6-dev python3 vim"
    apt, tiny = f"export DEBIAN_FRONTEND=noninteractive; {install}", "echo $NONCE {number} > /tiny{number}"
    warm = Target(ratios={"buildah": 0.25, "docker": 0.8, "buildkit": 0.8})
    rows: list[Workload] = [
        Service("nothing", "nothing changed", 9, warm, files=2000, mode=WARM),
        Service("cold", "cold build and push", 5, _best(0.6), files=2000, mode=COLD),
        Service("change", "one of 10,000 files changed, pushed", 5, _best(0.3), files=10_000, mode=CHANGE),
        Service(
            "change-split",
            "one of 10,000 files changed, split layers, pushed",
            5,
            _best(0.15),
            files=10_000,
            mode=CHANGE,
            splits=True,
        ),
        Runs("tiny", "three tiny RUNs over 100,000 files", 5, _best(0.5), script=tiny, steps=3, files=100_000),
        BigLayer("big", "a layer of 1 GiB, pushed", 3, _best(0.5, peak_mib=100)),
        Environment("environment", "one package of a 300 MB environment changed, pushed", 3, _best(0.3, moved=0.05)),
        Unread("unread", "an edit of an unread file below COPY . . and a RUN", 5, _best(0.05)),
        RunTrue("run", "run true", 9, _best(0.3)),
        Stages("stages", "four stages of sleep 2", 3, Target(seconds=2.6)),
        CopyOnly("copy", "COPY onto a remote base, cold, pushed", 5, _best(0.15)),
        Runs("apt", "apt-get install", 3, _best(0.7), script=apt, steps=1),
        ManyFiles("files", "100,000 files, cold", 3, _best(0.5), files=100_000),
        ManyFiles("files-warm", "100,000 files, nothing changed", 5, _best(0.2), files=100_000, warm=True),
        CopyFrom("copy-from", "COPY --from of 20,000 files", 3, files=20_000),
        Pull("pull", "pull ten layers and run", 3, _best(0.7)),
        PullChanged("pull-changed", "pull of 1 GiB of which 2 % changed, and run", 3, Target(moved=0.1)),
        Service("shared", "shared cache on an empty disk, pushed", 3, files=2000, mode=SHARED),
        Service("reset", "cold build and push right after a reset, own disk", 5, files=9300, mode=COLD, is_here=True),
        StartUp("help", "tiffin --help", 15, Target(ratios={"python": 3.0}), word="--help"),
        StartUp("version", "tiffin version", 15, Target(ratios={"python": 3.0}), word="version"),
    ]
    rows += [
        Runs(
            f"tiny-{count // 1000}k",
            f"three tiny RUNs over {count:,} files",
            5,
            script=tiny,
            steps=3,
            files=count,
            only_ours=True,
        )
        for count in (10_000, 200_000)
    ]
    rows += [
        ManyFiles(f"grow-{count // 1000}k", f"COPY of {count:,} files", 2, files=count, only_ours=True)
        for count in (10_000, 50_000, 100_000, 200_000)
    ]
    rows += [
        Runs(f"steps-{count}", f"{count} RUN steps", 2, script=tiny, steps=count, only_ours=True)
        for count in (10, 50, 200)
    ]
    return rows

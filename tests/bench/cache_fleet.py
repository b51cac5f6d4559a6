"""Shared caches measured: a builder that has nothing with a shared cache beside without, round trips, and a distant
cache.

tiffin beside Debian's buildah (`--cache-from`/`--cache-to`), both as an unprivileged user, in the same run. The build
is the service of tests/integration/service (apt, PyPI, five stages), and one of thirty RUN steps for round trips and
latency: a proxy on loopback holds every answer back. Prints two Markdown tables; run by ci/bench --cache, as root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import prepared
from tests.bench.engines import Engine
from tests.bench.harness import Harness
from tests.bench.measuring import Command, measured
from tests.support.cache_servers import running_nginx, running_redis
from tests.support.faults import Proxy, faulty

DELAYS = (0.0, 0.001, 0.02, 0.1)  # seconds that each answer is held back
STEPS = 30
CLAIM = 0.10  # Makisu's: "up to 90%" less
SERVICE = Path(__file__).parents[1] / "integration/service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An engine with one kind of cache. `option` makes the flag's value of a port and of a name."""

    engine: str
    kind: str
    port: int
    option: Callable[[int, str], str]

    def __str__(self) -> str:
        return f"{self.engine}, {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The place, the engines and the ways they share."""

    harness: Harness
    engines: Mapping[str, Engine]
    ways: Sequence[Way]
    rounds: int

    def reset(self, way: Way) -> None:
        self.engines[way.engine].reset()

    def build(self, way: Way, context: Path, words: Sequence[str], *, push: str = "") -> float:
        """Seconds of one build."""
        args = ("--build-arg", f"BASE={self.harness.debian}")
        if way.engine == "tiffin":
            out = (
                ["--push", "-t", push] if push else ["-o", "type=registry,name=" + f"{self.harness.host}/fleet/none:1"]
            )
            argv = [self.harness.place.python, "-m", "tiffin", "build", "-q", *out, *args, *words, str(context)]
            return measured(self.harness.place, [Command(argv=argv)]).seconds
        plain = ["--tls-verify=false"]
        build = ["buildah", "bud", "-q", "--layers", "--isolation", "chroot", *plain, *args, *words]
        name = push or f"{self.harness.host}/fleet/none-buildah:1"
        commands = [
            Command(argv=[*build, "-t", name, str(context)]),
            Command(argv=["buildah", "push", "-q", *plain, name]),
        ]
        return measured(self.harness.place, commands).seconds


def main() -> int:
    arguments = _arguments()
    if os.getuid() != 0:
        raise SystemExit("error: run as root, who makes the user")
    with _opened(arguments) as bench:
        sys.stdout.write(_warm_beside_cold(bench, arguments.output))
        sys.stdout.write(_far_away(bench))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rootfs", type=Path, metavar="FILE.tar", help="the base image, instead of a new bookworm")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="the seconds of every round")
    parser.set_defaults(engines="tiffin,buildah", scale=1.0)
    return parser.parse_args()


@contextlib.contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        harness, engines = prepared(stack, arguments)
        folder = harness.place.folder
        for name in ("redis", "http"):
            (folder / name).mkdir()
        redis = stack.enter_context(running_redis(folder / "redis"))
        nginx = stack.enter_context(running_nginx(folder / "http"))
        ways = _ways(harness.host, redis.port, nginx.port)
        yield Bench(
            harness=harness, engines={engine.name: engine for engine in engines}, ways=ways, rounds=arguments.rounds
        )
        for engine in engines:
            engine.reset()


def _ways(host: str, redis: int, nginx: int) -> list[Way]:
    port = int(host.split(":")[1])
    layers = f"layers={host}/fleet/layers:1"
    return [
        Way(
            engine="tiffin",
            kind="registry",
            port=port,
            option=lambda p, n: f"type=registry,ref=127.0.0.1:{p}/fleet/{n}:1",
        ),
        Way(
            engine="tiffin",
            kind="redis",
            port=redis,
            option=lambda p, n: f"type=redis,url=redis://127.0.0.1:{p}/0,{layers}",
        ),
        Way(
            engine="tiffin",
            kind="nginx",
            port=nginx,
            option=lambda p, n: f"type=http,url=http://127.0.0.1:{p}/cache/{n}",
        ),
        Way(engine="buildah", kind="registry", port=port, option=lambda p, n: f"127.0.0.1:{p}/fleet/buildah-{n}"),
    ]


def _filled(way: Way, value: str) -> list[str]:
    return ["--cache-to", f"{value},mode=max" if way.engine == "tiffin" else value]


def _warm_beside_cold(bench: Bench, output: Path | None) -> str:
    """Without a cache, with one, and with one after a source file changed; each by a builder that has nothing."""
    context = bench.harness.place.folder / "service"
    shutil.copytree(SERVICE, context)
    bench.harness.opened(context)
    program = context / "program/main.py"
    original = program.read_text()
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(bench.rounds):
        for way in bench.ways:
            name, value = (
                f"{bench.harness.host}/fleet/service-{way.engine}-{way.kind}:{number}",
                way.option(way.port, f"s{number}"),
            )
            program.write_text(original)
            bench.reset(way)
            bench.build(way, context, _filled(way, value), push=name)
            row = seconds.setdefault(str(way), {"cold": [], "warm": [], "changed": []})
            bench.reset(way)
            row["cold"].append(bench.build(way, context, [], push=f"{name}-cold"))
            bench.reset(way)
            row["warm"].append(bench.build(way, context, ["--cache-from", value], push=name))
            bench.reset(way)
            program.write_text(f"{original}# {number}\n")
            row["changed"].append(bench.build(way, context, ["--cache-from", value], push=f"{name}-changed"))
    if output is not None:
        output.write_text(json.dumps(seconds, indent=2) + "\n")
    lines = [
        "| builder with nothing | cold, s | with a shared cache, s | ratio | one source changed, s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in seconds.items():
        cold, warm, changed = (statistics.median(row[key]) for key in ("cold", "warm", "changed"))
        claim = "" if name.startswith("buildah") else f" ({'met' if warm / cold <= CLAIM else 'missed'}: {CLAIM:g})"
        lines.append(
            f"| {name} | {cold:.2f} | {warm:.2f} | {warm / cold:.3f}{claim} | {changed:.2f} | {changed / cold:.3f} |"
        )
    return "\n".join(lines) + "\n\n"


def _far_away(bench: Bench) -> str:
    """A full hit of thirty steps: answers it took, and its time where each of them comes late."""
    steps = "".join(f"RUN echo {number} > /step{number}\n" for number in range(STEPS))
    context = bench.harness.opened(bench.harness.context("steps", f"ARG BASE=debian\nFROM ${{BASE}}\n{steps}"))
    heads = "".join(f" +{delay * 1000:g} ms |" for delay in DELAYS)
    lines = [f"| full hit of {STEPS} steps | round trips |{heads}", "|---|---|" + "---|" * len(DELAYS)]
    for way in bench.ways:
        name = f"{bench.harness.host}/fleet/steps-{way.engine}-{way.kind}:1"
        bench.reset(way)
        bench.build(way, context, _filled(way, way.option(way.port, "steps")), push=name)
        cells, trips = [], 0.0
        with faulty(way.port) as proxy:
            for delay in DELAYS:
                found = _delayed(bench, way, context, proxy, delay, name)
                trips = found["trips"]
                cells.append(f"{found['seconds']:.2f} s")
        lines.append(f"| {way} | {trips:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _delayed(bench: Bench, way: Way, context: Path, proxy: Proxy, delay: float, name: str) -> Mapping[str, float]:
    proxy.mode, proxy.seconds = "delay", delay
    seconds, trips = [], 0
    for _ in range(bench.rounds):
        bench.reset(way)
        before = proxy.turns
        words = [
            "--cache-from",
            f"{way.option(proxy.port, 'steps')}" + (",timeout=60" if way.engine == "tiffin" else ""),
        ]
        seconds.append(bench.build(way, context, words, push=name))
        trips = proxy.turns - before
    return {"seconds": min(seconds), "trips": trips}


if __name__ == "__main__":
    raise SystemExit(main())

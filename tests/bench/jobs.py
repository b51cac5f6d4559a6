"""Jobs on empty disks, as pipelines have them, with each store of shared caches: `ci/bench --only jobs`, as root.

The service of tests/bench/service (apt, pip, npm, five stages) is built and pushed by an unprivileged user, or with
--as-root by root, whose state directory is empty: without a cache; from a shared cache that an earlier job filled; with
one source file changed; and from the cache into a registry that has nothing of it. `azurite` (npm) serves azblob;
without it that row is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import prepared
from tests.bench.engines import Tiffin
from tests.bench.harness import Harness
from tests.bench.measuring import Command, Sample, measured
from tests.fakes.actions_cache import actions_cache
from tests.support.cache_servers import AZURITE_KEY, BUCKET, S3_OPTIONS, running_azurite, running_redis, running_s3
from tests.support.servers import Registry, running_registry

SERVICE = Path(__file__).parent / "service"
SOURCE = "app/dishes.py"  # the one that changes
LIMITS = {"warm": 0.08, "changed": 0.25}
Seconds = dict[str, dict[str, list[float]]]  # of each store, of each way
WAYS = ("cold", "warm", "changed", "moved")
NODE = """FROM {base}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm && rm -rf /var/lib/apt/lists/*
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One kind of shared cache: its option, and what a job's environment has for it."""

    name: str
    option: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The place, the bases, the stores and a registry of others."""

    harness: Harness
    context: Path
    node: str
    stores: Sequence[Store]
    other: Registry
    as_root: bool = False

    def command(self, env: Mapping[str, str], *words: str) -> Command:
        """Return a call of tiffin, with a state directory of its own where it is root's."""
        argv = [self.harness.place.python, "-m", "tiffin", *words]
        own = {"TIFFIN_ROOT": str(self.harness.folder / "state-of-root")} if self.as_root else {}
        return Command(argv=argv, env={**env, **own}, as_user=not self.as_root)

    def empty(self) -> None:
        """Remove all that a job left on its disk."""
        measured(self.harness.place, [self.command({}, "system", "reset", "-f")])

    def job(self, env: Mapping[str, str], name: str, *words: str, empties: bool = True) -> Sample:
        """Build and push, on an empty disk if it is not said otherwise."""
        if empties:
            self.empty()
        bases = ("--build-arg", f"BASE={self.harness.debian}", "--build-arg", f"NODE={self.node}")
        argv = ("build", "-q", "--push", "-t", name, *words, *bases, str(self.context))
        return measured(self.harness.place, [self.command(env, *argv)])

    def change(self, text: str) -> None:
        """Let the source be what the first job built, with `text` behind it."""
        (self.context / SOURCE).write_text((SERVICE / SOURCE).read_text() + text)

    def forget(self, registry: Registry) -> None:
        """Empty a registry of others."""
        shutil.rmtree(registry.data / "docker", ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """Measure and print a table; return 1 where a limit is missed."""
    parser = argparse.ArgumentParser(prog="ci/bench --only jobs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stores", default="", metavar="NAME,…", help="only these")
    parser.add_argument("--as-root", action="store_true", help="jobs of root, and not of an unprivileged user")
    parser.add_argument("--rootfs", type=Path, metavar="FILE.tar", help="the base image, instead of a new bookworm")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="the seconds of every round")
    parser.set_defaults(engines="tiffin", scale=1.0)
    given = parser.parse_args(arguments)
    with _opened(given) as bench:
        wanted = given.stores.split(",") if given.stores else [store.name for store in bench.stores]
        stores = [store for store in bench.stores if store.name in wanted]
        seconds: Seconds = {store.name: {way: [] for way in WAYS} for store in stores}
        for number in range(given.rounds):
            _round(bench, stores, number, seconds)
    if given.output:
        given.output.write_text(json.dumps(seconds, indent=2) + "\n")
    missed = _print(seconds)
    return int(bool(missed))


def _round(bench: Bench, stores: Sequence[Store], number: int, seconds: Seconds) -> None:
    """Build without a cache, fill all of them with that, and use each."""

    def timed(store: str, way: str, sample: Sample) -> None:
        seconds[store][way].append(sample.seconds)
        sys.stderr.write(f"{store} {way} {sample.seconds:.2f} s, CPU {sample.cpu_seconds:.2f}\n")

    bench.change(f"# {number}\n")
    name = f"{bench.harness.host}/jobs/app-{number}"
    cold = bench.job({}, f"{name}:1")
    env = {name: value for store in stores for name, value in store.env.items()}
    options = {store.name: f"{store.option},timeout=60".replace("NUMBER", str(number)) for store in stores}
    fills = [word for option in options.values() for word in ("--cache-to", f"{option},mode=max,required=true")]
    bench.job(env, f"{name}:1", *fills, empties=False)
    for store in stores:
        timed(store.name, "cold", cold)
        reads = ("--cache-from", options[store.name])
        bench.change(f"# {number}\n")
        timed(store.name, "warm", bench.job(store.env, f"{name}:2", *reads))
        bench.forget(bench.other)
        timed(store.name, "moved", bench.job(store.env, f"{bench.other.host}/jobs/app:1", *reads))
        bench.change(f"# {number}, changed\n")
        timed(store.name, "changed", bench.job(store.env, f"{name}:{store.name}", *reads))


def _print(seconds: Seconds) -> list[str]:
    """Print medians and ratios; return the rows that miss a limit."""
    missed = []
    lines = [
        "| cache | cold, s | warm, s | ratio | one file changed, s | ratio | warm, to another registry, s | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in seconds.items():
        medians = {way: statistics.median(row[way]) for way in WAYS}
        ratios = {way: medians[way] / medians["cold"] for way in WAYS}
        cells = [f"{medians['cold']:.1f}"]
        cells += [text for way in WAYS[1:] for text in (f"{medians[way]:.2f}", f"{ratios[way]:.3f}")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        missed += [f"{name}: {way}" for way, limit in LIMITS.items() if ratios[way] > limit]
    sys.stdout.write("\n".join(lines) + "\n")
    limits = " and ".join(f"{limit:g} ({way})" for way, limit in LIMITS.items())
    sys.stdout.write(f"\nAt most {limits}: {'missed by ' + ', '.join(missed) if missed else 'met'}.\n")
    return missed


@contextlib.contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Bench]:
    if os.getuid() != 0:
        raise SystemExit("error: run as root, who makes the user")
    with contextlib.ExitStack() as stack:
        harness, engines = prepared(stack, arguments)
        assert isinstance(engines[0], Tiffin)
        context = harness.folder / "service"
        shutil.copytree(SERVICE, context)
        node = harness.image("node:bookworm", harness.context("node", NODE.format(base=harness.debian)))
        (harness.folder / "other").mkdir()
        bench = Bench(
            harness=harness,
            context=harness.opened(context),
            node=node,
            stores=_stores(stack, harness),
            other=stack.enter_context(running_registry(harness.folder / "other")),
            as_root=arguments.as_root,
        )
        yield bench
        bench.empty()


def _stores(stack: contextlib.ExitStack, harness: Harness) -> list[Store]:
    folders = {name: harness.folder / f"store-{name}" for name in ("redis", "s3", "azblob")}
    for folder in folders.values():
        folder.mkdir()
    redis = stack.enter_context(running_redis(folders["redis"]))
    s3 = stack.enter_context(running_s3(folders["s3"]))
    gha = stack.enter_context(actions_cache())
    layers = f"layers={harness.host}/jobs/layers-NUMBER:1"
    endpoint = f"endpoint_url={s3.url},prefix=NUMBER/,{S3_OPTIONS}"
    stores = [
        Store(name="registry", option=f"type=registry,ref={harness.host}/jobs/cache-NUMBER:1", env={}),
        Store(name="redis", option=f"type=redis,url={redis.url[:-1]}NUMBER,{layers}", env={}),
        Store(name="s3", option=f"type=s3,bucket={BUCKET},{endpoint}", env={}),
        Store(
            name="gha",
            option="type=gha,scope=NUMBER",
            env={"ACTIONS_RESULTS_URL": gha.address, "ACTIONS_RUNTIME_TOKEN": "main-token"},
        ),
    ]
    if shutil.which("azurite-blob"):
        azure = stack.enter_context(running_azurite(folders["azblob"]))
        option = f"type=azblob,account_url={azure.url},container=jobs-NUMBER,secret_access_key={AZURITE_KEY}"
        stores.append(Store(name="azblob", option=option, env={}))
    return stores


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""tiffin beside other builders on this machine, all engines in turn, round by round.

As an unprivileged user: tiffin, and Debian's buildah (with podman for runs). As root with a warm daemon: docker.io with
BuildKit. TIFFIN_BENCH_BUILDCTL names the buildctl of a BuildKit that runs already (BUILDKIT_HOST its address),
TIFFIN_BENCH_KANIKO an image of Kaniko's executor that docker has. Prints medians, spreads and ratios as a Markdown table; run by
ci/bench, as root, who makes the user.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import report
from tests.bench.engines import Buildah, BuildKit, Docker, Engine, Kaniko, Sample, Tiffin
from tests.bench.workloads import Lab, Workload, all_workloads
from tests.conformance.oracles import running_buildkit
from tests.servers import running_registry
from tests.unprivileged import Users, interpreter

NEEDED = ("buildah", "podman", "dockerd", "docker-registry", "mmdebstrap")


def main() -> int:
    workloads = all_workloads()
    arguments = _arguments([workload.name for workload in workloads])
    if os.getuid() != 0 or not all(map(shutil.which, NEEDED)):
        raise SystemExit(f"error: run as root with {', '.join(NEEDED)} installed")
    if arguments.only:
        wanted = arguments.only.split(",")
        workloads = [workload for workload in workloads if workload.name in wanted]
    results = _run(workloads, arguments.rounds, arguments.scale, arguments.engines.split(","))
    sys.stdout.write(report.table(results, workloads))
    for path in arguments.output:
        report.write(path, results, workloads)
    if arguments.compare:
        worse = report.regressions(report.document(results), json.loads(arguments.compare.read_text()))
        for line in worse:
            sys.stderr.write(f"worse by more than a quarter: {line}\n")
        return 1 if worse else 0
    return 0


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="NAME,…", help=f"of {', '.join(names)}")
    parser.add_argument("--engines", default="tiffin,buildah,docker,buildkit,kaniko", metavar="NAME,…")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of files and bytes")
    parser.add_argument("-o", "--output", type=Path, action="append", default=[], metavar="FILE.json|.html|.md")
    parser.add_argument("--compare", type=Path, metavar="LAST.json", help="fail if a ratio is worse by a quarter")
    return parser.parse_args()


def _run(workloads: list[Workload], rounds: int, scale: float, wanted: list[str]) -> report.Results:
    checkout = Path(__file__).parents[2]
    results: dict[str, dict[str, list[Sample]]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.chmod(0o755)
        users = stack.enter_context(Users.prepared(checkout))
        # as pip installs it; the user cannot write beside the code
        subprocess.run([interpreter(), "-m", "compileall", "-q", str(users.code)], check=True)
        (folder / "registry").mkdir()
        registry = stack.enter_context(running_registry(folder / "registry"))
        engines = _engines(users, folder, stack, wanted)
        lab = Lab(folder=folder, users=users, host=registry.host, checkout=checkout, scale=scale)
        lab.debian = _push_debian(lab)
        for workload in workloads:
            workload.prepare(lab)
            for number in range(rounds):
                for engine in engines:
                    sample = workload.run(lab, engine, number)
                    if sample is not None:
                        results.setdefault(workload.name, {}).setdefault(engine.name, []).append(sample)
                    sys.stderr.write(f"{workload.name} {engine.name} {sample.seconds if sample else 0:.3f}\n")
            for engine in engines:
                engine.reset()
    return results


def _engines(users: Users, folder: Path, stack: contextlib.ExitStack, wanted: list[str]) -> list[Engine]:
    buildah = Buildah(users=users)
    buildah.prepare()
    engines: list[Engine] = [Tiffin(users=users), buildah]
    kaniko = os.environ.get("TIFFIN_BENCH_KANIKO", "")
    if "docker" in wanted or (kaniko and "kaniko" in wanted):
        place = folder / "docker"
        place.mkdir()
        docker = stack.enter_context(running_buildkit(place)).docker
        engines.append(Docker(users=users, docker=docker))
        if kaniko:
            engines.append(Kaniko(users=users, docker=docker, image=kaniko))
    if buildctl := os.environ.get("TIFFIN_BENCH_BUILDCTL"):
        engines.append(BuildKit(users=users, buildctl=buildctl))
    return [engine for engine in engines if engine.name in wanted]


def _push_debian(lab: Lab) -> str:
    """A Debian of the machine's own package sources, with its certificates."""
    context = lab.context("debian", "FROM scratch\nADD rootfs.tar /\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\n")
    bootstrap = ["mmdebstrap", "-q", "--variant=minbase", "--include=ca-certificates", "bookworm"]
    subprocess.run([*bootstrap, str(context / "rootfs.tar")], check=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.crt")
    return lab.image("debian:bookworm", context)


if __name__ == "__main__":
    raise SystemExit(main())

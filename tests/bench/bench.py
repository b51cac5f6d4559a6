"""tiffin beside other builders on this machine, all engines in turn, round by round. Run by ci/bench, as root.

As an unprivileged user it makes: tiffin, and Debian's buildah (with podman for runs). As root with a warm daemon:
docker.io with BuildKit. TIFFIN_BENCH_BUILDCTL names the buildctl of a BuildKit that runs already (BUILDKIT_HOST its
address), TIFFIN_BENCH_KANIKO an image of Kaniko's executor that docker can pull, TIFFIN_BENCH_OTHER any builder as
NAME=COMMAND with {context}, {image}, {args} and {push} in it. Prints medians, spreads, ratios and targets as a Markdown
table. All of it takes half an hour on two cores; --only and --rounds do parts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import report
from tests.bench.disk import own_file_system
from tests.bench.dockerd import running_docker
from tests.bench.engines import Buildah, BuildKit, Docker, Engine, Kaniko, Other, Python, Tiffin
from tests.bench.harness import Harness
from tests.bench.measuring import Place, Sample
from tests.bench.workloads import Workload, all_workloads
from tests.support.servers import running_registry
from tests.support.unprivileged import WITH_IDS, Users

NEEDED = ("buildah", "podman", "runc", "dockerd", "docker-registry", "mmdebstrap", "mkfs.ext4", "setpriv")
ENGINES = ("tiffin", "buildah", "docker", "buildkit", "kaniko", "other", "python")
END_SECONDS = 10


def main() -> int:
    workloads = all_workloads()
    arguments = _arguments([workload.name for workload in workloads])
    if os.getuid() != 0 or not all(map(shutil.which, NEEDED)):
        raise SystemExit(f"error: run as root with {', '.join(NEEDED)} installed")
    if arguments.only:
        wanted = arguments.only.split(",")
        unknown = set(wanted) - {workload.name for workload in workloads}
        if unknown:
            raise SystemExit(f"error: no workload {', '.join(sorted(unknown))}")
        workloads = [workload for workload in workloads if workload.name in wanted]
    results = _run(workloads, arguments)
    machine = report.this_machine(_versions())
    sys.stdout.write(report.table(results, workloads, machine))
    for path in arguments.output:
        report.write(path, results, workloads, machine)
    if arguments.compare:
        worse = report.regressions(report.document(results, machine), json.loads(arguments.compare.read_text()))
        for line in worse:
            sys.stderr.write(f"worse by more than a quarter: {line}\n")
        return 1 if worse else 0
    return 0


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="for all workloads (default: each its own, 2 to 15)")
    parser.add_argument("--only", metavar="NAME,…", help=f"of {', '.join(names)}")
    parser.add_argument("--engines", default=",".join(ENGINES), metavar="NAME,…")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of files and bytes")
    parser.add_argument("--rootfs", type=Path, metavar="FILE.tar", help="the base image, instead of a new bookworm")
    parser.add_argument("-o", "--output", type=Path, action="append", default=[], metavar="FILE.json|.html|.md")
    parser.add_argument("--compare", type=Path, metavar="LAST.json", help="fail if a ratio is worse by a quarter")
    return parser.parse_args()


def _run(workloads: Sequence[Workload], arguments: argparse.Namespace) -> report.Results:
    results: dict[str, dict[str, list[Sample]]] = {}
    for is_here in (False, True):
        chosen = [workload for workload in workloads if workload.is_here == is_here]
        if chosen:
            _run_on(chosen, arguments, results, is_here=is_here)
    return results


def _run_on(
    workloads: Sequence[Workload],
    arguments: argparse.Namespace,
    results: dict[str, dict[str, list[Sample]]],
    *,
    is_here: bool,
) -> None:
    with contextlib.ExitStack() as stack:
        harness, engines = prepared(stack, arguments, is_here=is_here)
        for workload in workloads:
            workload.prepare(harness)
            for number in range(arguments.rounds or workload.rounds):
                for engine in engines:
                    sample = workload.run(harness, engine, number)
                    if sample is None:
                        continue
                    results.setdefault(workload.name, {}).setdefault(engine.name, []).append(sample)
                    reported = f"{sample.seconds:.3f} s, CPU {sample.cpu_seconds:.3f}"
                    sys.stderr.write(f"{workload.name} {engine.name} {reported}\n")
            for engine in engines:
                engine.reset()


def prepared(
    stack: contextlib.ExitStack, arguments: argparse.Namespace, *, is_here: bool = False
) -> tuple[Harness, list[Engine]]:
    checkout = Path(__file__).parents[2]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    folder.chmod(0o755)
    if not is_here:
        folder = stack.enter_context(own_file_system(folder))
    users = stack.enter_context(Users.prepared(checkout))
    (folder / "registry").mkdir()
    registry = stack.enter_context(running_registry(folder / "registry"))
    place = Place(folder=folder, users=users)
    place.prepare()
    engines = _engines(place, stack, arguments.engines.split(","))
    stack.enter_context(_ended_processes(users))
    harness = Harness(
        place=place, host=registry.host, registry_data=registry.data, checkout=checkout, scale=arguments.scale
    )
    harness.debian = push_debian(harness, arguments.rootfs)
    return harness, engines


def _engines(place: Place, stack: contextlib.ExitStack, wanted: list[str]) -> list[Engine]:
    engines: list[Engine] = [Tiffin(place=place), Python(place=place)]
    if "buildah" in wanted:
        buildah = Buildah(place=place)
        buildah.prepare()
        engines.append(buildah)
    kaniko, other = os.environ.get("TIFFIN_BENCH_KANIKO", ""), os.environ.get("TIFFIN_BENCH_OTHER", "")
    if "docker" in wanted or (kaniko and "kaniko" in wanted):
        folder = place.folder / "docker"
        folder.mkdir()
        docker = stack.enter_context(running_docker(folder))
        engines.append(Docker(place=place, docker=docker))
        if kaniko:
            engines.append(Kaniko(place=place, docker=docker, image=kaniko))
    if buildctl := os.environ.get("TIFFIN_BENCH_BUILDCTL"):
        engines.append(BuildKit(place=place, buildctl=buildctl))
    found = [engine for engine in engines if engine.name in wanted]
    if other and "other" in wanted:
        name, _, command = other.partition("=")
        reset = os.environ.get("TIFFIN_BENCH_OTHER_RESET", "")
        found.append(Other(place=place, name=name, command=command, reset_command=reset))
    return found


@contextlib.contextmanager
def _ended_processes(users: Users) -> Iterator[None]:
    """End what the user's tools left running: podman keeps a process that holds its namespaces."""
    try:
        yield
    finally:
        uid = users.home(WITH_IDS).stat().st_uid
        deadline = time.monotonic() + END_SECONDS
        while left := [path for path in Path("/proc").glob("[0-9]*") if _owner(path) == uid]:
            for path in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(path.name), signal.SIGKILL)
            if time.monotonic() > deadline:
                raise SystemExit(f"error: {len(left)} processes of the test user do not end")
            time.sleep(0.1)


def _owner(process: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return process.stat().st_uid
    return -1


def push_debian(harness: Harness, rootfs: Path | None) -> str:
    """A Debian of the machine's own package sources, with its certificates."""
    context = harness.context(
        "debian", "FROM scratch\nADD rootfs.tar /\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\n"
    )
    if rootfs is not None:
        shutil.copy(rootfs, context / "rootfs.tar")
    else:
        bootstrap = ["mmdebstrap", "-q", "--variant=minbase", "--include=ca-certificates", "bookworm"]
        subprocess.run([*bootstrap, str(context / "rootfs.tar")], check=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.crt")
    return harness.image("debian:bookworm", context)


def _versions() -> dict[str, str]:
    """What was compared, by Debian's package versions."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("buildah", "podman", "docker.io", "docker-registry"):
        argv = ["dpkg-query", "-W", "-f", "${Version}", package]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found[package] = done.stdout.partition("+")[0].partition("~")[0]
    return found


if __name__ == "__main__":
    raise SystemExit(main())

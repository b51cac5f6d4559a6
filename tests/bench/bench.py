"""tiffin beside Debian's buildah and podman, as an unprivileged user, in turns within one run.

    cold     build from an empty state directory, base pulled from a registry on loopback, result pushed there
    warm     the same build again with nothing changed
    change   one of many files changed, built and pushed
    run      run `true` in the image

Prints medians, spreads and ratios; --json FILE keeps them. Run by ci/bench, as root (who makes the user).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import running_registry
from tests.unprivileged import WITH_IDS, Users, interpreter

FILES = 2000
FILE_BYTES = 3000
STORAGE_CONF = '[storage]\ndriver = "overlay"\n'
DOCKERFILE = """ARG BASE
FROM ${BASE} AS build
COPY src /src
RUN mkdir /out && cat /src/*/* | sha256sum > /out/sum && tar cf /out/src.tar /src
FROM ${BASE}
RUN echo configured > /etc/configured
COPY --from=build /out /out
COPY src/dir0 /srv
CMD ["true"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A builder and a runner: each word list is run as the user."""

    name: str
    clean: Callable[[], None]
    build: Sequence[Sequence[str]]
    run: Sequence[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    checkout = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Users.prepared(checkout) as users:
        folder = Path(name)
        folder.chmod(0o755)
        # as pip installs it; the user cannot write beside the code
        subprocess.run([interpreter(), "-m", "compileall", "-q", str(users.code)], check=True)
        with running_registry(_made(folder / "registry")) as registry:
            base = _push_base(folder, checkout, registry.host)
            context = _context(users.code / "context")
            engines = _engines(users, registry.host, base, context)
            results = _measure(users, engines, context, arguments.rounds)
            for engine in engines:
                engine.clean()
    _report(results, arguments.json)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _push_base(folder: Path, checkout: Path, host: str) -> str:
    """A Debian of the machine's own package sources."""
    base = _made(folder / "base")
    subprocess.run(["mmdebstrap", "-q", "--variant=minbase", "bookworm", str(base / "rootfs.tar")], check=True)
    (base / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    name = f"{host}/debian:bookworm"
    tool = [sys.executable, "-m", "builder", "--root", str(folder / "state"), "build", "-q", "--push", "-t", name]
    subprocess.run([*tool, str(base)], check=True, cwd=checkout, stdout=subprocess.DEVNULL)
    return name


def _context(path: Path) -> Path:
    for number in range(FILES):
        file = path / f"src/dir{number % 20}/file{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number}\n".encode() * (FILE_BYTES // len(f"{number}\n")))
    (path / "Dockerfile").write_text(DOCKERFILE)
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    return path


def _engines(users: Users, host: str, base: str, context: Path) -> list[Engine]:
    home = users.home(WITH_IDS)
    conf = home / ".config/containers/storage.conf"
    users.program(WITH_IDS, ["mkdir", "-p", str(conf.parent)])
    conf.write_text(STORAGE_CONF)
    tiffin = [interpreter(), "-m", "builder"]
    build = ["--build-arg", f"BASE={base}", str(context)]
    plain = ["--tls-verify=false"]
    podman = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]

    def clean_tiffin() -> None:
        users.program(WITH_IDS, [*tiffin, "system", "reset", "-f"])

    def clean_buildah() -> None:
        users.program(WITH_IDS, ["buildah", "unshare", "rm", "-rf", str(home / ".local/share/containers")])

    bud = ["buildah", "bud", "--layers", "--isolation", "chroot", *plain, "-t", f"{host}/b:1", *build]
    return [
        Engine(
            name="tiffin",
            clean=clean_tiffin,
            build=[[*tiffin, "build", "-q", "--push", "-t", f"{host}/t:1", *build]],
            run=[*tiffin, "run", "--rm", f"{host}/t:1", "true"],
        ),
        Engine(
            name="buildah",
            clean=clean_buildah,
            build=[bud, ["buildah", "push", *plain, f"{host}/b:1"]],
            run=[*podman, "run", "--rm", "--network=host", "--ulimit=nofile=1024:1024", f"{host}/b:1", "true"],
        ),
    ]


def _measure(users: Users, engines: Sequence[Engine], context: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    results: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for engine in engines:
            engine.clean()
            for name, commands in (
                ("cold", engine.build),
                ("warm", engine.build[:1]),
                ("change", engine.build),
                ("run", [engine.run]),
            ):
                if name == "change":
                    (context / "src/dir1/file1").write_text(f"changed {engine.name} {number}")
                seconds = sum(_timed(users, command) for command in commands)
                results.setdefault(name, {}).setdefault(engine.name, []).append(seconds)
    return results


def _timed(users: Users, command: Sequence[str]) -> float:
    began = time.monotonic()
    done = users.program(WITH_IDS, command, XDG_RUNTIME_DIR="")
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return seconds


def _report(results: dict[str, dict[str, list[float]]], file: str | None) -> None:
    lines = [f"{'workload':<10} {'tiffin':>22} {'buildah / podman':>22} {'ratio':>7}"]
    for name, engines in results.items():
        ours, theirs = engines["tiffin"], engines["buildah"]
        ratio = statistics.median(ours) / statistics.median(theirs)
        lines.append(f"{name:<10} {_spread(ours):>22} {_spread(theirs):>22} {ratio:>6.2f}x")
    sys.stdout.write("\n".join(lines) + "\n")
    if file:
        document = {"machine": platform.uname()._asdict(), "cores": os.cpu_count(), "seconds": results}
        Path(file).write_text(json.dumps(document, indent=2) + "\n")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} s ({min(values):.3f}–{max(values):.3f})"


if __name__ == "__main__":
    if os.getuid() != 0 or not shutil.which("buildah"):
        raise SystemExit("error: run as root with buildah, podman, mmdebstrap and docker-registry installed")
    main()

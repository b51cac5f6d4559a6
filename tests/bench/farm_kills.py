"""700 bake targets on three bases, on a farm of four workers that are killed at random: `ci/bench --only farm-kills`.

As root. One file of one base changes in each round, so a third of the targets is built again. The first round kills
nobody, and shows how evenly work is spread; in the others a worker is killed now and then, and another takes its place,
until so many were killed as asked for; or with `--faults` it stands still for a while, or is cut off, or loses every
fifth packet (`stop,cut,lossy`; `kill` is the usual one). After each round the digest of every target is compared with
that of a build without a farm, and nothing may be left of the workers that were killed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CHECKOUT
from tests.support.farm_lab import Lab, Node, farm_lab
from tests.support.minimal_image import base_files
from tests.support.unprivileged import Users

BASES = 3
BUSIEST = 1.25  # steps of the busiest worker to the mean
ENOUGH = 100  # steps, below which chance alone spreads them less evenly
PAUSE = (0.5, 3.0)  # seconds between two kills
MOST_SECONDS = 3600  # of one bake, which hangs if it takes more
LONG = (1.0, 25.0)  # seconds for which a worker stands still, is cut off, or loses packets
LOSSY = 0.2
LEFT_SECONDS = 15  # until what a killed worker ran has to be gone
ENVIRON = {"SOURCE_DATE_EPOCH": "1700000000"}
BASE = "FROM {host}/minimal\nCOPY file /base\nRUN cat /base /base >/twice\n"
APP = "FROM base\nCOPY file /app\nRUN cat /twice /app >/made && chown 7:9 /made\n"
# what is in no cache is only with the worker that made it, and another may get the step next time
BASE_TARGET = """target "base-{number}" {{
  context = "bases/{number}"
  cache-from = ["type=registry,ref={host}/kills/cache-base-{number}"]
  cache-to = ["type=registry,ref={host}/kills/cache-base-{number},mode=max"]
}}
"""
TARGET = """target "app-{number}" {{
  context = "apps/{number}"
  contexts = {{ base = "target:base-{base}" }}
  cache-from = ["type=registry,ref={host}/kills/cache-{number}"]
  cache-to = ["type=registry,ref={host}/kills/cache-{number},mode=max"]
  output = ["type=image,name={host}/kills/app-{number},push=true,rewrite-timestamp=true"]
}}
"""


@dataclass(slots=True)
class Round:
    """What one bake showed: digests of the targets, steps that each worker began, and the bases of their targets."""

    digests: Mapping[str, str]
    steps: Counter[str]
    bases: Counter[int]
    seconds: float


def main() -> int:
    """Run all rounds; 1 if a digest differs, work is spread unevenly, or something is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=700)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--faults", default="kill", help="of kill, stop, cut, lossy, with commas")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    with tempfile.TemporaryDirectory() as place, Users.prepared(CHECKOUT) as users, farm_lab(users) as lab:
        lay_out(lab, given.targets, Path(place))
        bad = rounds(lab, given.kills, given.faults.split(","), random.Random(given.seed))
    sys.stdout.write("".join(f"{line}\n" for line in bad) or "nothing wrong\n")
    return int(bool(bad))


def rounds(lab: Lab, kills: int, faults: list[str], chance: random.Random) -> list[str]:
    """Bake until so many workers had a fault; return what was wrong."""
    bad: list[str] = []
    baked(lab, "first")
    change(lab, 0, "changed")
    quiet = baked(lab, "quiet")
    busiest = max(quiet.steps.values()) * len(lab.nodes) / sum(quiet.steps.values())
    sys.stdout.write(f"quiet: {sum(quiet.steps.values())} steps in {quiet.seconds:.1f} s, busiest {busiest:.2f}x\n")
    bad += (
        [f"the busiest worker had {busiest:.2f} of the mean"]
        if busiest > BUSIEST and sum(quiet.steps.values()) >= ENOUGH
        else []
    )
    bad += [f"{count} steps on base {base} ran, which did not change" for base, count in quiet.bases.items() if base]
    killed, number = 0, 0
    while killed < kills:
        number += 1
        change(lab, number % BASES, f"round {number}")
        with harming(lab, kills - killed, faults, chance) as harmed:
            done = baked(lab, f"round{number}")
        killed += len(harmed)
        dead = [node for fault, node in harmed if fault == "kill"]
        wrong = compared(lab, done.digests)
        had = dict(Counter(fault for fault, _ in harmed))
        sys.stdout.write(f"round {number}: {had}, {done.seconds:.1f} s, {len(wrong)} digests differ\n")
        sys.stdout.flush()
        bad += wrong + left(dead)
    return bad


@contextmanager
def harming(lab: Lab, most: int, faults: list[str], chance: random.Random) -> Iterator[list[tuple[str, Node]]]:
    """Harm workers of the lab at random while the block runs; what is killed is replaced."""
    harmed: list[tuple[str, Node]] = []
    stop = threading.Event()

    def harm() -> None:
        while len(harmed) < most and not stop.wait(chance.uniform(*PAUSE)):
            node = chance.choice(sorted(lab.nodes.values(), key=lambda one: one.name))
            fault = chance.choice(faults)
            harmed.append((fault, node))
            if fault == "kill":
                node.kill()
                lab.leave(node)
                lab.join()
            elif fault == "stop":
                node.stop()
                stop.wait(chance.uniform(*LONG))
                node.go_on()
            else:
                with node.losing(1.0 if fault == "cut" else LOSSY):
                    stop.wait(chance.uniform(*LONG))
            for ended in [one for one in lab.nodes.values() if one.process.poll() is not None]:
                lab.leave(ended)  # it lost the scheduler, and a service manager starts it again
                lab.join()

    harmer = threading.Thread(target=harm)
    harmer.start()
    try:
        yield harmed
    finally:
        stop.set()
        harmer.join()


def left(dead: list[Node]) -> list[str]:
    """Return the processes that workers which were killed left."""
    deadline = time.monotonic() + LEFT_SECONDS
    while True:
        found = [f"{node.name} left {pid}" for node in dead for pid in node.leftovers()]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def baked(lab: Lab, name: str) -> Round:
    """Bake all on the farm."""
    began = time.monotonic()
    done = lab.run(
        *words(lab, f"{name}.json"),
        "--farm",
        lab.address,
        "--progress",
        "json",
        environ=ENVIRON,
        cwd=lab.folder / "work",
        seconds=MOST_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:] + lab.logs()
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    begun = [event for event in events if event["type"] == "step_started" and event.get("worker")]
    numbers = [int(found[1]) for event in begun if (found := re.match(r"\[(?:app|base)-(\d+)", event["name"]))]
    return Round(
        digests=digests(lab, f"{name}.json"),
        steps=Counter(event["worker"] for event in begun),
        bases=Counter(number % BASES for number in numbers),
        seconds=time.monotonic() - began,
    )


def compared(lab: Lab, given: Mapping[str, str]) -> list[str]:
    """Return the targets that a build without a farm makes otherwise."""
    done = lab.run(
        *("--root", str(home(lab) / "alone"), *words(lab, "alone.json")),
        environ=ENVIRON,
        cwd=lab.folder / "work",
        seconds=MOST_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    alone = digests(lab, "alone.json")
    return [
        f"{name}: {given.get(name)}, {digest} without a farm"
        for name, digest in alone.items()
        if given.get(name) != digest
    ]


def words(lab: Lab, metadata: str) -> tuple[str, ...]:
    return ("bake", "-f", str(lab.folder / "work/docker-bake.hcl"), "--metadata-file", str(home(lab) / metadata))


def digests(lab: Lab, metadata: str) -> dict[str, str]:
    document = json.loads((home(lab) / metadata).read_text())
    return {name: told["containerimage.digest"] for name, told in document.items() if name.startswith("app-")}


def home(lab: Lab) -> Path:
    return lab.users.home(lab.users.usual)


def lay_out(lab: Lab, count: int, place: Path) -> None:
    """Write the definition and its contexts, and push the image below the bases."""
    work = lab.folder / "work"
    names = ", ".join(f'"app-{number}"' for number in range(count))
    texts = [f'group "default" {{ targets = [{names}] }}\n']
    for number in range(BASES):
        write(work / f"bases/{number}", BASE.format(host=lab.registry), "first")
        texts.append(BASE_TARGET.format(number=number, host=lab.registry))
    for number in range(count):
        write(work / f"apps/{number}", APP, str(number))
        texts.append(TARGET.format(number=number, base=number % BASES, host=lab.registry))
    (work / "docker-bake.hcl").write_text("".join(texts))
    minimal(lab, place)


def minimal(lab: Lab, place: Path) -> None:
    """Push busybox."""
    for name, content in base_files().items():
        path = lab.folder / "minimal/root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
            path.chmod(0o755)
        elif content is None:
            path.mkdir(exist_ok=True)
        else:
            path.symlink_to(content.removeprefix("-> "))
    (lab.folder / "minimal/Dockerfile").write_text("FROM scratch\nCOPY root /\nENV PATH=/bin\n")
    subprocess.run(["chmod", "-R", "a+rX", str(lab.folder / "minimal")], check=True)
    done = lab.run("build", "-q", "--push", "-t", f"{lab.registry}/minimal", lab.folder / "minimal", environ=ENVIRON)
    assert done.returncode == 0, done.stderr


def change(lab: Lab, base: int, text: str) -> None:
    """Change the file of a base."""
    (lab.folder / f"work/bases/{base}/file").write_text(text)


def write(folder: Path, dockerfile: str, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "file").write_text(content)


if __name__ == "__main__":
    raise SystemExit(main())

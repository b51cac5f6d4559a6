"""A farm of four workers on hosts of their own, two of whose users have no subordinate ids, with one registry."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.farm_lab import Lab, farm_lab
from tests.support.unprivileged import Users

pytestmark = [
    pytest.mark.userns,
    pytest.mark.network,
    pytest.mark.xdist_group("users"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes network namespaces and users"),
]
PARTS = 12
STAGES, SLOTS = 16, 8
LAYER_NUMBERS = 60_000  # which a step writes: 0.6 MB that compress to half
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


@pytest.fixture(scope="module")
def lab(users: Users, busybox: Path) -> Iterator[Lab]:
    with farm_lab(users) as made:
        context(made, "base", (busybox / "Dockerfile").read_text(), busybox / "rootfs")
        done = made.run("build", "-q", "--push", "-t", f"{made.registry}/base", made.folder / "base", environ=EPOCH)
        assert done.returncode == 0, done.stderr
        yield made


def context(lab: Lab, name: str, dockerfile: str, *folders: Path) -> Path:
    """Make a context that every user reads."""
    place = lab.folder / name
    place.mkdir()
    (place / "Dockerfile").write_text(dockerfile)
    for folder in folders:
        assert os.system(f"cp -a {folder} {place}") == 0
    return place


def fan(base: str) -> str:
    """A stage, twelve that need it, and one that needs these: 40 steps, with layers of half a megabyte and owners."""

    def numbers(seed: int) -> str:
        return f"awk 'BEGIN{{srand({seed});for(i=0;i<{LAYER_NUMBERS};i++)printf \"%d \",rand()*1e9}}'"

    lines = [f"FROM {base} AS first", f"RUN mkdir /o && {numbers(99)} >/o/first && chown 7:8 /o/first"]
    for number in range(PARTS):
        lines += [
            f"FROM {base} AS part{number}",
            "COPY --from=first /o /first",
            f"RUN mkdir /p{number} && {numbers(number)} | cat - /first/first >/p{number}/data",
            f"RUN chown -R {number + 1}:5 /p{number} && chmod 2750 /p{number}",
        ]
    lines += [f"FROM {base}", *(f"COPY --from=part{number} /p{number} /p{number}" for number in (0, 1))]
    sources = " ".join(f"--mount=from=part{number},target=/m{number}" for number in range(PARTS))
    lines += [f"RUN {sources} cat /m*/p*/data | sha256sum >/sums && chown app /sums"]
    return "\n".join(lines) + "\n"


def test_a_fan_gives_the_local_digest_and_no_layer_passes_the_driver(lab: Lab) -> None:
    """The layers are 17 MB in all, those with data have 270 kB at least; driver and scheduler see their digests alone.
    (To make times in layers the same is the driver's work, so that comes after.)
    """
    place, name = context(lab, "fan", fan(f"{lab.registry}/base")), f"{lab.registry}/fan"
    cache = f"type=registry,ref={name}/cache,mode=max"
    registry = lab.registry.partition(":")[0]
    with lab.driver.counting([registry]) as driver, lab.scheduler.counting([registry]) as scheduler:
        before = lab.transferred()
        done = lab.build("--push", "-t", name, "--cache-to", cache, place, environ=EPOCH)
        passed, of_registry = lab.transferred() - before, (driver()[registry], scheduler()[registry])
    assert done.returncode == 0, done.stderr + lab.logs()
    assert passed < 4_000_000, f"{passed} bytes passed the driver and the scheduler"
    assert of_registry[0] < 200_000 and of_registry[1] == 0, f"{of_registry} bytes to and from the registry"
    farmed = digest(lab, "build", "--farm", lab.address, "--cache-from", cache, *same_times(f"{name}:farm"), place)
    assert farmed == digest(lab, "build", "--no-cache", *same_times(f"{name}:local"), place)


def same_times(name: str) -> tuple[str, ...]:
    return ("-o", f"type=image,name={name},push=true,rewrite-timestamp=true", "--metadata-file", "metadata.json")


def digest(lab: Lab, *words: str | Path) -> str:
    """Return the digest of an image that the driver makes."""
    done = lab.run(*words, environ=EPOCH)
    assert done.returncode == 0, done.stderr + lab.logs()
    document = json.loads((lab.users.home(lab.users.usual) / "metadata.json").read_text())
    return str(document["containerimage.digest"])


def test_stages_run_side_by_side_on_all_slots(lab: Lab) -> None:
    """Eight at once and as many on each worker: each stage tells when its command began and ended."""
    command = "date +%s >/began; sleep 3; date +%s >/ended"
    lines = [f"FROM {lab.registry}/base AS s{n}\nRUN {command} # {n}" for n in range(STAGES)]
    lines += ["FROM scratch", *(f"COPY --from=s{n} /began /ended /{n}/" for n in range(STAGES))]
    place, out = context(lab, "stages", "\n".join(lines) + "\n"), lab.users.home(lab.users.usual) / "out"
    done = lab.build("-o", f"type=local,dest={out}", "--progress", "json", place)
    assert done.returncode == 0, done.stderr + lab.logs()
    times = [tuple(int((out / str(n) / name).read_text()) for name in ("began", "ended")) for n in range(STAGES)]
    together = Counter(second for began, ended in times for second in range(began, ended))
    assert max(together.values()) > SLOTS / 2
    events = [json.loads(line) for line in done.stderr.splitlines()]
    runs = [event for event in events if event["type"] == "step_started" and "RUN" in event["name"]]
    spread = Counter(event["worker"] for event in runs)
    assert spread.keys() == lab.nodes.keys() and max(spread.values()) <= STAGES / 4 + 2

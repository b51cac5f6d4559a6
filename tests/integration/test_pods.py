"""tiffin in imitated Kubernetes pods: in each it builds, pushes and says its tier, and what it builds is the same.

The table in docs/isolation.md is made of what is seen here: `ci/isolation-table` writes it anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.cli_runner import own_cli
from tests.support.minimal_image import write_image
from tests.support.pod_kinds import PODS
from tests.support.pods import Node, Pod
from tests.support.servers import Registry
from tests.support.unprivileged import Users

pytestmark = [pytest.mark.userns, pytest.mark.slow, pytest.mark.xdist_group("pods")]
DOCUMENT = CHECKOUT / "docs/isolation.md"
BEGIN, END = "<!-- pods: written by ci/isolation-table -->\n", "<!-- end of pods -->"
COPY_ONLY = """FROM {base}
COPY --chown=33:34 Dockerfile /copied
WORKDIR /made/by/workdir
ENV KEY=value
"""
WITH_RUN = """FROM {base} AS first
RUN mkdir -p /d/sub && echo made > /d/sub/f && chown -R 33:34 /d && chmod 2775 /d && ln -s sub /d/link && rm /etc/group
COPY --chown=7:8 Dockerfile /d/copied
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=target=/ctx --mount=type=secret,id=s \\
    touch /c/f /t/f && test -f /ctx/Dockerfile && cat /run/secrets/s > /seen && ln /seen /hard
RUN echo >> /etc/passwd; (setsid sleep 4321 &) ; echo > /dev/null && test -s /etc/resolv.conf -o -f /etc/resolv.conf && rm -r /d/sub
FROM {base}
COPY --from=first /d /d
USER www
RUN --mount=from=first,source=/hard,target=/hard cat /hard > /tmp/seen && id -u >> /tmp/seen
"""
SCRIPT = """
export SOURCE_DATE_EPOCH=1700000000 CANARY_OF_THE_POD=precious
echo > /volume/canary; exec 9< /volume/canary
WALLS='
[ ! -e /volume ] || echo /volume
for place in /proc/[0-9]*; do
    ! tr "\\0" "\\n" < $place/environ | grep CANARY_OF_THE_POD || echo $place/environ
    [ ! -e $place/root/volume ] && [ ! -e $place/cwd/volume ] || echo $place/root
    ! ls -l $place/fd | grep volume/canary || echo $place/fd
done
! mount -t tmpfs none /tmp || echo mount
! unshare -U true || echo unshare
echo end'
for state in $STATES; do
    [ $state = own ] || export TIFFIN_ROOT=/volume/state
    echo "== $state"
    tiffin info --format '{{json .}}' > /volume/out || exit 3
    cat /volume/out; echo
    tiffin build -q --push -t $REGISTRY/copied:$TAG /files/copied > /volume/out 2>&1; echo "copied $?"; tail -n1 /volume/out
    tiffin build -q --push -t $REGISTRY/run:$TAG --secret id=s,src=/files/secret /files/run > /volume/out 2>&1
    echo "run $?"; tail -n1 /volume/out
    tiffin run --rm $REGISTRY/run:reference cat /tmp/seen > /volume/out 2>&1; echo "started $?"; tail -n2 /volume/out | tr '\\n' ' '; echo
    tiffin run --rm -u 0 $REGISTRY/run:reference sh -c "$WALLS" > /volume/walls 2> /volume/out
    tiffin info --format '{{.DockerRootDir}}' > /volume/out
    echo "left $(ls $(cat /volume/out)/tmp) $(grep -a -l '[4]321' /proc/[0-9]*/cmdline 2>/dev/null)"
    echo "walls $(tr '\\n' ' ' < /volume/walls)"
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What tiffin did in a pod with its state in one place. `run` is the image, or the error of the RUN."""

    tier: str
    limits: tuple[str, ...]
    copied: str
    runs: bool
    run: str
    started: bool
    left: str
    walls: str = ""  # what a container saw or did of the pod, and that it looked to the end


@pytest.fixture(scope="module")
def look(
    users: Users, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Pod], dict[str, Seen]]]:
    """Build in a pod, once per pod; before it, the same on this machine for reference."""
    if os.getuid() != 0:
        pytest.skip("pods imitated with runc take root")
    folder = tmp_path_factory.mktemp("pods")
    base = f"{registry.host}/pods/base"
    files = folder / "files"
    for name, text in (("copied", COPY_ONLY), ("run", WITH_RUN)):
        (files / name).mkdir(parents=True)
        (files / name / "Dockerfile").write_text(text.format(base=base))
    (files / "secret").write_text("word\n")
    with own_cli(folder / "machine") as cli:
        write_image(cli.state, name=f"{base}:latest")
        for words in (
            ("push", base),
            ("build", "-q", "--push", "-t", f"{registry.host}/copied:reference", files / "copied"),
            (
                "build",
                "-q",
                "--push",
                "-t",
                f"{registry.host}/run:reference",
                "--secret",
                f"id=s,src={files / 'secret'}",
                files / "run",
            ),
        ):
            done = cli.run(*words, env={"SOURCE_DATE_EPOCH": "1700000000"})
            assert done.returncode == 0, done.stderr
        images = {}
        for name in ("copied", "run"):
            inspected = cli.run("inspect", f"{registry.host}/{name}:reference", "--format", "{{.Id}}")
            images[name] = inspected.stdout.strip()
    known: dict[str, dict[str, Seen]] = {
        "reference": {"own": Seen(tier="", limits=(), runs=True, started=True, left="", **images)}
    }
    place = Path(tempfile.mkdtemp(prefix="tiffin-node-"))  # the folders of pytest are closed to others
    node = Node(place, users.code)

    def build_in(pod: Pod) -> dict[str, Seen]:
        if pod.name not in known:
            states = "volume" if pod.read_only else "own volume"
            tag = re.sub("[^a-z]+", "-", pod.name.lower()).strip("-")
            with node.pod(pod, files) as running:
                done = running.run(f"STATES='{states}'; REGISTRY={registry.host}; TAG={tag}\n" + SCRIPT)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr
            known[pod.name] = {
                part.split("\n", 1)[0]: _seen(part.split("\n")[1:]) for part in done.stdout.split("== ")[1:]
            }
        return known[pod.name]

    yield lambda pod: known["reference"] if pod is REFERENCE else build_in(pod)
    shutil.rmtree(place)


REFERENCE = Pod(name="reference", settings="")


def _seen(lines: list[str]) -> Seen:
    lines = [line for line in lines if line]
    info = json.loads(lines[0])
    tier = next(tier for tier in info["tiers"] if tier["name"] == info["isolation"])
    assert lines[1] == "copied 0", lines
    return Seen(
        tier=info["isolation"],
        limits=tuple(tier["limits"]),
        copied=lines[2],
        runs=lines[3] == "run 0",
        run=lines[4],
        started=lines[5] == "started 0",
        left=lines[7].removeprefix("left").strip(),
        walls=lines[8].removeprefix("walls").strip(),
    )


@pytest.mark.parametrize("pod", PODS, ids=[pod.name.replace(" ", "-") for pod in PODS])
def test_pod(look: Callable[[Pod], dict[str, Seen]], pod: Pod) -> None:
    """The images have the digests they have on this machine; without a sandbox a RUN is refused in one line."""
    reference = look(REFERENCE)["own"]
    for seen in look(pod).values():
        assert seen.copied == reference.copied
        assert seen.left == ""
        if seen.tier == "none":
            assert not seen.runs and not seen.started and not seen.walls
            assert seen.run.startswith("error: Dockerfile:2: RUN needs a sandbox, and this machine allows none")
        else:
            assert seen.run == reference.run
            assert seen.started
            assert seen.walls == "end", "a container reaches into its pod"


def test_documented_table(look: Callable[[Pod], dict[str, Seen]], pytestconfig: pytest.Config) -> None:
    """docs/isolation.md says what was seen."""
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    expected = before + BEGIN + table(look) + END + after
    if pytestconfig.getoption("--update-golden"):
        DOCUMENT.write_text(expected)
        return
    assert text == expected, "run ci/isolation-table and look at what changed"


def table(look: Callable[[Pod], dict[str, Seen]]) -> str:
    rows = [
        "| pod | settings | tier | COPY, ADD, push | RUN, `tiffin run` | state on the pod's own root | on a volume |",
        "|---|---|---|---|---|---|---|",
    ]
    for pod in PODS:
        seen = look(pod)
        volume = seen["volume"]
        places = [_place(seen.get(name)) for name in ("own", "volume")]
        rows.append(
            f"| {pod.name} | {pod.settings} | `{volume.tier}` | yes | {'yes' if volume.runs else 'refused'} | "
            f"{places[0]} | {places[1]} |"
        )
    return "\n".join(rows) + "\n"


def _place(seen: Seen | None) -> str:
    if seen is None:
        return "not writable"
    if not seen.runs:
        return "COPY only"
    words = [
        "layers copied"
        if seen.tier == "chroot" or any("overlay" in limit for limit in seen.limits)
        else "layers mounted"
    ]
    if seen.tier == "chroot" or any("/proc" in limit for limit in seen.limits):
        words.append("no `/proc` but for files of it" if seen.tier == "chroot" else "the pod's `/proc`")
    return ", ".join(words)

"""Eight builders at once, on one state directory and on one shared cache, also while random ones are killed."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.support.cache_servers import running_nginx, running_redis
from tests.support.servers import Registry

pytestmark = [pytest.mark.userns, pytest.mark.slow]
Make = Callable[..., Path]
BUILDERS = 8
PATIENCE = 120  # seconds; a deadlock
KILL_SECONDS = float(os.environ.get("TIFFIN_KILL_SECONDS", "0"))
LOG = logging.getLogger(__name__)  # --log-cli-level=INFO shows figures
LOGGED = "RUN --mount=type=cache,id=log,target=/log"
TEXT = f"""FROM {{base}} AS one
{LOGGED} sleep 0.2 && head -c 50000 /dev/urandom > /one && echo one >> /log/runs
FROM {{base}} AS two
COPY src /src
{LOGGED} cat /src > /two && sleep 0.1 && echo two >> /log/runs
FROM two AS three
{LOGGED} cat /two > /three && echo three >> /log/runs
FROM {{base}}
COPY --from=one /one /one
COPY --from=three /three /three
{LOGGED} cat /three > /four && echo four >> /log/runs
ARG WHO=none
LABEL who=$WHO
CMD ["cat", "/four"]
"""
STEPS = ("one", "two", "three", "four")


@pytest.fixture
def remote_base(tiffin: Run, base: str, registry: Registry) -> str:
    name = f"{registry.host}/many/base:1"
    tiffin("tag", base, name)
    tiffin("push", name)
    return name


@pytest.fixture(params=["registry", "redis", "http", "dir"])
def place(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> Iterator[str]:
    """A shared cache of each kind."""
    with contextlib.ExitStack() as stack:
        texts: dict[str, Callable[[], str]] = {
            "registry": lambda: f"type=registry,ref={registry.host}/many/cache:{os.urandom(4).hex()}",
            "redis": lambda: f"type=redis,url={stack.enter_context(running_redis(tmp_path)).url}",
            "http": lambda: f"type=http,url={stack.enter_context(running_nginx(tmp_path)).url}",
            "dir": lambda: f"type=dir,path={tmp_path}/cache",
        }
        yield texts[request.param]()


def start(root: Path, folder: Path, place: str, number: int) -> subprocess.Popen[str]:
    argv = [
        *(sys.executable, "-m", "tiffin", "--root", str(root), "build", "--progress", "plain", "-t", f"app{number}"),
        *("--build-arg", f"WHO={number}", "--cache-from", place, "--cache-to", f"{place},mode=max", str(folder)),
    ]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(builders: list[subprocess.Popen[str]]) -> list[str]:
    """What each told on stderr; all must end well, and in time."""
    deadline = time.monotonic() + PATIENCE
    reported = [builder.communicate(timeout=max(1.0, deadline - time.monotonic()))[1] for builder in builders]
    assert [builder.returncode for builder in builders] == [0] * len(builders), reported
    assert not [text for text in reported if "warning: " in text or "Traceback" in text]
    return reported


def runs(root: Path) -> Counter[str]:
    """How often each step was executed on a state directory."""
    (log,) = root.glob("mounts/cache/*/fs/runs")
    return Counter(log.read_text().split())


def on(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def assert_whole(root: Path, folder: Path, place: str, fresh: Path) -> None:
    """The state directory and the shared cache are undamaged, and a builder with nothing runs nothing."""
    verified = on(root, "cache", "verify")
    assert verified.returncode == 0 and verified.stdout.endswith(" 0 damaged\n"), verified
    ran = on(root, "run", "--rm", "app0")
    assert ran.stdout == "s\n", ran.stderr
    (reported,) = finish([start(fresh, folder, place, 0)])
    assert " DONE " not in reported and "CACHED (" in reported
    shown = on(fresh, "run", "--rm", "app0")
    assert shown.stdout == "s\n", shown.stderr
    for state in (root, fresh):
        assert_nothing_left(state)


def test_one_state_directory(root: Path, context: Make, remote_base: str, place: str, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=remote_base), src="s\n")
    finish([start(root, folder, place, number) for number in range(BUILDERS)])
    assert runs(root) == dict.fromkeys(STEPS, 1), "a step ran twice"
    assert_whole(root, folder, place, tmp_path / "fresh")


def test_one_shared_cache(context: Make, remote_base: str, place: str, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=remote_base), src="s\n")
    roots = [tmp_path / f"state{number}" for number in range(BUILDERS)]
    finish([start(root, folder, place, number) for number, root in enumerate(roots)])
    assert all(count == 1 for root in roots if list(root.glob("mounts/cache/*/fs")) for count in runs(root).values())
    assert_whole(roots[0], folder, place, tmp_path / "fresh")


@pytest.mark.parametrize(("states", "place"), [(1, "registry"), (BUILDERS, "dir")], indirect=["place"])
def test_random_ones_are_killed(context: Make, remote_base: str, place: str, tmp_path: Path, states: int) -> None:
    """Eight builders on one or eight state directories; each that is killed is begun again.

    What one has kept is never made again in its state directory. TIFFIN_KILL_SECONDS: go on for so long, with another
    program each time.
    """
    chance = random.Random(states)
    roots = [tmp_path / f"state{number}" for number in range(states)]
    until, number, killed = time.monotonic() + KILL_SECONDS, 0, 0
    while not number or time.monotonic() < until:
        folder = context(TEXT.format(base=remote_base).replace("sleep", f": {number}; sleep"), src="s\n")
        reported, kills = killing_round(chance, roots, folder, place)
        killed += kills
        for root, texts in reported.items():
            assert max(done_in(texts).values(), default=1) == 1, "a step that was kept was made again"
            assert "warning: " not in "".join(texts) and "Traceback" not in "".join(texts), texts
            verified = on(root, "cache", "verify")
            assert verified.returncode == 0 and verified.stdout.endswith(" 0 damaged\n"), verified
        assert_whole(roots[0], folder, place, tmp_path / f"fresh{number}")
        number += 1
    LOG.info("%d builders were killed in %d rounds", killed, number)
    assert killed, "nobody was killed"


def killing_round(
    chance: random.Random, roots: list[Path], folder: Path, place: str
) -> tuple[dict[Path, list[str]], int]:
    """Builders of which random ones are killed and begun again until all ended well; what they told, and how many
    were.
    """
    reported: dict[Path, list[str]] = {root: [] for root in roots}
    builders = [start(roots[number % len(roots)], folder, place, number) for number in range(BUILDERS)]
    killed = 0
    for _ in range(2 * BUILDERS):
        time.sleep(chance.uniform(0.05, 0.4))
        number = chance.randrange(BUILDERS)
        if builders[number].poll() is not None:
            continue
        builders[number].send_signal(signal.SIGKILL)
        killed += 1
        reported[roots[number % len(roots)]].append(builders[number].communicate(timeout=PATIENCE)[1])
        builders[number] = start(roots[number % len(roots)], folder, place, number)
    for number, text in enumerate(finish(builders)):
        reported[roots[number % len(roots)]].append(text)
    return reported, killed


def done_in(texts: list[str]) -> Counter[str]:
    """How often each step was kept, by what builders told."""
    done: Counter[str] = Counter()
    for text in texts:
        names = dict(re.findall(r"^#(\d+) (\[[^]]*\] .*)$", text, re.MULTILINE))
        done.update(names[number] for number in re.findall(r"^#(\d+) DONE ", text, re.MULTILINE))
    return done

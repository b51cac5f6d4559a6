"""When a registry is asked for an image that is known, and what is said of the one that is used."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.registry import Fake, fake_registry

pytestmark = pytest.mark.network
Make = Callable[..., Path]


@pytest.fixture
def tag(tmp_path: Path, context: Make) -> Iterator[tuple[Fake, Callable[[str], None]]]:
    """A registry, and how to give its one tag another image from another machine."""
    with fake_registry() as fake:

        def publish(version: str) -> None:
            folder = context(f"FROM scratch\nCOPY f /f\nLABEL version={version}\n", "base", f=version)
            argv = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / "other"), "build", "-q", "--push"]
            subprocess.run([*argv, "-t", f"{fake.host}/base:1", str(folder)], check=True, capture_output=True)
            fake.log.clear()

        yield fake, publish


def asked(fake: Fake) -> int:
    return len([path for _, path, _ in fake.log if "/manifests/" in path])


def digest_of(fake: Fake) -> str:
    return "sha256:" + hashlib.sha256(fake.manifests["1"][0]).hexdigest()


@pytest.fixture
def built(tiffin: Run, context: Make, tag: tuple[Fake, Callable[[str], None]]) -> Callable[..., tuple[str, int, str]]:
    """Build on the tag: the version that was used, how often the registry was asked for a manifest, and what was
    said.
    """
    fake, _ = tag
    folder = context(f"FROM {fake.host}/base:1\nCOPY g /g\n", g="1")

    def build(*words: str, **env: str) -> tuple[str, int, str]:
        fake.log.clear()
        done = tiffin("build", "-t", "app", *words, folder, env={**os.environ, **env})
        shown = tiffin("inspect", "-f", "{{.Config.Labels.version}}", "app").stdout.strip()
        return shown, asked(fake), done.stderr

    return build


NOW = {"TIFFIN_PULL_AFTER": "0s"}  # every answer is old


@pytest.mark.parametrize(
    ("words", "env", "version"),
    [
        ([], {}, "one"),
        ([], NOW, "two"),
        (["--pull"], {}, "two"),
        (["--pull=true"], {}, "two"),
        (["--pull=false"], {}, "one"),
        (["--pull=always"], {}, "two"),
        (["--pull=newer"], {}, "two"),
        (["--pull=missing"], NOW, "one"),
        (["--pull=never"], NOW, "one"),
        (["--pull=always", "--pull=false"], {}, "one"),
    ],
    ids=str,
)
def test_which_is_used(
    tag: tuple[Fake, Callable[[str], None]], built: Callable[..., tuple[str, int, str]], words: list[str],
    env: dict[str, str], version: str,
) -> None:  # fmt: skip
    fake, publish = tag
    publish("one")
    first = digest_of(fake)
    assert built()[0] == "one"
    publish("two")
    used, count, said = built(*words, **env)
    assert used == version and bool(count) == (version == "two")
    if version == "one":
        assert re.search(rf"base:1 is {first}, looked up (less than a second|\d+ seconds?) ago", said)


@pytest.mark.parametrize(
    ("words", "trouble"),
    [([], "refused"), ([], "401"), ([], "gone"), (["--pull=newer"], "503"), (["--pull=always"], "401")],
    ids=str,
)
def test_registry_that_cannot_be_asked(
    tag: tuple[Fake, Callable[[str], None]], tiffin: Run, built: Callable[..., tuple[str, int, str]], trouble: str,
    words: list[str], context: Make,
) -> None:  # fmt: skip
    fake, publish = tag
    publish("one")
    built()
    if trouble == "gone":
        fake.manifests.clear()
    elif trouble == "401":
        fake.auth = "basic"
    elif trouble == "503":
        fake.fail = [503] * 20
    else:
        fake.refuses = True
    if words == ["--pull=always"]:
        with pytest.raises(AssertionError):
            built(*words, **NOW)
        return
    used, _, said = built(*words, **NOW)
    assert used == "one" and "base:1 was not looked up again (" in said and "looked up " in said
    assert fake.host in said or "no more" in said


def test_failure_is_remembered_for_a_while(
    tag: tuple[Fake, Callable[[str], None]], built: Callable[..., tuple[str, int, str]]
) -> None:
    fake, publish = tag
    publish("one")
    built()
    fake.auth = "basic"
    age = {"TIFFIN_PULL_AFTER": "1s"}
    while built(**age)[1] == 0:
        pass  # until it is old
    assert built(**age)[1] == 0


def test_never_means_never(tiffin: Run, context: Make, tag: tuple[Fake, Callable[[str], None]]) -> None:
    fake, publish = tag
    publish("one")
    done = tiffin("build", "--pull=never", context(f"FROM {fake.host}/base:1\n"), check=False)
    assert done.returncode == 1 and "leave out --pull=never" in done.stderr and not fake.log
    wrong = tiffin("build", "--pull=sometimes", context("FROM scratch\n"), check=False)
    assert wrong.returncode in (2, 125) and "sometimes" in wrong.stderr


@pytest.mark.userns
@pytest.mark.parametrize(
    ("policy", "version"), [("missing", "one"), ("newer", "two"), ("always", "two"), ("never", "one")]
)
def test_run(
    tiffin: Run, busybox: Path, base: str, tag: tuple[Fake, Callable[[str], None]], context: Make, policy: str,
    version: str
) -> None:  # fmt: skip
    fake, _ = tag
    name = f"{fake.host}/run:1"
    for text in ("two", "one"):
        tiffin("build", "-q", "-t", name, "--push", context(f"FROM {base}\nCOPY v /v\n", text, v=text))
    other = fake.manifests["1"]
    assert tiffin("run", "--rm", "--pull", policy, name, "cat", "/v").stdout == "one", "nothing is newer"
    tiffin("build", "-q", "-t", "elsewhere", context(f"FROM {base}\nCOPY v /v\n", "two"))
    tiffin("push", "-q", "elsewhere", name)
    assert fake.manifests["1"] != other
    fake.log.clear()
    assert tiffin("run", "--rm", "--pull", policy, name, "cat", "/v").stdout == version
    assert bool(asked(fake)) == (policy in ("newer", "always"))
    fake.fail = [500] * 20
    done = tiffin("run", "--rm", "--pull", policy, name, "cat", "/v", check=False)
    assert (done.returncode == 0) == (policy != "always")

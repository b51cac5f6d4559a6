"""A service of five stages, built by one machine, and again by others that have nothing: no step runs, no layer is
downloaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, assert_nothing_left
from tests.support.cache_servers import BUCKET, S3_OPTIONS, running_nginx, running_redis, running_s3
from tests.support.servers import Registry
from tests.support.unprivileged import Users

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("debian")]
SOURCE = CHECKOUT / "tests/integration/service"
BIG = 200_000  # bytes; layers with packages are larger, every document is smaller
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
WAYS: Mapping[str, Sequence[str]] = {
    "registry": ("registry",),
    "redis": ("redis",),
    "nginx": ("http",),
    "s3": ("s3",),
    "directory": ("dir",),
    "tiered": ("dir-changed", "empty", "redis", "registry"),
}
CHANGED = ["COPY program /program", "RUN python3 -m compileall", "COPY --from=program", "RUN python3 /program/main.py"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the first builder left: `caches` as options, and the digest of the image it pushed as `name`."""

    users: Users
    caches: Mapping[str, str]
    name: str
    digest: str
    base: str

    def build(self, root: Path, context: Path, words: Sequence[str]) -> str:
        """By root, the first builder; what it told."""
        argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", *self.words(words, context)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=500)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def build_elsewhere(self, root: Path, context: Path, words: Sequence[str]) -> str:
        """By a user without privileges."""
        return self.users.run(self.users.usual, ["--root", root, "build", *self.words(words, context)]).stderr

    def words(self, words: Sequence[str], context: Path) -> list[str | Path]:
        return ["--progress", "plain", "--build-arg", f"BASE={self.base}", *words, context]


def digest_of(registry: Registry, name: str) -> str:
    """Of the manifest behind a name."""
    repository, _, tag = name.split("/", 1)[1].rpartition(":")
    request = urllib.request.Request(f"http://{registry.host}/v2/{repository}/manifests/{tag}")
    request.add_header("Accept", MANIFESTS)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def copied(users: Users, name: str) -> Path:
    """The sources at a place of their own, with times of their own."""
    target = users.code / name
    shutil.copytree(SOURCE, target, dirs_exist_ok=True)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (len(name), len(name)))
    return target


@pytest.fixture(scope="module")
def fleet(users: Users, debian: str, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as stack:
        servers = {}
        for kind, start in (("redis", running_redis), ("http", running_nginx), ("s3", running_s3)):
            (folder / kind).mkdir()
            servers[kind] = stack.enter_context(start(folder / kind)).url
        caches = {
            "registry": f"type=registry,ref={registry.host}/service/cache:1",
            "redis": f"type=redis,url={servers['redis']},layers={registry.host}/service/layers:1",
            "http": f"type=http,url={servers['http']}",
            "s3": f"type=s3,bucket={BUCKET},{S3_OPTIONS},endpoint_url={servers['s3']}",
            "dir": f"type=dir,path={users.code}/service-cache",
            "dir-changed": f"type=dir,path={users.code}/service-changed",
            "empty": f"type=http,url={servers['http']}/empty",
        }
        caches = {name: f"{text},timeout=60" for name, text in caches.items()}  # machines may be busy
        name = f"{registry.host}/service/app:1"
        made = Fleet(users=users, caches=caches, name=name, digest="", base=debian)
        to = [
            word
            for kind in ("registry", "redis", "http", "s3", "dir")
            for word in ("--cache-to", caches[kind] + ",mode=max")
        ]
        reported = made.build(folder / "first", copied(users, "first"), ["--push", "-t", name, *to])
        assert reported.count(" with ") >= 5 and "was not filled" not in reported, reported
        changed = copied(users, "first")
        change(changed)
        made.build(folder / "first", changed, ["--cache-to", caches["dir-changed"] + ",mode=max"])
        records = users.code / "service-changed/records"
        for path in records.glob("*/*"):  # of the changed service, what the registry cannot know
            if not any(json.loads(path.read_text())["description"].startswith(text) for text in CHANGED[:2]):
                path.unlink()
        yield Fleet(users=users, caches=caches, name=name, digest=digest_of(registry, name), base=debian)


def change(context: Path) -> None:
    path = context / "program/main.py"
    path.write_text(path.read_text().replace("dishes", "plates"))


@pytest.mark.parametrize("way", WAYS)
def test_others_do_only_what_changed(fleet: Fleet, registry: Registry, way: str) -> None:
    users, root = fleet.users, fleet.users.home(fleet.users.usual) / f"state-{way}"
    context = copied(users, f"elsewhere-{way}")
    sources = [word for kind in WAYS[way] for word in ("--cache-from", fleet.caches[kind])]
    name = f"{fleet.name}-{way}"
    reported = fleet.build_elsewhere(root, context, [*sources, "-o", f"type=registry,name={name}"])
    assert " DONE " not in reported and "warning: " not in reported, reported
    assert digest_of(registry, name) == fleet.digest
    sizes = [path.stat().st_size for path in (root / "images/blobs/sha256").iterdir()]
    assert max(sizes) < BIG, "a layer was downloaded"
    change(context)
    reported = fleet.build_elsewhere(root, context, [*sources, "-t", "changed"])
    ran = set(re.findall(r"^#(\d+) DONE ", reported, re.MULTILINE))
    steps = dict(re.findall(r"^#(\d+) \[[^]]*\] (.*)$", reported, re.MULTILINE))
    expected = CHANGED[2:] if way == "tiered" else CHANGED
    assert sorted(steps[number] for number in ran) == sorted(
        text for text in steps.values() if any(text.startswith(start) for start in expected)
    ), reported
    assert len(ran) == len(expected) and "warning: " not in reported, reported
    if way == "tiered":  # the program came from the directory: nothing else has it
        assert "CACHED (redis)" in reported or "CACHED (registry)" in reported, reported
    shown = users.run(users.usual, ["--root", root, "run", "--rm", "changed"])
    assert shown.stdout == "2 plates xn--kche-0ra\n"
    assert_nothing_left(root)
    users.run(users.usual, ["--root", root, "system", "reset", "-f"])

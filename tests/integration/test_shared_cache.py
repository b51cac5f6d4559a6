"""--cache-to on one machine, --cache-from on another: what was built once is not built, nor downloaded, again."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.support.cache_servers import BUCKET, S3_OPTIONS, CacheServer, running_nginx, running_redis, running_s3
from tests.support.faults import faulty
from tests.support.servers import Registry

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base} AS deps
COPY deps /deps
RUN cat /deps > /installed && head -c 300000 /dev/urandom >> /installed
FROM {base} AS tools
RUN echo tool > /tool
FROM deps
COPY --from=tools /tool /usr/bin/tool
COPY src /src
RUN cat /src /usr/bin/tool > /app
CMD ["cat", "/app"]
"""
BIG = 100_000  # bytes; the layer of the RUN in deps is larger, every document smaller


@pytest.fixture
def remote_base(tiffin: Run, base: str, registry: Registry) -> str:
    name = f"{registry.host}/shared/base:1"
    tiffin("tag", base, name)
    tiffin("push", name)
    return name


def build(
    root: Path, *words: str | Path, check: bool = True, env: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """On another machine: another state directory."""
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "--progress", "plain", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False, env={**os.environ, **env})
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CacheServer]]:
    """One of each kind."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(start(tmp_path_factory.mktemp(name)))
            for name, start in (("redis", running_redis), ("http", running_nginx), ("s3", running_s3))
        }


Place = Callable[[str], str]  # from "from" or "to" to the option's value, without its mode


@pytest.fixture(params=["registry", "local", "redis", "redis-small", "http", "s3"])
def place(request: pytest.FixtureRequest, servers: dict[str, CacheServer], registry: Registry, tmp_path: Path) -> Place:
    """A cache that nobody else uses, of each kind."""
    kind = request.param
    name = uuid.uuid4().hex  # the names of folders come again
    prefix = f"prefix={name}/,{S3_OPTIONS},endpoint_url={servers['s3'].url}"
    texts = {
        "registry": f"type=registry,ref={registry.host}/shared/cache:{name}",
        "redis": f"type=redis,url={servers['redis'].url},ttl=1h",
        "redis-small": f"type=redis,url={servers['redis'].url},max-blob=1k,layers={registry.host}/shared/layers:{name}",
        "http": f"type=http,url={servers['http'].url}/{name}",
        "s3": f"type=s3,bucket={BUCKET},{prefix}",
    }
    if kind == "local":
        return lambda way: f"type=local,{'src' if way == 'from' else 'dest'}={tmp_path}/cache"
    return lambda way: texts.get(kind, texts["registry"])


def kind_of(text: str) -> str:
    return text.split(",")[0].removeprefix("type=").replace("local", "dir")


def test_second_builder_does_only_what_changed(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path, place: Place
) -> None:
    files = {"deps": f"1 {uuid.uuid4()}", "src": "1"}
    kind = kind_of(place("to"))
    image = f"{registry.host}/shared/app-{kind}:1"
    first = build(
        root,
        "--cache-to",
        f"{place('to')},mode=max",
        "--push",
        "-t",
        image,
        context(TEXT.format(base=remote_base), **files),
    )
    assert f"with {kind} cache" in first.stderr and "warning" not in first.stderr
    other = context(TEXT.format(base=remote_base), name="elsewhere", **files)
    for path in other.iterdir():
        os.utime(path, (1, 1))
    second = build(tmp_path / "b", "--cache-from", place("from"), "-o", f"type=registry,name={image}", other)
    assert second.stdout == first.stdout and " DONE " not in second.stderr and "warning" not in second.stderr
    assert second.stderr.count(f"CACHED ({kind})") >= 5
    blobs = [path for path in (tmp_path / "b/images/blobs/sha256").iterdir() if path.stat().st_size > BIG]
    assert blobs == [], "a layer was downloaded"
    (other / "src").write_text("2")
    third = build(tmp_path / "b", "--cache-from", place("from"), "-t", "changed", other)
    assert third.stderr.count(" DONE ") == 2 and "COPY src" in third.stderr and "warning" not in third.stderr
    run = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / "b"), "run", "--rm", "changed"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "2tool\n"
    assert_nothing_left(tmp_path / "b")


def rows_of(folder: Path) -> dict[str, str]:
    """The description of each record in a directory, by name."""
    return {path.name: json.loads(path.read_text())["description"] for path in (folder / "records").glob("*/*")}


def test_min_shares_the_target_only(root: Path, context: Make, remote_base: str, tmp_path: Path) -> None:
    place = f"type=dir,path={tmp_path}/cache"
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, "--cache-to", place, folder)
    before = rows_of(tmp_path / "cache")
    assert "RUN echo tool > /tool" not in before.values() and "COPY src /src" in before.values()
    assert (
        " DONE " not in build(tmp_path / "b", "--cache-from", place, folder).stderr
    )  # the stage of tools is not needed
    build(root, "--cache-to", place, context(TEXT.format(base=remote_base), deps="1", src="other"))
    assert before.keys() < rows_of(tmp_path / "cache").keys()


def test_caches_that_cannot_be_used_cost_a_warning(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path
) -> None:
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    done = build(
        root, "--cache-from", f"{registry.host}/shared/none:1", "--cache-from", f"type=local,src={tmp_path}/none",
        "--cache-from", "type=redis,url=redis://127.0.0.1:9", "--cache-from", "type=http,url=http://127.0.0.1:9",
        "--cache-from", remote_base, folder,
    )  # fmt: skip
    assert done.stderr.count("warning: ") == 5
    assert "is not there yet" in done.stderr and "it holds no steps" in done.stderr and "refused" in done.stderr


def test_records_of_another_form_are_refused(root: Path, context: Make, remote_base: str, tmp_path: Path) -> None:
    place = f"type=dir,path={tmp_path}/cache,mode=max"
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, "--cache-to", place, folder)
    for number, path in enumerate(sorted((tmp_path / "cache/records").glob("*/*"))):
        path.write_bytes((b"", b'{"schema": 99}', path.read_bytes()[:-9], b"[" * 100_000, b"\xff")[number % 5])
    done = build(tmp_path / "b", "--cache-from", place, folder)
    assert done.stderr.count(" DONE ") == 6 and "refused a record" in done.stderr


def test_wrong_bytes_never_become_a_layer(root: Path, context: Make, remote_base: str, tmp_path: Path) -> None:
    place = f"type=dir,path={tmp_path}/cache,mode=max"
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, "--cache-to", place, folder)
    blobs = {path: path.read_bytes() for path in (tmp_path / "cache/blobs/sha256").iterdir()}
    for path, data in blobs.items():
        path.write_bytes(b"x" * len(data))
    (folder / "src").write_text("2")
    done = build(tmp_path / "b", "--cache-from", place, "--cache-to", place, "-t", "right", folder)
    assert "lost layer sha256:" in done.stderr
    run = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / "b"), "run", "--rm", "right"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "2tool\n"
    healed = [path for path in (tmp_path / "cache/blobs/sha256").iterdir() if not path.read_bytes().startswith(b"xxx")]
    assert len(healed) >= 3, "damaged layers were replaced"


@pytest.mark.parametrize("kind", ["hmac", "ed25519"])
def test_signed_records_only(root: Path, context: Make, remote_base: str, tmp_path: Path, kind: str) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for key in (mine, other):
        if kind == "hmac":
            key.write_bytes(os.urandom(32))
        else:
            subprocess.run(
                ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True
            )
    reading = mine
    if kind == "ed25519":
        reading = tmp_path / "public"
        subprocess.run(["openssl", "pkey", "-in", mine, "-pubout", "-out", reading], check=True)
    place = f"type=dir,path={tmp_path}/cache,mode=max"
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, "--cache-sign-key", other, "--cache-to", place, folder)
    refused = build(tmp_path / "b", "--cache-sign-key", reading, "--cache-from", place, folder)
    assert "CACHED (local)" not in refused.stderr and "no signature of the key given" in refused.stderr
    build(root, "--cache-sign-key", mine, "--cache-to", f"type=dir,path={tmp_path}/good,mode=max", folder)
    taken = build(tmp_path / "c", "--cache-sign-key", reading, "--cache-from", f"type=dir,path={tmp_path}/good", folder)
    assert " DONE " not in taken.stderr and "warning" not in taken.stderr
    rows = list((tmp_path / "good/records").glob("*/*"))
    rows[0].write_bytes(rows[1].read_bytes())  # a good record under another name
    assert "no signature" in build(tmp_path / "d", "--cache-sign-key", reading, "--cache-from",
                                   f"type=dir,path={tmp_path}/good", folder).stderr  # fmt: skip


def test_environment_and_configuration(root: Path, context: Make, remote_base: str, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    (tmp_path / "config/tiffin").mkdir(parents=True)
    (tmp_path / "config/tiffin/config.toml").write_text(
        f'[[cache]]\ntype = "dir"\npath = "{tmp_path}/one"\nmode = "max"\n'
    )
    both = {"XDG_CONFIG_HOME": f"{tmp_path}/config", "TIFFIN_CACHE": f"type=dir,path={tmp_path}/two,mode=max"}
    build(root, folder, env=both)
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two") != {}
    done = build(tmp_path / "b", folder, env={"TIFFIN_CACHE": f"type=dir,path={tmp_path}/two,access=ro"})
    assert " DONE " not in done.stderr
    (tmp_path / "config/tiffin/config.toml").write_text('[[cache]]\ntype = "dir"\nplace = "x"\n')
    wrong = build(root, folder, env={"XDG_CONFIG_HOME": f"{tmp_path}/config"}, check=False)
    assert wrong.returncode == 2 and 'config.toml, [[cache]] 1 type=dir takes no "place"' in wrong.stderr


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--cache-from", "type=s4,ref=x", 'unknown type "s4"'),
        ("--cache-from", "type=local,dest=x", "type=local needs src="),
        ("--cache-to", "type=local,src=x", "type=local needs dest="),
        ("--cache-to", "type=registry,ref=x,mode=most", "use mode=min|max"),
        ("--cache-to", "type=redis,url=redis://u:hush@h/,ttl=soon", "ttl=soon is not a valid time"),
        ("--cache-to", "type=dir,path=x,access=ro", 'takes no "access"'),
        ("--cache-from", "type=http,url=ftp://u:hush@h/", "ftp://h/ is not an http address"),
        ("--cache-from", "type=redis,url=redis//u:hush@h/", "is not an address of Redis"),
        ("--cache-to", "type=registry,erf=x", 'did you mean "ref"?'),
        ("--cache-to", "type=registry,ref", "has no value"),
    ],
)
def test_bad_options(root: Path, context: Make, flag: str, text: str, message: str) -> None:
    done = build(root, flag, text, context("FROM scratch\n"), check=False)
    assert done.returncode == 2 and message in done.stderr and "hush" not in done.stderr


def test_error_of_writing(root: Path, context: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = context("FROM scratch\nCOPY Dockerfile /\n")
    place = f"type=local,dest={tmp_path}/file/below"
    assert "was not filled" in build(root, "--cache-to", place, folder).stderr
    assert build(root, "--cache-to", f"{place},required=true", folder, check=False).returncode == 1


@pytest.mark.parametrize(
    ("place", "most"), [("registry", 2), ("redis", 1), ("http", 1), ("s3", 1)], indirect=["place"]
)  # a registry on loopback is asked for TLS first
def test_one_question_for_a_whole_build(
    root: Path,
    context: Make,
    remote_base: str,
    servers: dict[str, CacheServer],
    tmp_path: Path,
    place: Place,
    most: int,
) -> None:
    steps = "".join(f"RUN echo {number} > /step{number}\n" for number in range(12))
    folder = context(f"FROM {remote_base}\nRUN echo {uuid.uuid4()}\n{steps}")
    build(root, "--cache-to", f"{place('to')},mode=max", folder)
    text, kind = place("from"), kind_of(place("from"))
    port = servers[kind].port if kind in servers else int(remote_base.split("/")[0].split(":")[1])
    with faulty(port) as proxy:
        far = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{proxy.port}")
        done = build(tmp_path / "b", "--cache-from", far, "-o", "type=cacheonly", folder)
        assert " DONE " not in done.stderr and "warning" not in done.stderr, done.stderr
        assert 1 <= proxy.turns <= most

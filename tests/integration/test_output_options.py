"""Times, annotations, media types and forms of outputs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.integration.test_build import listing
from tests.support.servers import Registry, make_certificate, running_registry

Make = Callable[..., Path]


def raw(registry: Registry, name: str) -> dict[str, Any]:
    words = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{name}"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def created(tiffin: Run, name: str) -> set[str]:
    image = json.loads(tiffin("inspect", name).stdout)[0]
    lines = tiffin("history", "--format", "json", name).stdout.splitlines()
    return {image["Created"], *(json.loads(line)["CreatedAt"] for line in lines)}


@pytest.mark.parametrize(
    ("words", "text", "env"),
    [
        (("--timestamp", "1000"), "FROM scratch\n", {}),
        ((), "ARG SOURCE_DATE_EPOCH=1000\nFROM scratch\n", {}),
        ((), "FROM scratch\n", {"SOURCE_DATE_EPOCH": "1000"}),
        (("--build-arg", "SOURCE_DATE_EPOCH=1000"), "FROM scratch\n", {"SOURCE_DATE_EPOCH": "5"}),
        (("-o", "type=image,source-date-epoch=1000"), "FROM scratch\n", {"SOURCE_DATE_EPOCH": "5"}),
    ],
)
def test_where_the_time_comes_from(
    tiffin: Run, context: Make, words: tuple[str, ...], text: str, env: dict[str, str]
) -> None:
    folder = context(f"{text}COPY Dockerfile /f\nLABEL a=b\n")
    tiffin("build", "-t", "timed", *words, folder, env={**os.environ, **env})
    assert created(tiffin, "timed") == {"1970-01-01T00:16:40Z"}


def test_times_of_files_are_kept_when_told(tiffin: Run, context: Make) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /f\n")
    os.utime(folder / "Dockerfile", (500, 500))
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1000"}
    tiffin("build", "-o", "type=image,rewrite-timestamp=false,name=kept", folder, env=env)
    assert created(tiffin, "kept") == {"1970-01-01T00:16:40Z"}
    (folder / "Dockerfile").write_text("FROM kept\n")
    assert listing(tiffin, folder)["f"].mtime == 500


@pytest.mark.attack("T1")
def test_local_output_is_not_led_out_by_what_is_there(tiffin: Run, context: Make, tmp_path: Path) -> None:
    """A destination others can write to: its links are replaced by what the image has, not followed."""
    outside, dest = tmp_path / "outside", tmp_path / "dest"
    outside.mkdir()
    dest.mkdir()
    (outside / "f").write_text("precious")
    (dest / "d").symlink_to(outside)
    (dest / "g").symlink_to(outside / "f")
    (dest / "l").symlink_to(outside / "f")
    os.link(outside / "f", dest / "h")
    files = {"d/f": "new", "d/more": "new", "g": "new", "h": "new", "l/below": "new"}
    tiffin("build", "-o", f"type=local,dest={dest}", context("FROM scratch\nCOPY . /\n", **files))
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"f": "precious"}
    assert {name: (dest / name).read_text() for name in files} == files


@pytest.mark.parametrize("text", ["yesterday", "-5", "1e9"])
def test_what_is_no_time(tiffin: Run, context: Make, text: str) -> None:
    folder = context(f"ARG SOURCE_DATE_EPOCH={text}\nFROM scratch\n")
    done = tiffin("build", folder, check=False)
    assert done.returncode == 1 and f'"{text}" is not a valid time; give whole seconds since 1970' in done.stderr
    done = tiffin("build", "--timestamp", text, folder, check=False)
    assert done.returncode == 2 and f'"{text}" is not a valid time; give whole seconds since 1970' in done.stderr


def test_annotations(tiffin: Run, context: Make, registry: Registry) -> None:
    folder = context("FROM scratch\n")
    one = f"{registry.host}/annotated:1"
    tiffin("build", "--annotation", "a.b=c=d", "--annotation", "manifest:x=y:z", "--push", "-t", one, folder)
    assert raw(registry, "annotated:1")["annotations"] == {"a.b": "c=d", "x": "y:z"}
    two = f"{registry.host}/annotated:2"
    tiffin(
        "build", "--platform", "linux/amd64,linux/arm64", "--annotation", "index,manifest:k=v", "--annotation",
        "manifest-descriptor[linux/arm64]:only=arm",
        "--push", "-t", two, folder,
    )  # fmt: skip
    index = raw(registry, "annotated:2")
    assert index["annotations"] == {"k": "v"}
    assert [item.get("annotations") for item in index["manifests"]] == [None, {"only": "arm"}]
    for text, message in (
        ("index:a=b", "index annotations need an image of several platforms"),
        ("idnex:a=b", 'unknown type "idnex"; did you mean "index"?'),
        ("=b", '--annotation "=b" is not KEY=VALUE'),
    ):
        done = tiffin("build", "--annotation", text, folder, check=False)
        assert done.returncode == 2 and message in done.stderr


def test_docker_media_types_and_push_by_digest(tiffin: Run, base: str, context: Make, registry: Registry) -> None:
    folder = context(f"FROM {base}\nCOPY Dockerfile /f\n")
    name = f"{registry.host}/typed:1"
    tiffin("build", "-o", f"type=registry,oci-mediatypes=false,name={name}", folder)
    manifest = raw(registry, "typed:1")
    types = {
        manifest["mediaType"],
        manifest["config"]["mediaType"],
        *(item["mediaType"] for item in manifest["layers"]),
    }
    assert types == {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
    done = tiffin("build", "-o", f"type=registry,push-by-digest=true,name={registry.host}/untagged", folder)
    digest = done.stderr.rpartition("@")[2].split()[0]
    assert raw(registry, f"untagged@{digest}")["layers"]
    words = ["skopeo", "list-tags", "--tls-verify=false", f"docker://{registry.host}/untagged"]
    tags = subprocess.run(words, capture_output=True, text=True, check=False)
    assert tags.returncode != 0 or not json.loads(tags.stdout)["Tags"]
    done = tiffin("build", "-o", "type=image,oci-mediatypes=false,compression=zstd", folder, check=False)
    assert done.returncode == 2 and "oci-mediatypes=false has no type for zstd" in done.stderr


def test_layout_directory(tiffin: Run, context: Make, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /f\n")
    for _ in range(2):
        tiffin("build", "-t", "lay:1", "-o", f"type=oci,tar=false,dest={tmp_path / 'lay'}", folder)
    words = ["skopeo", "inspect", f"oci:{tmp_path / 'lay'}"]
    assert json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["Layers"]
    assert sorted(path.name for path in (tmp_path / "lay").iterdir()) == ["blobs", "index.json", "oci-layout"]
    done = tiffin("build", "-o", "type=oci,tar=false,dest=-", folder, check=False)
    assert done.returncode == 2 and "cannot go to stdout" in done.stderr


def test_flags_of_other_builders(tiffin: Run, context: Make, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /f\n")
    tiffin(
        "build",
        "--load",
        "--provenance=false",
        "--sbom=false",
        "-t",
        "loaded",
        "-o",
        f"type=tar,dest={tmp_path / 't'}",
        folder,
    )
    assert "loaded" in tiffin("images").stdout
    with tarfile.open(tmp_path / "t") as tar:
        assert tar.getnames() == ["f"]
    quiet = ["--rm", "--force-rm=true", "--pull=false", "--isolation=default", "--attest=type=provenance,disabled=true"]
    assert tiffin("build", *quiet, folder).stderr.count("warning:") == 0
    loud = ["--builder=b", "--compress"]
    reported = tiffin("build", *loud, folder).stderr
    for name in ("--builder", "--compress"):
        assert f"warning: {name} has no effect: " in reported


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--provenance=mode=most", 'mode "most" is unknown; use mode=min or mode=max'),
        ("--provenance=mode=min,version=v0.2", "provenance of version v0.2 is not made; use version=v1"),
        ("--attest=type=other", 'type "other" is unknown; use type=provenance|sbom'),
        ("--sign=notation", "signatures of notation are not supported"),
    ],
)
def test_what_is_not_there_is_refused_by_name(tiffin: Run, context: Make, flag: str, message: str) -> None:
    done = tiffin("build", flag, context("FROM scratch\n"), check=False)
    assert done.returncode == 2 and message in done.stderr and flag.partition("=")[0] in done.stderr


def test_cached_steps_serve_outputs_of_files(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    """What a RUN made exists unpacked only, until something asks for an image; another process has to reach it."""
    folder = context(f"FROM {base}\nRUN mkdir /d && chown 7:8 /d && echo made > /d/f\n")
    tiffin("build", "-o", f"type=local,dest={tmp_path}/one", folder)
    again = tiffin("build", "-o", f"type=tar,dest={tmp_path}/two.tar", folder)
    assert "CACHED" in again.stderr and "DONE" not in again.stderr
    with tarfile.open(tmp_path / "two.tar") as tar:
        assert (tar.getmember("d").uid, tar.getmember("d").gid) == (7, 8)
    tiffin("build", "-o", f"type=local,dest={tmp_path}/three", folder)
    assert (tmp_path / "one/d/f").read_text() == (tmp_path / "three/d/f").read_text() == "made\n"


def test_owner_of_a_copy_may_come_from_a_cached_run(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    text = f"FROM {base}\nRUN echo cook:x:77:78::/:/bin/sh >> /etc/passwd\nCOPY --chown=cook f /f\n"
    for content in ("one", "two"):
        tiffin("build", "-o", f"type=tar,dest={tmp_path}/out.tar", context(text, f=content))
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert (tar.getmember("f").uid, tar.getmember("f").gid) == (77, 78)


@pytest.mark.parametrize("kind", ["docker", "docker,compression=zstd", "docker,rewrite-timestamp=true"])
def test_docker_without_a_file_is_loaded(tiffin: Run, context: Make, kind: str) -> None:
    tiffin("build", "-q", "-o", f'type={kind},"name=loaded:1,loaded:2"', context("FROM scratch\nCOPY f /f\n", f="1"))
    assert sorted(tiffin("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()) == ["loaded:1", "loaded:2"]


@pytest.mark.parametrize(
    ("output", "member"),
    [("type=tar", "f"), ("type=oci", "index.json"), ("type=oci,name=x:1", "index.json"),
        ("type=oci,compression=none", "oci-layout")],
)  # fmt: skip
def test_archive_without_a_file_goes_to_stdout(root: Path, context: Make, output: str, member: str) -> None:
    folder = context("FROM scratch\nCOPY f /f\n", f="1")
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-o", output, str(folder)]
    done = subprocess.run(argv, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert member in archive.getnames()


@pytest.mark.parametrize("output", ["type=local", "type=oci,tar=false", "type=local,dest="])
def test_directory_needs_its_place(tiffin: Run, context: Make, output: str) -> None:
    done = tiffin("build", "-o", output, context("FROM scratch\nCOPY f /f\n", f="1"), check=False)
    assert done.returncode == 2 and "needs dest=PATH; add dest=DIRECTORY" in done.stderr


def test_registry_that_nobody_vouches_for(tiffin: Run, context: Make, tmp_path: Path) -> None:
    """registry.insecure=true of outputs and caches, and all else that buildx passes with them."""
    folder, place = context("FROM scratch\nCOPY f /f\n", f="1"), tmp_path / "registry"
    place.mkdir()
    with running_registry(place, certificate=make_certificate(place)) as server:
        name, cache = f"{server.host}/a/b", f"type=registry,ref={server.host}/a/cache"
        refused = tiffin("build", "-o", f"type=image,name={name},push=true", folder, check=False)
        assert refused.returncode == 1 and "not trusted" in refused.stderr
        more = "registry.insecure=true,image-manifest=true,oci-mediatypes=true,compression=zstd,ignore-error=true"
        output = f"type=image,name={name},push=true,registry.insecure=true,unpack=false,store=true"
        tiffin("build", "-o", output, "--cache-to", f"{cache},mode=max,{more}", folder)
        tiffin("system", "reset", "-f")
        again = tiffin("build", "--cache-from", f"{cache},registry.insecure=true", folder)
        assert "CACHED" in again.stderr
        lies = tiffin("build", "--cache-to", f"{cache},image-manifest=perhaps", folder, check=False)
        assert lies.returncode == 2 and "image-manifest=perhaps is wrong" in lies.stderr

"""Where a build comes from: stdin, archives, URLs, repositories, layouts, stages; and several platforms."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import platform
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.integration.test_build import listing
from tests.integration.test_copy_flags import Site, repository, served, site
from tests.support.servers import Registry
from tiffin.builder.oci.spec import Platform
from tiffin.builder.sandbox.binfmt import can_run

__all__ = ["repository", "served", "site"]  # fixtures
Make = Callable[..., Path]
FOREIGN = "arm64" if platform.machine() == "x86_64" else "amd64"


def archive_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False)
    return buffer.getvalue()


def piped(root: Path, data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", *words]
    return subprocess.run(argv, input=data, capture_output=True, timeout=100, check=False)


def unpacked(path: Path) -> set[str]:
    with tarfile.open(path) as tar:
        return set(tar.getnames())


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_archive_on_stdin(root: Path, context: Make, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    folder = context("FROM scratch\nCOPY . /x/\n", **{"a/b": "1", ".dockerignore": "a"})
    (folder / "link").symlink_to("/etc/passwd")
    done = piped(root, pack(archive_of(folder)), "-o", f"type=tar,dest={tmp_path / 'o'}", "-")
    assert done.returncode == 0, done.stderr
    # an ignore file in an archive does not count
    assert unpacked(tmp_path / "o") == {"x", "x/.dockerignore", "x/Dockerfile", "x/a", "x/a/b", "x/link"}


@pytest.mark.parametrize(("docker", "copied"), [(False, {"Containerfile", "b"}), (True, {"Dockerfile", "a"})])
def test_names_of_podman_serve_where_those_of_docker_are_not_there(
    root: Path, tiffin: Run, tmp_path: Path, docker: bool, copied: set[str]
) -> None:
    names = {"Containerfile": "FROM scratch\nCOPY . /\n", ".containerignore": "a\n.*\n", "a": "1", "b": "2"}
    if docker:
        names |= {"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "b\n.*\nContainerfile\n"}
    folder = tmp_path / "c"
    folder.mkdir()
    for name, text in names.items():
        (folder / name).write_text(text)
    tiffin("build", "-o", f"type=tar,dest={tmp_path / 'o'}", folder)
    assert unpacked(tmp_path / "o") == copied


def test_archive_on_stdin_with_another_dockerfile(root: Path, context: Make, tmp_path: Path) -> None:
    folder = context("FROM nowhere\n", **{"sub/My.file": "FROM scratch\nCOPY sub /y/\n"})
    done = piped(root, archive_of(folder), "-f", "sub/My.file", "-o", f"type=tar,dest={tmp_path / 'o'}", "-")
    assert done.returncode == 0 and unpacked(tmp_path / "o") == {"y", "y/My.file"}, done.stderr
    assert b"stdin has no none; add one to the archive" in piped(root, archive_of(folder), "-f", "none", "-").stderr


def test_dockerfile_on_stdin(root: Path, context: Make, tmp_path: Path) -> None:
    done = piped(root, b"FROM scratch\nLABEL a=b\n", "-")
    assert done.returncode == 0, done.stderr
    done = piped(root, b"FROM scratch\nCOPY a /\n", "-")
    assert done.returncode == 1 and b"no context to copy from" in done.stderr
    folder = context("FROM nowhere\n", a="1")
    done = piped(root, b"FROM scratch\nCOPY a /\n", "-f", "-", "-o", f"type=tar,dest={tmp_path / 'o'}", str(folder))
    assert done.returncode == 0 and unpacked(tmp_path / "o") == {"a"}, done.stderr
    assert piped(root, b"", "-f", "-", "-").returncode == 2
    assert b"-f x makes no sense" in piped(root, b"FROM scratch\n", "-f", "x", "-").stderr
    assert b"the Dockerfile cannot be empty" in piped(root, b"", "-").stderr


def test_url_contexts(tiffin: Run, context: Make, site: Site) -> None:
    folder = context("FROM scratch\nCOPY a /\nCOPY --from=more b /\n", a="1")
    site.files["c.tgz"] = gzip.compress(archive_of(folder))
    site.files["Dockerfile"] = b"FROM scratch\nCOPY a /two\n"
    site.files["more.tar"] = archive_of(context("", name="more", b="2"))
    more = ("--build-context", f"more={site.url('more.tar')}")
    archive = folder.parent / "o"
    tiffin("build", *more, "-o", f"type=tar,dest={archive}", site.url("c.tgz"))
    assert unpacked(archive) == {"a", "b"}
    tiffin("build", "-f", site.url("Dockerfile"), "-o", f"type=tar,dest={archive}", folder)
    assert unpacked(archive) == {"two"}
    done = tiffin("build", site.url("Dockerfile"), check=False)
    assert "no context to copy from" in done.stderr


def test_git_context(tiffin: Run, context: Make, served: str, repository: Path) -> None:
    (repository / "dir/Dockerfile").write_text("FROM scratch\nCOPY . /x/\nCOPY --from=code f /\n")
    settings = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    for words in (("add", "."), (*settings, "commit", "-qm", "d")):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    archive = context("", name="out") / "o"
    tiffin("build", "--build-context", f"code={served}#v1", "-o", f"type=tar,dest={archive}", f"{served}#main:dir")
    assert unpacked(archive) == {"x", "x/Dockerfile", "x/g", "f"}
    build = ("--build-context", f"code={served}#v1", "-f", "dir/Dockerfile", "-o", f"type=tar,dest={archive}")
    tiffin("build", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", *build, served)
    assert "x/.git/HEAD" in unpacked(archive)
    done = tiffin("build", f"{served}#main", check=False)
    assert done.returncode == 1 and "has no Dockerfile" in done.stderr


def test_stage_and_layout_as_named_contexts(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    tiffin("save", "-o", tmp_path / "base.tar", base)
    subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{tmp_path / 'base.tar'}", f"oci:{layout}:latest"], check=True)
    folder = context(
        "FROM scratch AS real\nCOPY Dockerfile /from-stage\nFROM lay AS l\nFROM scratch\n"
        "COPY --from=other /from-stage /\nCOPY --from=l /etc/passwd /\n"
    )
    words = ("--build-context", "other=target:real", "--build-context", f"lay=oci-layout://{layout}")
    assert set(listing(tiffin, *words, folder)) == {"from-stage", "passwd"}
    words = ("--build-context", "other=target:real", "--build-context", f"lay=oci-layout://{layout}:none")
    done = tiffin("build", *words, folder, check=False)
    assert done.returncode == 1 and 'has no single image "none"; it has' in done.stderr


def test_several_platforms(tiffin: Run, context: Make, registry: Registry, tmp_path: Path) -> None:
    folder = context(
        "FROM --platform=$BUILDPLATFORM scratch AS same\nCOPY Dockerfile /same\n"
        "FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY --from=same /same /\nCOPY only-$TARGETARCH /\n",
        **{"only-amd64": "1", "only-arm64": "2"},
    )
    name = f"{registry.host}/multi:1"
    done = tiffin("build", "--platform", "linux/amd64,linux/arm64", "-t", name, "--push",
                  "--iidfile", tmp_path / "id", "--metadata-file", tmp_path / "meta", folder)  # fmt: skip
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    index = json.loads(raw)
    assert [item["platform"]["architecture"] for item in index["manifests"]] == ["amd64", "arm64"]
    meta = json.loads((tmp_path / "meta").read_text())
    assert meta["containerimage.digest"] == (tmp_path / "id").read_text() == done.stdout.strip()
    assert meta["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.index.v1+json"
    for arch in ("amd64", "arm64"):
        words = ["skopeo", "--override-arch", arch, "inspect", "--config", "--tls-verify=false", f"docker://{name}"]
        config = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert config["architecture"] == arch and f"ARCH={arch}" in config["config"]["Env"]
    # the local name stands for this machine's image, and pushes as the whole
    own = Platform.local().architecture
    assert json.loads(tiffin("inspect", name).stdout)[0]["Architecture"] == own
    tiffin("tag", name, f"{registry.host}/multi:2")
    tiffin("push", f"{registry.host}/multi:2")
    again = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/multi:2"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert again == raw
    tiffin("system", "prune", "-f")
    tiffin("push", f"{registry.host}/multi:2")
    tiffin("rmi", name)


def test_index_of_one_platform(tiffin: Run, context: Make, tmp_path: Path) -> None:
    folder = context("FROM scratch\n")
    words = ("--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "--metadata-file", tmp_path / "meta", "--progress", "rawjson")
    tiffin("build", *words, folder)
    meta = json.loads((tmp_path / "meta").read_text())
    assert meta["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert tiffin("build", "--progress", "none", folder).stderr == ""


def test_outputs_of_several_platforms(tiffin: Run, context: Make, tmp_path: Path) -> None:
    folder = context("FROM scratch\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\nCOPY Dockerfile /d/f\n")
    both = ("--platform", "linux/amd64", "--platform", "linux/arm/v7")
    tiffin("build", *both, "-o", f"type=tar,dest={tmp_path / 'o.tar'}", "-o", f"type=local,dest={tmp_path / 'o'}",
           "-o", f"type=oci,dest={tmp_path / 'oci.tar'}", "-t", "two", folder)  # fmt: skip
    assert unpacked(tmp_path / "o.tar") == {
        f"{p}{s}" for p in ("linux_amd64", "linux_arm_v7") for s in ("", "/d", "/d/f")
    }
    assert (tmp_path / "o/linux_arm_v7/d/f").exists()
    words = [
        "skopeo",
        "--override-arch",
        "arm",
        "--override-variant",
        "v7",
        "inspect",
        "--config",
        f"oci-archive:{tmp_path / 'oci.tar'}",
    ]
    config = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert config["config"]["Labels"] == {"p": "linux/arm/v7"}
    done = tiffin("build", *both, "-o", f"type=docker,dest={tmp_path / 'd'}", folder, check=False)
    assert done.returncode == 2 and "a docker archive holds one platform" in done.stderr


@pytest.mark.skipif(can_run(FOREIGN), reason="this machine has an interpreter")
@pytest.mark.userns
def test_run_for_a_platform_without_interpreter(tiffin: Run, base: str, context: Make) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /\nRUN true\n")
    done = tiffin("build", "--platform", FOREIGN, folder, check=False)
    assert done.returncode == 1
    assert f"this machine cannot run programs for linux/{FOREIGN}; register an interpreter" in done.stderr


def test_binfmt_registrations(tmp_path: Path) -> None:
    text = (
        "enabled\ninterpreter /usr/bin/qemu-riscv64-static\nflags: {}\noffset 0\n"
        "magic 7f454c460201010000000000000000000200f300\nmask ff\n"
    )
    (tmp_path / "qemu-riscv64").write_text(text.format("OC"))
    assert not can_run("riscv64", str(tmp_path))
    (tmp_path / "qemu-riscv64").write_text(text.format("POCF"))
    assert (
        can_run("riscv64", str(tmp_path))
        and not can_run("s390x", str(tmp_path))
        and not can_run("riscv64", str(tmp_path / "none"))
    )
    (tmp_path / "qemu-riscv64").write_text("garbage")
    assert not can_run("riscv64", str(tmp_path))

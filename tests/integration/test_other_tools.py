"""What tiffin makes is read by docker, podman, skopeo and umoci; what they make is read by tiffin."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conformance.oracles import running_buildkit
from tests.conftest import Run
from tests.support.servers import Registry
from tests.support.unprivileged import remove_folder
from tiffin.builder.oci.spec import OCI_INDEX, Platform
from tiffin.cache.foundation.digest import Digest

pytestmark = [
    pytest.mark.userns,
    pytest.mark.network,
    pytest.mark.xdist_group("other-tools"),
]
CAP_NET_RAW_V2 = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
MTIME = 1_234_567_890  # layers have whole seconds
# path: (type, uid, gid, mode); /own/g is a second name of /own/f
EXPECTED = {
    "own/d": (tarfile.DIRTYPE, 33, 33, 0o2775),
    "own/f": (tarfile.REGTYPE, 0, 0, 0o4755),
    "own/cap": (tarfile.REGTYPE, 5, 6, 0o755),
    "own/p": (tarfile.FIFOTYPE, 0, 0, 0o644),
    "own/l": (tarfile.SYMTYPE, 7, 8, 0o777),
}


def sh(*words: str | Path, **options: object) -> str:
    """Run a tool; its output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=120, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, (words, done.stderr.decode()[-2000:])
    return done.stdout.decode()  # type: ignore[no-any-return]


def special_files() -> bytes:
    """A tar with what is easily lost on the way."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (kind, uid, gid, mode) in EXPECTED.items():
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid, member.mode = kind, uid, gid, mode
            member.pax_headers = {"mtime": f"{MTIME}.123456789"}
            if kind == tarfile.SYMTYPE:
                member.linkname = "f"
            if name == "own/cap":
                text = CAP_NET_RAW_V2.decode("utf-8", "surrogateescape")
                member.pax_headers["SCHILY.xattr.security.capability"] = text
            data = b"content\n" if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("own/g")
        link.type, link.linkname, link.mode = (
            tarfile.LNKTYPE,
            "own/f",
            EXPECTED["own/f"][3],
        )  # it sets its file's, as BuildKit has it
        link.mtime = MTIME
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def pushed(tiffin: Run, base: str, context: Callable[..., Path], registry: Registry) -> str:
    """An image with special files in the registry: made in one stage, through RUN, copied into another."""
    folder = context(
        f"FROM {base} AS a\nADD own.tar /\nRUN true\nFROM {base}\nCOPY --from=a /own /own\nRUN echo made > /made\n"
        'CMD ["cat", "/made"]\n',
        **{"own.tar": special_files()},
    )
    name = f"{registry.host}/own:1"
    tiffin("build", "--push", "-t", name, folder)
    return name


def check_tar(data: bytes) -> None:
    """Owners, modes, links, capability and time in a tar of the root file system."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name.removeprefix("./"): member for member in tar}
    for name, (kind, uid, gid, mode) in EXPECTED.items():
        member = members[name]
        actual = tarfile.REGTYPE if member.type == tarfile.LNKTYPE else member.type
        assert (actual, member.uid, member.gid, member.mode & 0o7777) == (kind, uid, gid, mode), name
    names = {members["own/f"].name, members["own/f"].linkname, members["own/g"].name, members["own/g"].linkname}
    assert {"own/f", "own/g"} <= {name.removeprefix("./") for name in names}
    assert members["own/f"].mtime == MTIME
    capability = members["own/cap"].pax_headers["SCHILY.xattr.security.capability"]
    assert capability.encode("utf-8", "surrogateescape") == CAP_NET_RAW_V2


def check_directory(root: Path) -> None:
    """The same in an unpacked root."""
    for name, (_, uid, gid, mode) in EXPECTED.items():
        st = os.lstat(root / name)
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (uid, gid, mode), name
        assert st.st_mtime_ns == MTIME * 10**9, name
    assert os.stat(root / "own/f").st_ino == os.stat(root / "own/g").st_ino
    assert os.getxattr(root / "own/cap", "security.capability") == CAP_NET_RAW_V2


@pytest.mark.attack("T36")
def test_skopeo_and_umoci(pushed: str, tmp_path: Path) -> None:
    document = json.loads(sh("skopeo", "inspect", "--tls-verify=false", f"docker://{pushed}"))
    assert document["Architecture"] == Platform.local().architecture and len(document["Layers"]) == 3
    sh("skopeo", "copy", "--src-tls-verify=false", f"docker://{pushed}", f"oci:{tmp_path}/oci:x")
    if os.getuid() != 0:
        pytest.skip("only root unpacks owners with umoci; skopeo read the image")
    sh("umoci", "unpack", "--image", f"{tmp_path}/oci:x", f"{tmp_path}/bundle")
    check_directory(tmp_path / "bundle/rootfs")


def test_store_is_a_layout_that_skopeo_reads(tiffin: Run, root: Path, pushed: str, tmp_path: Path) -> None:
    sh("skopeo", "copy", f"oci:{root}/images:{pushed}", f"dir:{tmp_path}/dir")
    digest = json.loads(tiffin("inspect", pushed).stdout)[0]["Descriptor"]["digest"]
    assert Digest.of((tmp_path / "dir/manifest.json").read_bytes()) == Digest.parse(digest)


def test_podman(pushed: str, tmp_path: Path) -> None:
    place = tempfile.mkdtemp(prefix="tpod-")  # podman wants a short path
    podman = ["podman", "--root", f"{place}/p", "--runroot", f"{place}/r", "--runtime", "runc"]
    podman += ["--cgroup-manager", "cgroupfs"]
    try:
        out = sh(
            *podman,
            "run",
            "--name=probe",
            "--tls-verify=false",
            "--network=host",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
            pushed,
        )
        assert out == "made\n"
        sh(*podman, "export", "-o", f"{tmp_path}/export.tar", "probe")
        check_tar((tmp_path / "export.tar").read_bytes())
    finally:
        subprocess.run([*podman, "rm", "-af"], capture_output=True, check=False)
        subprocess.run([*podman, "system", "migrate"], capture_output=True, check=False)  # a user's keeps a process
        subprocess.run(["umount", "-R", f"{place}/p/overlay"], capture_output=True, check=False)
        remove_folder(Path(place))


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Debian's docker with a daemon of its own."""
    if os.getuid() != 0:
        pytest.skip("docker's daemon takes root")
    folder = tmp_path_factory.mktemp("docker")
    with running_buildkit(folder) as daemon:
        yield list(daemon.docker)


def test_docker_reads_what_we_push_and_save(docker: Sequence[str], tiffin: Run, pushed: str, tmp_path: Path) -> None:
    assert sh(*docker, "run", "--network=host", "--name=probe", pushed) == "made\n"
    sh(*docker, "export", "-o", f"{tmp_path}/export.tar", "probe")
    check_tar((tmp_path / "export.tar").read_bytes())
    sh(*docker, "rm", "probe")
    sh(*docker, "rmi", pushed)
    tiffin("save", pushed, "-o", tmp_path / "saved.tar")
    assert pushed in sh(*docker, "load", "-i", tmp_path / "saved.tar")
    assert sh(*docker, "run", "--rm", "--network=host", pushed) == "made\n"
    (tmp_path / "again").mkdir()
    (tmp_path / "again/Dockerfile").write_text(f"FROM {pushed}\n")
    tiffin("build", "-t", "again:1", "-o", f"type=oci,dest={tmp_path}/oci.tar", tmp_path / "again")
    assert "again:1" in sh(*docker, "load", "-i", tmp_path / "oci.tar")
    assert sh(*docker, "run", "--rm", "--network=host", "again:1") == "made\n"


def test_we_read_what_docker_pushes_and_saves(
    docker: Sequence[str], tiffin: Run, root: Path, pushed: str, registry: Registry, tmp_path: Path
) -> None:
    sh(*docker, "pull", pushed)
    name = f"{registry.host}/from-docker:1"
    sh(*docker, "tag", pushed, name)
    sh(*docker, "push", name)
    sh(*docker, "save", "-o", tmp_path / "saved.tar", name)
    tiffin("system", "reset", "-f")
    tiffin("pull", name)  # schema 2
    assert tiffin("run", "--rm", name).stdout == "made\n"
    tiffin("system", "reset", "-f")
    assert "Loaded image" in tiffin("load", "-i", tmp_path / "saved.tar").stdout
    out = tmp_path / "out.tar"
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {name}\n")
    tiffin("build", "-o", f"type=tar,dest={out}", folder)
    check_tar(out.read_bytes())


def test_we_read_what_skopeo_and_buildah_make(tiffin: Run, pushed: str, registry: Registry, tmp_path: Path) -> None:
    flags = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    zstd, schema2 = f"{registry.host}/zstd:1", f"{registry.host}/schema2:1"
    sh("skopeo", "copy", *flags, "--dest-compress-format=zstd", f"docker://{pushed}", f"dir:{tmp_path}/zstd")
    sh("skopeo", "copy", *flags, f"dir:{tmp_path}/zstd", f"docker://{zstd}")
    sh("skopeo", "copy", *flags, "--format=v2s2", f"docker://{pushed}", f"docker://{schema2}")
    buildah = ["buildah", "--root", f"{tmp_path}/b", "--runroot", f"{tmp_path}/r", "--storage-driver", "vfs"]
    container = sh(*buildah, "from", "--tls-verify=false", pushed).strip()
    (tmp_path / "new").write_text("new\n")
    sh(*buildah, "copy", container, tmp_path / "new", "/made")
    sh(*buildah, "commit", container, f"oci-archive:{tmp_path}/b.tar:{registry.host}/buildah:1")
    sh(*buildah, "rm", container)
    tiffin("system", "reset", "-f")
    for name in (zstd, schema2):
        tiffin("pull", name)
        assert tiffin("run", "--rm", name).stdout == "made\n"
    assert "buildah" in tiffin("load", "-i", tmp_path / "b.tar").stdout
    assert tiffin("run", "--rm", f"{registry.host}/buildah:1").stdout == "new\n"


def test_index_is_resolved_by_platform(
    tiffin: Run, pushed: str, registry: Registry, context: Callable[..., Path]
) -> None:
    local = json.loads(tiffin("inspect", pushed).stdout)[0]["Descriptor"]
    other = {"os": "linux", "architecture": "s390x"}
    platform = Platform.local().to_json()

    def put(tag: str, manifests: list[dict[str, object]]) -> None:
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
        url = f"http://{registry.host}/v2/own/manifests/{tag}"
        request = urllib.request.Request(url, data, {"Content-Type": OCI_INDEX}, method="PUT")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5).close()

    put("both", [{**local, "platform": other}, {**local, "platform": platform}])
    put("foreign", [{**local, "platform": other}])
    tiffin("system", "reset", "-f")
    tiffin("build", context(f"FROM {registry.host}/own:both\nRUN test -e /made\n"))
    done = tiffin("pull", f"{registry.host}/own:foreign", check=False)
    assert done.returncode == 1 and "no image for" in done.stderr and "linux/s390x" in done.stderr
    # an image that is not an index is for one platform, whatever was asked for: docker warns and refuses to run it
    done = tiffin("pull", "--platform", "s390x", pushed)
    assert f"is for {Platform.local()}, not for linux/s390x" in done.stderr
    done = tiffin("run", "--rm", "--platform", "s390x", pushed, check=False)
    assert done.returncode == 125 and "not for linux/s390x" in done.stderr

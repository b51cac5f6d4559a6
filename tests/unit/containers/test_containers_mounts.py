"""-v, --mount and --tmpfs become values as Docker reads them; what is not done is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.containers.mounts import (
    ImageMount,
    Mount,
    VolumeMount,
    ordered,
    parse_mount,
    parse_size,
    parse_tmpfs,
    parse_volume,
)
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child.spec import Bind, Tmpfs
from tiffin.cache.foundation.frozen import replace


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/a:/b", Bind(host_path="/a", path="/b")),
        ("/a:/b:ro", Bind(host_path="/a", path="/b", read_only=True)),
        ("/a:/b:rw,z", Bind(host_path="/a", path="/b")),
        ("/a:/b:Z,ro", Bind(host_path="/a", path="/b", read_only=True)),
        ("./a:/b/../c/", Bind(host_path="/here/a", path="/c")),
        ("..:/b", Bind(host_path="/", path="/b")),
        (".:/b", Bind(host_path="/here", path="/b")),
        ("/a:/b:ro,rslave", Bind(host_path="/a", path="/b", read_only=True, propagates=True)),
        ("/a:/b:slave", Bind(host_path="/a", path="/b", propagates=True)),
        ("/a:/b:private", Bind(host_path="/a", path="/b")),
        ("data:/b", VolumeMount(name="data", path="/b")),
        ("data:/b:rprivate", VolumeMount(name="data", path="/b")),
        ("data:/b:ro", VolumeMount(name="data", path="/b", read_only=True)),
        ("data:/b:ro,nocopy", VolumeMount(name="data", path="/b", read_only=True, copies=False)),
        ("/b", VolumeMount(name="", path="/b")),
        ("/a://b", Bind(host_path="/a", path="/b")),
    ],
)
def test_volume_option(text: str, wanted: Mount) -> None:
    assert parse_volume(text, directory="/here") == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not HOST:PATH"),
        ("/a:", "not HOST:PATH"),
        ("/a:/b:ro:x", "not HOST:PATH"),
        ("/a:b", "not an absolute path"),
        ("/a:/", "nothing can be mounted"),
        ("/a:/x/..", "nothing can be mounted"),
        ("/a:/proc/sys", "nothing can be mounted"),
        ("/a:/b:shared", "shared is not supported"),
        ("/a:/b:rslave,rprivate", "rslave and rprivate exclude each other"),
        ("data:/b:rslave", "a named volume has no mounts below it"),
        ("/a:/b:U", '"U" is not supported'),
        ("a/b:/c", "neither a path nor a volume name"),
        ("-x:/c", "neither a path nor a volume name"),
    ],
)
def test_bad_volume_option_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        parse_volume(text, directory="/here")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("type=bind,source=/etc,target=/b", Bind(host_path="/etc", path="/b")),
        ("type=bind,src=/etc,dst=/b,readonly", Bind(host_path="/etc", path="/b", read_only=True)),
        ("type=bind,src=/etc,destination=/b,ro=true", Bind(host_path="/etc", path="/b", read_only=True)),
        ("type=bind,src=/etc,dst=/b,readonly=false", Bind(host_path="/etc", path="/b")),
        ("type=bind,src=/etc,dst=/b,bind-propagation=rprivate", Bind(host_path="/etc", path="/b")),
        ("type=bind,src=/etc,dst=/b,bind-propagation=rslave", Bind(host_path="/etc", path="/b", propagates=True)),
        ('type=bind,"source=/etc",target=/b', Bind(host_path="/etc", path="/b")),
        ("type=tmpfs,target=/b", Tmpfs(path="/b", executes=False)),
        (
            "type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=700",
            Tmpfs(path="/b", size_bytes=1 << 20, mode=0o700, executes=False),
        ),
        ("type=volume,source=data,target=/b", VolumeMount(name="data", path="/b")),
        ("source=data,target=/b,ro", VolumeMount(name="data", path="/b", read_only=True)),
        ("type=volume,target=/b", VolumeMount(name="", path="/b")),
        ("src=data,dst=/b,volume-nocopy", VolumeMount(name="data", path="/b", copies=False)),
        ("src=data,dst=/b,volume-nocopy=false", VolumeMount(name="data", path="/b")),
    ],
)
def test_mount_option(text: str, wanted: Mount) -> None:
    assert parse_mount(text, directory="/") == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=npipe,target=/b", '"npipe" is not supported'),
        ("type=bind,target=/b", "names no source"),
        ("type=bind,source=/no/such,target=/b", "does not exist"),
        ("type=bind,source=/etc", "not an absolute path"),
        ("type=bind,source=/etc,target=/b,bind-propagation=rshared", "rshared is not supported"),
        ("type=bind,source=/etc,target=/b,bind-propagation=up", 'unknown bind-propagation "up"'),
        ("type=bind,source=/etc,target=/b,wrong=1", '"wrong" is not supported'),
        ("type=bind,source=/etc,src=/usr,target=/b", "are the same"),
        ("type=bind,source=/etc,target=/b,target=/c", "given twice"),
        ("type=bind,source=/etc,target=/b,ro=maybe", "neither true nor false"),
        ("type=tmpfs,source=/etc,target=/b", "no source"),
        ("type=tmpfs,target=/b,tmpfs-size=x", "not a valid size"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "not an octal mode"),
        ("type=volume,target=/b,volume-driver=x", "no driver of volumes but local"),
    ],
)
def test_bad_mount_option_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_mount(text, directory="/")


def test_tmpfs_option() -> None:
    assert parse_tmpfs("/t") == Tmpfs(path="/t", size_bytes=0, mode=0o1777, executes=False)
    assert parse_tmpfs("/t:rw,size=64k,mode=755,nosuid") == Tmpfs(
        path="/t", size_bytes=64 << 10, mode=0o755, executes=False
    )
    for option in ("dev", "suid", "uid=x", "huge=always"):  # not done, so not accepted
        with pytest.raises(UsageError, match=option):
            parse_tmpfs(f"/t:{option}")


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("17", 17), ("2k", 2048), ("3M", 3 << 20), ("1gb", 1 << 30)])
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_parents_are_mounted_before_what_lies_below() -> None:
    inner, outer = Tmpfs(path="/a/b/c"), Tmpfs(path="/a")
    assert ordered([inner, outer]) == (outer, inner)


def test_two_mounts_on_one_path_are_refused() -> None:
    with pytest.raises(UsageError, match="two mounts want /a"):
        ordered([Tmpfs(path="/a"), Bind(host_path="/etc", path="/a")])


def test_mount_option_is_relative_to_the_directory_given(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert parse_mount("type=bind,src=x,dst=/b", directory=str(tmp_path)) == Bind(
        host_path=str(tmp_path / "x"), path="/b"
    )


def test_images_are_mounted_as_docker_and_podman_write_it() -> None:
    image = ImageMount(image="tools:1", path="/tools", subpath="usr/bin")
    assert parse_mount("type=image,source=tools:1,target=/tools,image-subpath=usr/bin", directory="/") == image
    written = replace(image, read_only=False)
    assert parse_mount("type=image,src=tools:1,dst=/tools,subpath=/usr/bin,rw=true", directory="/") == written
    assert parse_mount("type=image,src=a,dst=/b,readonly", directory="/") == ImageMount(image="a", path="/b")


def test_keys_of_docker_28_are_read() -> None:
    mount = parse_mount(
        "type=volume,src=vol,dst=/d,volume-subpath=a/b,volume-driver=local,volume-label=x", directory="/"
    )
    assert mount == VolumeMount(name="vol", path="/d", subpath="a/b")
    assert parse_mount("type=tmpfs,dst=/t,readonly", directory="/") == Tmpfs(path="/t", read_only=True, executes=False)
    assert parse_mount("type=bind,src=/usr,dst=/u,bind-recursive=writable", directory="/").path == "/u"
    assert parse_tmpfs("/t:exec,uid=5,gid=6,ro") == Tmpfs(path="/t", uid=5, gid=6, read_only=True)
    for text, reason in (
        ("type=volume,src=vol,dst=/d,volume-subpath=../x", "leads out of the volume"),
        ("type=volume,src=vol,dst=/d,volume-driver=nfs", "no driver of volumes but local"),
        ("type=bind,src=/usr,dst=/u,bind-recursive=disabled", "comes with it"),
        ("type=cluster,src=i,dst=/u", 'type "cluster" is not supported'),
        ("type=image,dst=/u", "names no image"),
        ("type=image,src=i,dst=/u,image-subpath=a/../../b", "leads out of the image"),
        ("type=image,src=i,dst=/u,readonly,rw", "exclude each other"),
        ("type=image,src=i,dst=/u,readwrite,rw", "readwrite and rw are the same"),
    ):
        with pytest.raises(UsageError, match=reason):
            parse_mount(text, directory="/")

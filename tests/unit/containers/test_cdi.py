"""The Container Device Interface: which file describes a device, what it adds, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiffin.builder.containers.confinement.asked import Device
from tiffin.builder.containers.confinement.cdi import (
    AUTO_ALLOW,
    CLASS,
    device_names,
    directories_of,
    edits_of,
    matching,
)
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child.spec import Bind, Tmpfs

YAML = """\
cdiVersion: 0.6.0
kind: vendor.com/net
devices:
- name: one
  containerEdits:
    env: [A=1, B=x=y]
    deviceNodes:
    - {path: /dev/x, hostPath: /dev/null, permissions: rw}
    mounts:
    - {hostPath: /usr, containerPath: /opt/usr, options: [ro, rbind, rslave]}
    - {hostPath: tmpfs, containerPath: /opt/empty, type: tmpfs}
    additionalGids: [0, 44]
- name: two
containerEdits:
  env: [COMMON=1]
"""


def write(folder: Path, name: str, document: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


def specification(**changes: object) -> dict[str, object]:
    return {"cdiVersion": "1.0.0", "kind": "vendor.com/net", "devices": [{"name": "one"}], **changes}


def test_variables_nodes_and_mounts_come_from_the_file(tmp_path: Path) -> None:
    folders = [str(write(tmp_path / "etc", "v.yaml", YAML)), str(tmp_path / "nothing")]
    edits = edits_of(["vendor.com/net=one", "vendor.com/net=two", "vendor.com/net=one"], folders)
    assert edits.variables == (("COMMON", "1"), ("A", "1"), ("B", "x=y"))
    assert edits.devices == (Device(host_path="/dev/null", path="/dev/x", access="rw"),)
    assert edits.mounts == (
        Bind(host_path="/usr", path="/opt/usr", read_only=True, propagates=True), Tmpfs(path="/opt/empty"),
    )  # fmt: skip
    assert edits.groups == (44,)
    assert device_names(folders) == ["vendor.com/net=one", "vendor.com/net=two"]


def test_the_later_directory_goes_before(tmp_path: Path) -> None:
    edits = {"env": ["FROM=run"]}
    folders = [
        str(write(tmp_path / "etc", "v.yaml", YAML)),
        str(write(tmp_path / "run", "v.json", specification(containerEdits=edits))),
    ]
    assert edits_of(["vendor.com/net=one"], folders).variables == (("FROM", "run"),)
    assert edits_of(["vendor.com/net=two"], folders).variables == (("COMMON", "1"),)


def test_two_files_of_one_directory_contradict_each_other(tmp_path: Path) -> None:
    folder = write(tmp_path / "etc", "a.json", specification())
    write(folder, "b.json", specification())
    with pytest.raises(UsageError, match=r"a\.json and .*b\.json both describe it"):
        edits_of(["vendor.com/net=one"], [str(folder)])


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (specification(containerEdits={"hooks": [{"path": "/usr/bin/h"}]}), r"wants hooks \(/usr/bin/h\)"),
        (specification(containerEdits={"intelRdt": {"closID": "x"}}), "wants Intel RDT"),
        (specification(containerEdits={"env": ["nothing"]}), "is not NAME=VALUE"),
        (specification(containerEdits={"deviceNodes": [{"path": "/dev/nosuch"}]}), "/dev/nosuch: No such file"),
        (specification(cdiVersion="9.0.0"), r"no file in .* describes it \(.*version 9.0.0 is not known\)"),
        (specification(kind="gpu"), '"gpu" is not vendor.com/class'),
        (specification(devices=[{"name": "one"}, {"name": "one"}]), "device one is there twice"),
        (specification(devices=[{"name": "other"}]), "choose among vendor.com/net=other"),
        ("{", "describes it"),
        ([], "describes it"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(document: object, text: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "etc", "v.json", document)
    with pytest.raises(UsageError) as caught:
        edits_of(["vendor.com/net=one"], [str(folder)])
    assert __import__("re").search(text, f"{caught.value}"), caught.value


def test_names_of_a_dockerfile_mean_one_the_first_all_or_a_class(tmp_path: Path) -> None:
    devices = [{"name": "b", "annotations": {CLASS: "fast"}}, {"name": "a"}, {"name": "c", "annotations": {CLASS: "x"}}]
    folder = write(tmp_path / "etc", "v.json", specification(devices=devices, annotations={AUTO_ALLOW: "true"}))
    write(folder, "other.json", specification(kind="vendor.com/other", devices=[{"name": "fast"}]))
    found = {
        name: list(matching(f"vendor.com/{name}", [str(folder)]))
        for name in ("net", "net=*", "net=c", "net=fast", "net=none", "other", "nothing=*")
    }
    assert found == {
        "net": ["vendor.com/net=a"],
        "net=*": ["vendor.com/net=a", "vendor.com/net=b", "vendor.com/net=c"],
        "net=c": ["vendor.com/net=c"],
        "net=fast": ["vendor.com/net=b"],
        "net=none": [],
        "other": ["vendor.com/other=fast"],
        "nothing=*": [],
    }
    assert matching("vendor.com/net=a", [str(folder)]) == {"vendor.com/net=a": True}
    assert matching("vendor.com/other", [str(folder)]) == {"vendor.com/other=fast": False}


def test_a_variable_names_other_directories() -> None:
    assert directories_of({"TIFFIN_CDI_SPEC_DIRS": "/a:/b"}) == ["/a", "/b"]
    assert list(directories_of({})) == ["/etc/cdi", "/var/run/cdi"]

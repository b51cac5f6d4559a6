"""What programs read of `docker info`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.minimal_image import write_image
from tests.support.tiers import RANGE
from tiffin.builder.api.machine import Machine
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output import docker_info
from tiffin.builder.sandbox.isolation import Isolation, TierReport


def test_members_that_programs_read(tmp_path: Path) -> None:
    session = Session(tmp_path / "state")
    write_image(session.state.root, {"a": "A"}, name="docker.io/library/app:1")
    report = TierReport(tier=RANGE, isolation=Isolation(tier=RANGE, overlay=True))
    found = docker_info.docker_info(session, Machine(reports=[report], chosen="range", advice=[], has_cgroups=True))
    assert (found["Images"], found["Containers"], found["Driver"], found["CgroupDriver"]) == (
        1,
        0,
        "overlay2",
        "cgroupfs",
    )
    assert found["OSType"] == "linux" and found["DockerRootDir"] == str(tmp_path / "state")
    assert json.loads(json.dumps(found)) == found
    nothing = docker_info.docker_info(session, Machine(reports=[], chosen="range", advice=[], has_cgroups=False))
    assert (nothing["Driver"], nothing["CgroupDriver"]) == ("vfs", "none")


@pytest.mark.parametrize(
    ("text", "name"), [('ID=x\nPRETTY_NAME="X Linux 1"\n', "X Linux 1"), ("PRETTY_NAME=Y\n", "Y"), ("ID=z\n", "Linux")]
)
def test_the_system_says_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(docker_info, "OS_RELEASE", ("/missing/os-release", str(tmp_path / "os-release")))
    assert docker_info._operating_system() == name

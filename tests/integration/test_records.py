"""Builds whose steps have one way out: limited, recorded, and built again from the record alone."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.cli_runner import CliRunner
from tests.support.serving import serving_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
Make = Callable[..., Path]
EPOCH = "--build-arg=SOURCE_DATE_EPOCH=1"


def test_a_record_is_built_again_without_a_network(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "page").write_text("first\n")
    (site / "added").write_text("added\n")
    record, archive = tmp_path / "record", tmp_path / "image.tar"
    with serving_folder(site) as address:
        folder = context(
            f"FROM {base}\nADD {address}/added /added\nRUN wget -q -O /page {address}/page && test -f $SSL_CERT_FILE\n"
            f"RUN env > /tmp/env; rm /tmp/env\n"
        )
        first = tiffin("build", "-q", EPOCH, "--record", record, folder).stdout
        again = tiffin("build", "--record", record, folder, check=False)
        assert again.returncode == 2 and "there is a record already" in again.stderr
        (site / "page").write_text("second\n")
        replay = ("--root", tmp_path / "empty", "build", "-q", EPOCH, "--replay", record)
        assert tiffin(*replay, folder).stdout == first, "what is on the server now does not count"
    assert tiffin(*replay, "--no-cache", "-o", f"type=oci,dest={archive}", folder).returncode == 0
    with tarfile.open(archive) as stream:
        texts = b"".join(stream.extractfile(member).read() for member in stream if member.isfile())  # type: ignore[union-attr]
    for word in (b"43128", b"dev/tiffin", b"BEGIN CERTIFICATE", b"_proxy"):
        assert word not in texts
    assert {path.name for path in record.iterdir()} == {"record.json", "Dockerfile.lock", "blobs"}
    other = context((folder / "Dockerfile").read_text() + "RUN wget -q http://127.0.0.1:1/other\n")
    failed = tiffin(*replay, other, check=False)
    assert failed.returncode == 1 and "not in the record: GET http://127.0.0.1:1/other" in failed.stderr


def test_steps_have_no_other_way_out(cli: CliRunner, tmp_path: Path) -> None:
    """As whoever runs the tests, and as an unprivileged user."""
    folder = cli.folder / "egress"
    folder.mkdir(exist_ok=True)
    site = tmp_path / "site"
    site.mkdir()
    (site / "page").write_text("first\n")
    with serving_folder(site) as address:
        place = address.removeprefix("http://")
        (folder / "Dockerfile").write_text(
            f"FROM minimal\nRUN wget -q -O - {address}/page && ! http_proxy= wget -q -O - {address}/page\n"
        )
        done = cli.run("build", "--no-cache", "--progress=plain", "--egress", f"allow={place}", folder)
        assert f"steps connected to {place}" in done.stderr and "first" in done.stderr
        meta = cli.folder / "meta.json"  # the folder is root's
        done = cli.run("build", "--no-cache", "--egress=allow=other.example", "--metadata-file", meta, folder)
        assert done.returncode == 1 and f"--egress refused {place}" in done.stderr
        done = cli.run("build", "--no-cache", "--egress=list", "--metadata-file", meta, "--provenance=true", folder)
        provenance = json.loads(meta.read_text())["buildx.build.provenance"]
        assert provenance["buildDefinition"]["internalParameters"]["egress"] == [place]


def test_a_tier_without_networks_is_refused(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nRUN true\n")
    done = tiffin("build", "--isolation=chroot", "--egress=deny", folder, check=False)
    reason = "which isolation chroot lacks" if os.getuid() == 0 else "is not root"
    assert done.returncode == 1 and reason in done.stderr

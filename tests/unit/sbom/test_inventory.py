"""The software of whole images: what layers hide, what they bring, and where that comes from."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sink import RecordingSink
from tests.support import software_files as software
from tests.support.minimal_image import Files, write_image
from tiffin.builder.api.sbom.listing import Bill, SbomOptions, compare, list_software
from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import no_remote
from tiffin.builder.cli.output.software.packages import changes_text, lines_text, table_text
from tiffin.builder.events import WarningMessage
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.oci.spec import OCI_LAYER, OCI_LAYER_GZIP
from tiffin.builder.sbom.differences import differences
from tiffin.builder.sbom.facts import SCHEMA
from tiffin.builder.sbom.reading import LayerReader
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef

SITE = "usr/lib/python3/dist-packages/PyYAML-6.0.dist-info"
OPTIONS = SbomOptions(registry=RegistryAccess())
BASE: Files = {
    "etc/os-release": "-> ../usr/lib/os-release",
    "usr/lib/os-release": software.OS_RELEASE,
    "var/lib/dpkg/status": software.status_paragraph("libc6", "2.36-9") + software.status_paragraph("curl", "7.88"),
    "usr/share/doc/libc6/copyright": software.COPYRIGHT,
    f"{SITE}/METADATA": software.METADATA,
    "var/lib/dpkg/info/python3-yaml.list": f"/{SITE}/METADATA\n",
    "app/node_modules/left/package.json": '{"name": "left", "version": "1.0.0"}',
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path / "state")
    yield session
    session.table.close()


def listed(session: Session, *layers: Files, name: str = "app:1") -> Bill:
    write_image(session.state.root, *layers, name=f"docker.io/library/{name}")
    return list_software(name, OPTIONS, session, RecordingSink())


def found(bill: Bill) -> dict[str, tuple[str, int]]:
    return {item.package.name: (item.package.version, item.layer) for item in bill.inventory.components}


def test_a_package_that_an_upper_layer_upgrades_is_there_once(session: Session) -> None:
    upper = software.status_paragraph("libc6", "2.36-9") + software.status_paragraph("curl", "8.0")
    bill = listed(session, BASE, {"var/lib/dpkg/status": upper})
    assert found(bill)["libc6"] == ("2.36-9", 0)
    assert found(bill)["curl"] == ("8.0", 1)


def test_what_an_upper_layer_removes_is_gone(session: Session) -> None:
    upper: Files = {
        "var/lib/dpkg/status": software.status_paragraph("libc6", "2.36-9"),
        "usr/lib/python3/dist-packages/.wh.PyYAML-6.0.dist-info": b"",
        "app/node_modules/.wh..wh..opq": b"",
    }
    assert set(found(listed(session, BASE, upper))) == {"libc6"}


def test_what_is_brought_again_comes_from_the_layer_that_did(session: Session) -> None:
    gone: Files = {"app/.wh.node_modules": b""}
    again: Files = {"app/node_modules/left/package.json": BASE["app/node_modules/left/package.json"]}
    assert found(listed(session, BASE, again, name="app:2"))["left"] == ("1.0.0", 0)
    removed: Files = {"var/lib/dpkg/status": software.status_paragraph("libc6", "2.36-9")}
    bill = listed(session, BASE, removed, {"var/lib/dpkg/status": BASE["var/lib/dpkg/status"]}, gone, name="app:3")
    assert found(bill)["curl"] == ("7.88", 2)


def test_packages_are_named_by_distribution_and_have_owners_and_licences(session: Session) -> None:
    bill = listed(session, BASE)
    by_name = {item.package.name: item for item in bill.inventory.components}
    assert by_name["libc6"].purl == "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"
    assert by_name["libc6"].package.licence == "LGPL-2.1-or-later AND (GPL-2.0-only OR MIT)"
    assert by_name["PyYAML"].owner == "python3-yaml" and by_name["PyYAML"].purl == "pkg:pypi/pyyaml@6.0"
    assert by_name["left"].owner == ""


def test_one_package_in_two_places_is_one(session: Session) -> None:
    nested = "app/node_modules/other/node_modules/left/package.json"
    bill = listed(session, BASE, {nested: BASE["app/node_modules/left/package.json"]})
    [item] = [item for item in bill.inventory.components if item.package.name == "left"]
    assert item.paths == ("app/node_modules/left/package.json", nested) and item.layer == 0


def test_a_layer_is_read_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(session, BASE)
    monkeypatch.setattr("tiffin.builder.sbom.reading.LayerReader._contents", None)
    assert "libc6" in found(list_software("app:1", OPTIONS, session, RecordingSink()))
    for path in (session.state.layers).glob("*/packages"):
        path.write_bytes(path.read_bytes().replace(b'"schema":%d' % SCHEMA, b'"schema":0'))
    with pytest.raises(TypeError):
        list_software("app:1", OPTIONS, session, RecordingSink())


def test_what_is_not_read_is_said(session: Session) -> None:
    write_image(session.state.root, {"var/lib/rpm/Packages": b"\0\1"}, name="docker.io/library/old:1")
    sink = RecordingSink()
    bill = list_software("old:1", OPTIONS, session, sink)
    [warning] = [event for event in sink.events if isinstance(event, WarningMessage)]
    assert "old:latest" not in warning.message and "/var/lib/rpm/Packages was not read" in warning.message
    assert bill.inventory.unread[0][0] == "var/lib/rpm/Packages"


@pytest.mark.parametrize(
    ("link", "target", "is_read"),
    [
        ("var/lib/dpkg", "/opt/dpkg", False),
        ("var/lib/dpkg/status", "../../../opt/status", False),
        ("var/lib/rpm", "../../data/rpm", False),
        ("var", "/data", False),
        ("var/lib/rpm", "../../usr/lib/sysimage/rpm", True),
        ("lib", "usr/lib", True),
    ],
)
def test_a_database_that_a_link_puts_elsewhere_is_said(session: Session, link: str, target: str, is_read: bool) -> None:
    unread = listed(session, {link: f"-> {target}"}).inventory.unread
    assert [path for path, _ in unread] == ([] if is_read else [link])
    assert is_read or "packages are not looked for in /" in unread[0][1]


def test_packages_are_shown_by_line_where_tiffin_built_the_image(session: Session) -> None:
    upper = BASE["var/lib/dpkg/status"] + software.status_paragraph("git", "2.39")  # type: ignore[operator]
    write_image(session.state.root, BASE, {"var/lib/dpkg/status": upper}, name="docker.io/library/app:1")
    image = session.store.find("app:1")
    row = ["Dockerfile", 3, 4, "build", "[build 2/2] RUN apt-get install git"]
    document = {"base": {"name": "debian:12", "id": str(Digest.of(b"base"))}, "layers": [[row]]}
    session.store.notes.keep_lines(image.id, json.dumps(document).encode())
    bill = list_software("app:1", OPTIONS, session, RecordingSink())
    text = lines_text(bill)
    assert "Dockerfile:3 [build 2/2] RUN apt-get install git\n  1 package\n    git" in text
    assert text.index("debian:12: ") < text.index("libc6") < text.index("Dockerfile:3")
    assert [line.split()[-1] for line in table_text(bill).splitlines() if line.startswith(("git", "curl"))] == [
        "debian:12",
        "Dockerfile:3",
    ]


def test_differences_are_by_name(session: Session) -> None:
    changed = software.status_paragraph("curl", "8.0") + software.status_paragraph("git", "2.39")
    listed(session, BASE)
    listed(session, BASE, {"var/lib/dpkg/status": changed}, name="app:2")
    bill, changes = compare("app:2", "app:1", OPTIONS, session, RecordingSink())
    assert [(item.kind, item.name, item.before, item.after) for item in changes] == [
        ("changed", "curl", "7.88", "8.0"),
        ("added", "git", "", "2.39"),
        ("removed", "libc6", "2.36-9", ""),
    ]
    assert [line.split()[0] for line in changes_text(bill, changes).splitlines()[1:]] == ["~", "+", "-"]
    assert differences(bill.inventory, bill.inventory) == () and changes_text(bill, []) == "no differences"


@pytest.mark.parametrize("packed", [False, True])
def test_other_names_of_a_file_count(session: Session, packed: bool) -> None:
    """pnpm and uv link what they install from a store, whose names say nothing."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        held = tarfile.TarInfo("a/store/0123")
        held.size = len(software.METADATA)
        archive.addfile(held, io.BytesIO(software.METADATA.encode()))
        for place in ("b/one", "c/two"):
            linked = tarfile.TarInfo(f"{place}/PyYAML-6.0.dist-info/METADATA")
            linked.type, linked.linkname = tarfile.LNKTYPE, "a/store/0123"
            archive.addfile(linked)
    layers = session.layers(no_remote)
    data = stream.getvalue()
    with session.blobs.ingest() as writer:
        writer.write(gzip.compress(data) if packed else data)
        digest, size = writer.commit()
    kind = OCI_LAYER_GZIP if packed else OCI_LAYER
    ref = LayerRef(diff_id=Digest.of(data), blob=BlobRef(media_type=kind, digest=digest, size_bytes=size))
    with session.state.scratch("test") as scratch:
        facts = LayerReader(layers, scratch).record(ref).facts
    assert sorted(facts) == [f"{place}/PyYAML-6.0.dist-info/METADATA" for place in ("b/one", "c/two")]

"""Advisories matched against the software of an image."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.sink import RecordingSink
from tests.support import software_files as software
from tests.support.minimal_image import Files, write_image
from tiffin.builder.advisories.advisory import Affected
from tiffin.builder.advisories.apk_versions import ApkVersion
from tiffin.builder.advisories.ecosystems import is_for, versions_of
from tiffin.builder.advisories.matching import is_affected
from tiffin.builder.advisories.severity import Severity, severity_of
from tiffin.builder.api.sbom.listing import SbomOptions
from tiffin.builder.api.sbom.scanning import Scan, scan
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.software.findings import findings_text, json_text, sarif_text
from tiffin.builder.errors import UsageError
from tiffin.builder.events import WarningMessage
from tiffin.builder.sbom.facts import Release
from tiffin.builder.settings.access import RegistryAccess

SITE = "usr/lib/python3/dist-packages/PyYAML-6.0.dist-info"
IMAGE: Files = {
    "usr/lib/os-release": software.OS_RELEASE,
    "var/lib/dpkg/status": software.STATUS + "\n" + software.status_paragraph("python3-yaml", "6.0-3"),
    "var/lib/dpkg/info/python3-yaml.list": f"/{SITE}/METADATA\n",
    f"{SITE}/METADATA": software.METADATA,
    "srv/node_modules/left/package.json": '{"name": "left", "version": "1.2.3"}',
    "opt/node_modules/outer/package.json": '{"name": "outer", "version": "1.0.0"}',
    "opt/node_modules/outer/node_modules/inner/package.json": '{"name": "inner", "version": "2.0.0"}',
}
BAD = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def advisory(name: str, ecosystem: str, package: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    """A document of OSV."""
    row = {"package": {"ecosystem": ecosystem, "name": package}, "ranges": [{"type": "ECOSYSTEM", "events": [*events]}]}
    return {"id": name, "summary": f"{name} in {package}", "affected": [row], **more}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("scan") / "state")
    write_image(session.state.root, IMAGE, name="docker.io/library/app:1")
    yield session
    session.table.close()


def scanned(session: Session, tmp_path: Path, documents: list[dict[str, Any]], *vex: dict[str, Any]) -> Scan:
    (tmp_path / "db.json").write_text(json.dumps(documents))
    places = []
    for number, document in enumerate(vex):
        places.append(str(tmp_path / f"{number}.vex.json"))
        Path(places[-1]).write_text(json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", **document}))
    sink = RecordingSink()
    options = SbomOptions(registry=RegistryAccess())
    found = scan("app:1", [str(tmp_path / "db.json")], places, options, session, sink)
    assert not [event for event in sink.events if isinstance(event, WarningMessage)]
    return found


def test_a_distribution_is_judged_by_source_packages(session: Session, tmp_path: Path) -> None:
    found = scanned(
        session,
        tmp_path,
        [
            advisory("DSA-1", "Debian:12", "glibc", {"introduced": "0"}, {"fixed": "2.36-9+deb12u11"}),
            advisory("DSA-2", "Debian:12", "glibc", {"introduced": "0"}, {"fixed": "2.36-9+deb12u10"}),
            advisory("DSA-3", "Debian:11", "glibc", {"introduced": "0"}),
            advisory("DSA-4", "Debian:12", "util-linux", {"introduced": "0"}, {"fixed": "2.38.1-6"}),
            advisory("DSA-5", "Debian:12", "libc6", {"introduced": "0"}),
        ],
    )
    assert {(item.id, item.component.package.name, item.fixes) for item in found.findings} == {
        ("DSA-1", "libc6", ("2.36-9+deb12u11",)),
        ("DSA-4", "bsdutils", ("2.38.1-6",)),
    }


def test_findings_are_sorted_and_count_by_severity(session: Session, tmp_path: Path) -> None:
    found = scanned(
        session,
        tmp_path,
        [
            advisory("A", "npm", "left", {"introduced": "0"}, database_specific={"severity": "LOW"}),
            advisory("B", "npm", "left", {"introduced": "1.0.0"}, severity=[{"type": "CVSS_V3", "score": BAD}]),
            advisory("C", "npm", "left", {"introduced": "0"}, {"last_affected": "1.2.2"}),
            advisory("D", "npm", "left", {"introduced": "0"}, withdrawn="2024-01-01T00:00:00Z"),
        ],
    )
    assert [(item.id, item.severity.level, item.severity.score) for item in found.findings] == [
        ("B", "critical", 9.8),
        ("A", "low", None),
    ]
    assert len(found.counting("low")) == 2 and len(found.counting("high")) == 1


def test_one_vulnerability_of_two_databases_is_one(session: Session, tmp_path: Path) -> None:
    found = scanned(
        session,
        tmp_path,
        [
            advisory("GHSA-1", "npm", "left", {"introduced": "0"}, {"fixed": "2.0.0"}, aliases=["CVE-2024-1"]),
            advisory("MAL-1", "npm", "left", {"introduced": "0"}, aliases=["CVE-2024-1"]),
        ],
    )
    [item] = found.findings
    assert (item.id, item.aliases, item.fixes) == ("GHSA-1", ("CVE-2024-1", "MAL-1"), ("2.0.0",))
    assert "CVE-2024-1" in findings_text(found)


def test_what_a_distribution_mends_is_judged_by_its_advisories(session: Session, tmp_path: Path) -> None:
    yaml = advisory("PYSEC-1", "PyPI", "pyyaml", {"introduced": "0"})
    [item] = scanned(session, tmp_path, [yaml]).findings
    assert item.suppressed == ""
    [item] = scanned(session, tmp_path, [yaml, advisory("DSA-1", "Debian:12", "x", {"introduced": "0"})]).findings
    assert item.suppressed == "part of python3-yaml, which Debian's advisories are about"


@pytest.mark.parametrize(
    ("product", "status", "is_suppressed"),
    [
        ("pkg:npm/left", "not_affected", True),
        ("pkg:npm/left@1.2.3", "fixed", True),
        ("pkg:npm/left@1.2.4", "not_affected", False),
        ("pkg:npm/left", "affected", False),
        ("pkg:npm/right", "not_affected", False),
        ({"@id": "pkg:oci/app"}, "not_affected", True),
        ({"@id": "pkg:oci/app?tag=1"}, "not_affected", True),
        ({"@id": "pkg:oci/app?tag=2"}, "not_affected", False),
        ({"@id": "pkg:oci/app?repository_url=docker.io/library"}, "not_affected", True),
        ({"@id": "pkg:oci/app?repository_url=docker.io/library/app"}, "not_affected", True),
        ({"@id": "pkg:oci/app?repository_url=ghcr.io/other/app"}, "not_affected", False),
        ({"@id": "pkg:docker/other/app@1"}, "not_affected", False),
        ({"@id": "pkg:docker/library/app@1"}, "not_affected", True),
        ({"@id": "pkg:docker/app@2"}, "not_affected", False),
        ({"@id": "pkg:oci/"}, "not_affected", False),
        ({"@id": "pkg:oci/app@sha256%3A00"}, "not_affected", False),
        ({"@id": "pkg:docker/app@1", "subcomponents": [{"@id": "pkg:npm/left"}]}, "not_affected", True),
        ({"@id": "pkg:docker/app@1", "subcomponents": [{"@id": "pkg:npm/other"}]}, "not_affected", False),
        ({"identifiers": {"purl": "pkg:npm/left"}}, "not_affected", True),
        ("no purl", "not_affected", False),
    ],
)
def test_vex_says_what_is_no_problem(
    session: Session, tmp_path: Path, product: Any, status: str, is_suppressed: bool
) -> None:
    row = {"vulnerability": {"name": "CVE-1"}, "products": [product], "status": status, "justification": "not_in_path"}
    found = scanned(
        session,
        tmp_path,
        [advisory("GHSA-1", "npm", "left", {"introduced": "0"}, aliases=["CVE-1"])],
        {"statements": [row]},
    )
    [item] = found.findings
    assert bool(item.suppressed) == is_suppressed
    assert len(found.counting("negligible")) == 0 and item.said == (
        "" if not (is_suppressed or status == "affected") else status
    )
    assert ("SUPPRESSED" in findings_text(found)) == is_suppressed


@pytest.mark.parametrize(
    ("product", "is_suppressed"),
    [
        ({"@id": "pkg:npm/outer", "subcomponents": [{"@id": "pkg:npm/inner"}]}, True),
        ({"@id": "pkg:npm/outer@1.0.0", "subcomponents": [{"@id": "pkg:npm/inner@2.0.0"}]}, True),
        ({"@id": "pkg:npm/outer@1.0.1", "subcomponents": [{"@id": "pkg:npm/inner"}]}, False),
        ({"@id": "pkg:npm/outer", "subcomponents": [{"@id": "pkg:npm/other"}]}, False),
        ({"@id": "pkg:npm/left", "subcomponents": [{"@id": "pkg:npm/inner"}]}, False),
    ],
)
def test_vex_of_what_holds_a_package(
    session: Session, tmp_path: Path, product: dict[str, Any], is_suppressed: bool
) -> None:
    row = {"vulnerability": {"name": "CVE-1"}, "products": [product], "status": "not_affected"}
    found = scanned(session, tmp_path, [advisory("CVE-1", "npm", "inner", {"introduced": "0"})], {"statements": [row]})
    assert bool(found.findings[0].suppressed) is is_suppressed


@pytest.mark.parametrize(
    ("distribution", "is_suppressed"),
    [("debian-12", True), ("debian-12.13", True), ("debian-1", False), ("debian-13", False), ("ubuntu-12", False)],
)
def test_a_distribution_may_be_told_with_its_point_release(
    session: Session, tmp_path: Path, distribution: str, is_suppressed: bool
) -> None:
    product = f"pkg:deb/debian/libc6?arch=amd64&distro={distribution}"
    row = {"vulnerability": "DSA-1", "products": [{"@id": product}], "status": "not_affected"}
    documents = [advisory("DSA-1", "Debian:12", "glibc", {"introduced": "0"})]
    [item] = [
        item
        for item in scanned(session, tmp_path, documents, {"statements": [row]}).findings
        if item.component.package.name == "libc6"
    ]
    assert bool(item.suppressed) is is_suppressed


def test_the_last_statement_counts(session: Session, tmp_path: Path) -> None:
    row = {"vulnerability": "GHSA-1", "products": ["pkg:npm/left"]}
    documents = [advisory("GHSA-1", "npm", "left", {"introduced": "0"})]
    older = {"timestamp": "2024-01-01T00:00:00Z", "statements": [{**row, "status": "not_affected"}]}
    newer = {"timestamp": "2024-02-01T00:00:00Z", "statements": [{**row, "status": "affected"}]}
    assert scanned(session, tmp_path, documents, newer, older).findings[0].suppressed == ""
    assert scanned(session, tmp_path, documents, older).findings[0].suppressed == "not_affected"


def test_forms_of_the_result(session: Session, tmp_path: Path) -> None:
    image = session.store.find("app:1")
    row = ["Dockerfile", 3, 4, "build", "[build 2/2] COPY . ."]
    session.store.notes.keep_lines(image.id, json.dumps({"base": None, "layers": [[row]]}).encode())
    documents = [advisory("GHSA-1", "npm", "left", {"introduced": "0"}, severity=[{"type": "CVSS_V3", "score": BAD}])]
    row_of_vex = {"vulnerability": {"name": "GHSA-1"}, "products": ["pkg:npm/left"], "status": "not_affected"}
    found = scanned(session, tmp_path, documents)
    assert findings_text(found).splitlines()[1].split() == [
        "critical",
        "GHSA-1",
        "left",
        "1.2.3",
        "-",
        "npm",
        "Dockerfile:3",
    ]
    [told] = json.loads(json_text(found))["findings"]
    assert (told["file"], told["line"], told["package"], told["score"]) == ("Dockerfile", 3, "pkg:npm/left@1.2.3", 9.8)
    [run] = json.loads(sarif_text(found))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "Dockerfile"}, "region": {"startLine": 3, "endLine": 4}}
    assert run["tool"]["driver"]["rules"][0]["properties"]["security-severity"] == "9.8"
    suppressed = scanned(session, tmp_path, documents, {"statements": [row_of_vex]})
    assert json.loads(sarif_text(suppressed))["runs"][0]["results"][0]["suppressions"][0]["kind"] == "external"


def test_databases_are_files_folders_and_zips(session: Session, tmp_path: Path) -> None:
    text = json.dumps(advisory("A", "npm", "left", {"introduced": "0"}))
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/a.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("A.json", text)
    options = SbomOptions(registry=RegistryAccess())
    for name in ("folder", "all.zip", "folder/deep/a.json"):
        found = scan("app:1", [str(tmp_path / name)], [], options, session, RecordingSink())
        assert [item.id for item in found.findings] == ["A"], name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("db.json", "{", "not an advisory"), ("db.json", "[1]", "not an advisory"),
        ("db.json", '{"x": 1}', "not an advisory"),
        ("missing.json", None, "cannot read --db"), ("folder", None, "has no advisories"),
    ],
)  # fmt: skip
def test_what_is_not_a_database_is_named(
    session: Session, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        scan("app:1", [str(tmp_path / name)], [], SbomOptions(registry=RegistryAccess()), session, RecordingSink())


@pytest.mark.parametrize("text", ["{", "{}", '{"@context": "https://openvex.dev/ns", "statements": [{"status": "x"}]}'])
def test_what_is_not_vex_is_named(session: Session, tmp_path: Path, text: str) -> None:
    (tmp_path / "db.json").write_text("[]")
    (tmp_path / "x.vex").write_text(text)
    words = ([str(tmp_path / "db.json")], [str(tmp_path / "x.vex")])
    with pytest.raises(UsageError, match=r"x\.vex is not a document of OpenVEX"):
        scan("app:1", *words, SbomOptions(registry=RegistryAccess()), session, RecordingSink())


def test_versions_that_cannot_be_compared_are_said(session: Session, tmp_path: Path) -> None:
    (tmp_path / "db.json").write_text(json.dumps(advisory("A", "npm", "left", {"introduced": "not a version"})))
    sink = RecordingSink()
    found = scan("app:1", [str(tmp_path / "db.json")], [], SbomOptions(registry=RegistryAccess()), session, sink)
    assert found.findings == ()
    [warning] = [event for event in sink.events if isinstance(event, WarningMessage)]
    assert "A of pkg:npm/left@1.2.3" in warning.message


@pytest.mark.parametrize(
    ("ecosystem", "version", "events", "expected"),
    [
        ("Debian:12", "1:2.0~rc1-1", [("introduced", "0"), ("fixed", "1:2.0-1")], True),
        ("Debian:12", "1:2.0-1", [("introduced", "0"), ("fixed", "1:2.0-1")], False),
        ("Alpine:v3.19", "1.2.4-r10", [("introduced", "0"), ("fixed", "1.2.4-r9")], False),
        ("Alpine:v3.19", "1.2.4_git20230717-r4", [("introduced", "0"), ("fixed", "1.2.5-r0")], True),
        ("Rocky Linux:9", "5.1.8-9.el9", [("introduced", "0"), ("fixed", "0:5.1.8-10.el9")], True),
        ("Rocky Linux:9", "1:1.0-1", [("introduced", "0"), ("fixed", "0:2.0-1")], False),
        ("PyPI", "1.0rc1", [("introduced", "0"), ("fixed", "1.0")], True),
        ("PyPI", "1.0.post1", [("introduced", "0"), ("last_affected", "1.0")], False),
        ("npm", "1.0.0-alpha.1", [("introduced", "1.0.0"), ("fixed", "2.0.0")], False),
        ("npm", "3.5.0", [("introduced", "1.0"), ("fixed", "2.0"), ("introduced", "3.0"), ("fixed", "4.0")], True),
        ("npm", "2.5.0", [("introduced", "3.0"), ("introduced", "1.0"), ("fixed", "2.0"), ("fixed", "4.0")], False),
        ("npm", "5.0.0", [("introduced", "0"), ("limit", "4.0.0")], False),
        ("Maven", "1.0-SNAPSHOT", [("introduced", "0"), ("fixed", "1.0")], True),
        ("Maven", "2.17.1", [("introduced", "2.0-beta9"), ("fixed", "2.15.0")], False),
        ("RubyGems", "1.0.0.rc1", [("introduced", "0"), ("fixed", "1.0.0")], True),
        ("Go", "v1.22.10", [("introduced", "0"), ("fixed", "1.22.9")], False),
        ("Go", "v0.0.0-20200101000000-abcdef", [("introduced", "0"), ("fixed", "0.0.0-20210101000000-abc")], True),
        ("crates.io", "0.9.0", [("introduced", "0.8.0"), ("fixed", "0.9.1")], True),
    ],
)  # fmt: skip
def test_ranges_by_each_order(ecosystem: str, version: str, events: list[tuple[str, str]], expected: bool) -> None:
    affected = Affected(
        ecosystem=ecosystem, name="x", ranges=(tuple(events),), versions=frozenset(), severity=Severity()
    )
    assert is_affected(version, affected, versions_of(ecosystem)) is expected


def test_versions_of_apk_are_in_its_order() -> None:
    texts = ["1.001", "1.0_alpha", "1.0_alpha2", "1.0_beta", "1.0_pre1", "1.0_rc1", "1.0", "1.0_git20200101",
             "1.0_p1", "1.0_p1-r2", "1.0a", "1.01", "1.1", "1.9", "1.10-r0", "1.10-r1", "1.10-r10"]  # fmt: skip
    versions = [ApkVersion(text) for text in texts]
    assert sorted(versions) == versions and ApkVersion("1.0") == ApkVersion("1.0-r0")
    for text in ("", "x", "1.0_what", "1.0 "):
        with pytest.raises(ValueError, match="not a valid version"):
            ApkVersion(text)


def test_releases_of_distributions() -> None:
    debian, alpine = Release(id="debian", version="12", name=""), Release(id="alpine", version="3.19.1", name="")
    ubuntu = Release(id="ubuntu", version="22.04", name="")
    assert is_for("Debian:12", debian) and is_for("Debian", debian) and not is_for("Debian:11", debian)
    assert is_for("Alpine:v3.19", alpine) and not is_for("Alpine:v3.1", alpine) and not is_for("Debian:12", alpine)
    assert is_for("Ubuntu:22.04:LTS", ubuntu) and is_for("Ubuntu:Pro:22.04:LTS", ubuntu)
    assert is_for("PyPI", None) and not is_for("Debian:12", None)


@pytest.mark.parametrize(
    ("scores", "words", "level"),
    [
        ([("CVSS_V3", BAD)], [], "critical"), ([("CVSS_V3", BAD)], ["MODERATE"], "medium"),
        ([], ["unimportant"], "negligible"), ([("CVSS_V3", "nonsense")], [], "unknown"),
        ([("Ubuntu", "low")], [], "low"),
        ([("CVSS_V2", "AV:N/AC:L/Au:N/C:P/I:P/A:P")], [], "high"),
        ([("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N")], [], "critical"),
    ],
)  # fmt: skip
def test_severities(scores: list[tuple[str, str]], words: list[str], level: str) -> None:
    assert severity_of(scores, words).level == level

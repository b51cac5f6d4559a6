"""What catalogers read, file by file."""

from __future__ import annotations

import io
import json

import pytest

from tests.support import software_files as files
from tiffin.builder.layer.index import new_entry
from tiffin.builder.sbom.catalogers.cataloger import Source
from tiffin.builder.sbom.catalogers.table import is_claimed, wanted
from tiffin.builder.sbom.facts import SCHEMA, Fact, LayerRecord, LicenceNote, OwnedFiles, Package, Release, Unread
from tiffin.builder.sbom.reading import facts_of

SITE = "usr/lib/python3/site-packages/PyYAML-6.0.dist-info"


def found(path: str, content: str | bytes, mode: int = 0o644) -> list[Fact]:
    """What all catalogers that want a file find in it."""
    data = content.encode() if isinstance(content, str) else content
    entry = new_entry(path, "file", mode)._replace(size=len(data))
    rows = wanted([entry]).get(path, ())
    return [fact for row in rows for fact in facts_of(row, entry, io.BytesIO(data))]


def names(facts: list[Fact]) -> list[str]:
    return [f"{fact.type}:{fact.namespace}/{fact.name}@{fact.version}" for fact in facts if isinstance(fact, Package)]


def test_dpkg_lists_what_is_installed() -> None:
    facts = found("var/lib/dpkg/status", files.STATUS)
    assert names(facts) == ["deb:/libc6@2.36-9+deb12u10", "deb:/bsdutils@1:2.38.1-5"]
    first, second = facts
    assert isinstance(first, Package) and isinstance(second, Package)
    assert (first.source, first.source_version, first.architecture) == ("glibc", "", "amd64")
    assert (second.source, second.source_version) == ("util-linux", "2.38.1-5")


def test_distroless_images_have_a_file_for_each_package() -> None:
    text = "Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n"
    assert names(found("var/lib/dpkg/status.d/tzdata", text)) == ["deb:/tzdata@2024a-0+deb12u1"]
    assert found("var/lib/dpkg/status.d/tzdata.md5sums", "abc  usr/share/x") == []


def test_copyright_files_for_machines_tell_licences() -> None:
    facts = found("usr/share/doc/libfoo/copyright", files.COPYRIGHT)
    assert facts == [LicenceNote(package="libfoo", licence="LGPL-2.1-or-later AND (GPL-2.0-only OR MIT)")]
    assert found("usr/share/doc/libfoo/copyright", "This is free software. License: see below.") == []


def test_lists_of_files_tell_whose_other_packages_are() -> None:
    facts = found("var/lib/dpkg/info/python3-yaml.list", f"/.\n/usr\n/{SITE}/METADATA\n/usr/share/doc/x\n")
    assert facts == [OwnedFiles(package="python3-yaml", paths=(f"{SITE}/METADATA",))]


def test_apk_lists_packages_and_their_files() -> None:
    for path in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        facts = found(path, files.APK)
        assert names(facts) == ["apk:/musl@1.2.4-r2", "apk:/py3-yaml@6.0-r3"]
        owned = OwnedFiles(
            package="py3-yaml", paths=("usr/lib/python3.11/site-packages/PyYAML-6.0.dist-info/METADATA",)
        )
        assert owned in facts
        assert isinstance(facts[1], Package) and facts[1].source == "yaml" and facts[1].licence == "MIT"


def test_rpm_reads_headers_of_its_sqlite_database() -> None:
    data = files.rpm_database(
        files.rpm_header("bash", "5.1.8", "9.el9", licence="GPLv3+"),
        files.rpm_header("dbus", "1.12.20", "8.el9", epoch=1, licence="(GPLv2+ or AFL) and GPLv2+"),
        files.rpm_header("gpg-pubkey", "8d88a2b3", "5ede5a2b"),
    )
    facts = found("var/lib/rpm/rpmdb.sqlite", data)
    assert names(facts) == ["rpm:/bash@5.1.8-9.el9", "rpm:/dbus@1.12.20-8.el9"]
    assert isinstance(facts[2], Package)
    assert facts[2].qualifiers == (("epoch", "1"), ("upstream", "dbus-src.rpm"))
    assert facts[2].licence == "(GPL-2.0-or-later OR LicenseRef-AFL) AND GPL-2.0-or-later"
    assert OwnedFiles(package="bash", paths=("usr/lib/python3/site-packages/x.dist-info/METADATA",)) in facts


@pytest.mark.parametrize(("name", "word"), [("Packages", "Berkeley DB"), ("Packages.db", "NDB")])
def test_older_databases_of_rpm_are_said_to_be_unread(name: str, word: str) -> None:
    [fact] = found(f"var/lib/rpm/{name}", b"\0" * 100)
    assert isinstance(fact, Unread) and word in fact.reason


def test_python_has_metadata_of_wheels_and_of_setuptools() -> None:
    for path in (f"{SITE}/METADATA", "opt/a/PyYAML-6.0-py3.11.egg-info/PKG-INFO", "opt/a/PyYAML.egg-info"):
        [fact] = found(path, files.METADATA)
        assert isinstance(fact, Package)
        assert (fact.type, fact.name, fact.version, fact.licence) == ("pypi", "PyYAML", "6.0", "MIT")


@pytest.mark.parametrize(
    ("told", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: BSD 3-Clause License", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License", ""),
        ("License: Some words of ours", "LicenseRef-Some-words-of-ours"),
    ],
)
def test_licences_of_python_packages(told: str, licence: str) -> None:
    [fact] = found(f"{SITE}/METADATA", f"Name: x\nVersion: 1\n{told}\n")
    assert isinstance(fact, Package) and fact.licence == licence


def test_npm_packages_are_those_in_node_modules() -> None:
    text = json.dumps({"name": "@babel/core", "version": "7.24.0", "license": "MIT", "author": {"name": "Babel"}})
    facts = found("app/node_modules/@babel/core/package.json", text)
    assert names(facts) == ["npm:@babel/core@7.24.0"]
    assert found("app/package.json", text) == []
    assert found("app/node_modules/x/package.json", '{"type": "module"}') == []
    old = json.dumps({"name": "x", "version": "1", "licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]})
    [fact] = found("usr/share/nodejs/x/package.json", old)
    assert isinstance(fact, Package) and fact.licence == "MIT OR Apache-2.0"


def test_gems_are_read_from_their_specifications() -> None:
    [fact] = found("usr/share/rubygems-integration/all/specifications/rack-2.2.6.4.gemspec", files.GEMSPEC)
    assert isinstance(fact, Package)
    assert (fact.name, fact.version, fact.licence) == ("rack", "2.2.6.4", "MIT")
    computed = "Gem::Specification.new { |s| s.version = VERSION }"
    [fact] = found("var/lib/gems/3.1.0/specifications/nokogiri-1.13.10-x86_64-linux.gemspec", computed)
    assert isinstance(fact, Package)
    assert (fact.name, fact.version, fact.qualifiers) == ("nokogiri", "1.13.10", (("platform", "x86_64-linux"),))


def test_archives_of_java_hold_archives() -> None:
    inner = files.archive(files.pom("org.example", "inner", "2.0"))
    middle = files.archive({**files.pom("org.example", "middle", "1.5"), "lib/inner.jar": inner})
    data = files.archive({"BOOT-INF/lib/middle-1.5.jar": middle, "META-INF/MANIFEST.MF": "Manifest-Version: 1.0\n"})
    assert names(found("srv/app-3.1.jar", data)) == [
        "maven:/app@3.1",
        "maven:org.example/middle@1.5",
        "maven:org.example/inner@2.0",
    ]


def test_archives_without_maven_are_named_by_file_and_manifest() -> None:
    manifest = (
        "Manifest-Version: 1.0\r\nBundle-SymbolicName: org.apache.commons.la\r\n ng3\r\nBundle-Version: 3.12.0\r\n"
    )
    data = files.archive({"META-INF/MANIFEST.MF": manifest})
    assert names(found("usr/share/java/lang3.jar", data)) == ["maven:org.apache.commons/lang3@3.12.0"]
    folder = "META-INF/maven/g/a"
    parent = "<parent><groupId>org.parent</groupId><version>2.0</version></parent>"
    for space in ("", ' xmlns="http://maven.apache.org/POM/4.0.0"'):
        text = f"<!-- x --><project{space}>{parent}<artifactId>child</artifactId></project>"
        assert names(found("x.jar", files.archive({f"{folder}/pom.xml": text}))) == ["maven:org.parent/child@2.0"]
    unfilled = text.replace("2.0", "${revision}")
    entity = text.replace("<project", "<!DOCTYPE p [<!ENTITY a 'b'>]><project")
    for other in (unfilled, entity, "<project", "<project/>"):
        assert names(found("name-1.0.jar", files.archive({f"{folder}/pom.xml": other}))) == ["maven:/name@1.0"]
    colons = "version: 1.2\ngroupId : g\nartifactId a\n"
    both = {f"{folder}/pom.properties": colons, f"{folder}/pom.xml": text}
    assert names(found("x.jar", files.archive(both))) == ["maven:g/a@1.2"]
    assert names(found("usr/share/java/commons-io-2.11.0.jar", files.archive({"a": "b"}))) == [
        "maven:/commons-io@2.11.0"
    ]
    assert found("usr/share/java/nothing.jar", files.archive({"a": "b"})) == []


def test_archives_nested_too_deep_or_damaged_are_said() -> None:
    data = files.archive(files.pom("g", "deepest", "1"))
    for number in range(6):
        data = files.archive({f"n{number}.jar": data})
    assert any(isinstance(fact, Unread) and "archives" in fact.reason for fact in found("a.jar", data))
    [fact] = found("a.jar", b"PK\3\4 not an archive")
    assert isinstance(fact, Unread) and "java" in fact.reason
    mixed = files.archive({"bad.jar": b"no", "good.jar": files.archive(files.pom("g", "good", "1"))})
    assert names(found("b.jar", mixed)) == ["maven:g/good@1"]


def test_programs_of_go_tell_their_modules() -> None:
    modules = (
        "path\texample.com/cmd\nmod\texample.com/app\t(devel)\t\n"
        "dep\tgithub.com/spf13/cobra\tv1.8.0\th1:x=\n"
        "dep\tgithub.com/old/name\tv1.0.0\n=>\tgithub.com/new/name\tv1.1.0\th1:y=\n"
        "dep\texample.com/here\tv1.2.0\n=>\t./here\t(devel)\t\n"
        "build\tvcs.revision=0123abc\n"
    )
    assert names(found("usr/bin/app", files.go_program(modules), 0o755)) == [
        "golang:/stdlib@1.22.1",
        "golang:example.com/app@0123abc",
        "golang:github.com/spf13/cobra@v1.8.0",
        "golang:github.com/new/name@v1.1.0",
        "golang:example.com/here@v1.2.0",
    ]
    assert found("usr/bin/app", files.go_program(modules), 0o644) == []


def test_programs_of_rust_tell_their_crates() -> None:
    rows: list[dict[str, object]] = [
        {"name": "serde", "version": "1.0.200", "source": "crates.io"},
        {"name": "cc", "version": "1.0.90", "source": "crates.io", "kind": "build"},
        {"name": "app", "version": "0.1.0", "source": "local", "root": True},
    ]
    assert names(found("usr/bin/app", files.rust_program(rows), 0o755)) == ["cargo:/serde@1.0.200", "cargo:/app@0.1.0"]


def test_programs_that_are_damaged_or_none_tell_nothing() -> None:
    good = files.go_program("path\tx\n")
    for data in (b"#!/bin/sh\n" + b"x" * 5000, good[:64].ljust(5000, b"\xff"), b"\x7fELF".ljust(5000, b"\xff")):
        assert found("usr/bin/app", data, 0o755) == []


def test_conda_has_a_record_for_each_package() -> None:
    [fact] = found("opt/conda/conda-meta/numpy-1.26.4-py311_0.json", files.conda_record("numpy", "1.26.4"))
    assert isinstance(fact, Package)
    assert fact.qualifiers == (("build", "py311_0"), ("channel", "conda-forge"), ("subdir", "linux-64"))


def test_the_distribution_is_in_os_release() -> None:
    [fact] = found("usr/lib/os-release", files.OS_RELEASE)
    expected = Release(id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)", codename="bookworm")
    assert fact == expected


@pytest.mark.parametrize(
    "path",
    [
        "app/node_modules/x/package.json",
        "opt/conda-meta/x.json",
        "var/lib/rpm/rpmdb.sqlite",
        "x/specifications/a.gemspec",
    ],
)
def test_a_damaged_file_is_said_and_ends_nothing(path: str) -> None:
    facts = found(path, b'{"name": 1, "x' + bytes(range(128, 200)))
    assert all(isinstance(fact, Unread) for fact in facts) and facts


def test_claims_are_of_files_that_tell_of_other_packages() -> None:
    assert is_claimed(f"{SITE}/METADATA") and is_claimed("usr/bin/docker") and is_claimed("usr/share/java/x.jar")
    assert not is_claimed("var/lib/dpkg/status") and not is_claimed("usr/share/doc/x/copyright")


def test_a_source_is_not_read_beyond_what_any_program_writes() -> None:
    from tiffin.builder.sbom.catalogers.cataloger import MAX_DOCUMENT_BYTES, TooLargeError

    source = Source("var/lib/dpkg/status", MAX_DOCUMENT_BYTES + 1, io.BytesIO(b""), is_claimed)
    with pytest.raises(TooLargeError, match="are read"):
        _ = source.text


def test_records_are_read_as_they_were_written() -> None:
    facts: dict[str, list[Fact]] = {
        "var/lib/dpkg/status": found("var/lib/dpkg/status", files.STATUS),
        "x": [Unread(reason="why")],
    }
    facts["opt/conda/conda-meta/numpy.json"] = found("c/conda-meta/n.json", files.conda_record("numpy", "1"))
    record = LayerRecord(facts=facts)
    again = LayerRecord.decode(record.encode())
    assert again is not None and {path: list(rows) for path, rows in again.facts.items()} == facts
    assert LayerRecord.decode(record.encode().replace(b'"schema":%d' % SCHEMA, b'"schema":0')) is None
    assert LayerRecord.decode(b"damaged") is None

"""registries.conf: where images are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.registry.registries_conf import Registries, read_registries

HEX = "sha256:" + "0" * 64
TEXT = """
unqualified-search-registries = ["quay.io"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example:5000/hub"
insecure = true
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "docker.io/team"
location = "corp.example/team"
mirror-by-digest-only = true
[[registry.mirror]]
location = "digests.example/team"
[[registry]]
prefix = "*.old.example"
location = "new.example/moved"
[[registry]]
prefix = "*.kept.old.example"
[[registry]]
location = "bad.example/x"
blocked = true
[[registry]]
location = "plain.example"
insecure = true
[aliases]
tool = "corp.example/tools/tool"
fedora = "registry.fedoraproject.org/fedora"
gone = ""
"""


@pytest.fixture
def registries(tmp_path: Path) -> Registries:
    (tmp_path / "r.conf").write_text(TEXT)
    return read_registries({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "r.conf")})


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("debian", ["mirror.example:5000/hub/library/debian:latest", "tags.example/library/debian:latest",
            "docker.io/library/debian:latest"]),
        (f"debian@{HEX}", [f"mirror.example:5000/hub/library/debian@{HEX}", f"docker.io/library/debian@{HEX}"]),
        ("team/app:1", ["corp.example/team/app:1"]),
        (f"team/app@{HEX}", [f"digests.example/team/app@{HEX}", f"corp.example/team/app@{HEX}"]),
        ("teamwork/app:1", ["mirror.example:5000/hub/teamwork/app:1", "tags.example/teamwork/app:1",
            "docker.io/teamwork/app:1"]),
        ("a.old.example/ns/app:2", ["new.example/moved/ns/app:2"]),
        ("a.b.old.example/app", ["new.example/moved/app:latest"]),
        ("x.kept.old.example/app", ["x.kept.old.example/app:latest"]),
        ("old.example/app", ["old.example/app:latest"]),
        ("bad.example/xy/app", ["bad.example/xy/app:latest"]),
        ("quay.io/a/b", ["quay.io/a/b:latest"]),
    ],
)  # fmt: skip
def test_where_it_is_asked_for(registries: Registries, name: str, places: list[str]) -> None:
    assert [str(place) for place in registries.sources(Reference.parse(name))] == places


def test_blocked_and_insecure(registries: Registries) -> None:
    with pytest.raises(ImageError, match=r'images of "bad.example/x" are blocked') as failed:
        registries.sources(Reference.parse("bad.example/x/app"))
    assert "r.conf" in failed.value.remedy
    assert registries.insecure() == ("mirror.example:5000", "plain.example")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tool", "corp.example/tools/tool"),
        ("tool:1", "corp.example/tools/tool:1"),
        (f"tool@{HEX}", f"corp.example/tools/tool@{HEX}"),
        ("tool/more", "tool/more"),
        ("docker.io/library/tool", "docker.io/library/tool"),
        ("gone", "gone"),
        ("debian", "debian"),
    ],
)
def test_short_names(registries: Registries, name: str, meant: str) -> None:
    assert registries.alias(name) == meant


def test_mirrors_as_dockerd_names_them(registries: Registries) -> None:
    debian = Reference.parse("debian")
    alone = Registries().with_mirrors(["http://127.0.0.1:5001/", "https://second.example"])
    assert [item.name for item in alone.sources(debian)] == [
        "127.0.0.1:5001/library/debian", "second.example/library/debian", "docker.io/library/debian",
    ]  # fmt: skip
    assert alone.insecure() == ("127.0.0.1:5001",)
    assert alone.sources(Reference.parse("quay.io/a/b")) == [Reference.parse("quay.io/a/b")]
    both = registries.with_mirrors(["first.example"])
    assert [item.registry for item in both.sources(debian)][:2] == ["first.example", "mirror.example:5000"]
    for wrong in ("ftp://x", "http://", "https://user:word@host"):
        with pytest.raises(UsageError, match="is not a valid mirror") as failed:
            alone.with_mirrors([wrong])
        assert "word" not in failed.value.message


def test_which_files_count(tmp_path: Path) -> None:
    folder = tmp_path / "config/containers"
    (folder / "registries.conf.d").mkdir(parents=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "a.example"\nblocked = true\n[aliases]\nx = "a.example/x"\n'
    )
    (folder / "registries.conf.d/10.conf").write_text(
        '[[registry]]\nlocation = "a.example"\n[aliases]\ny = "a.example/y"\n'
    )
    (folder / "registries.conf.d/00-shortnames.conf").write_text('[aliases]\nfedora = "elsewhere.example/fedora"\n')
    (folder / "registries.conf.d/readme").write_text("not TOML")
    found = read_registries({"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert found.sources(Reference.parse("a.example/b")) == [Reference.parse("a.example/b")], "the last one counts"
    assert (found.alias("x"), found.alias("y"), found.alias("fedora")) == ("a.example/x", "a.example/y", "fedora")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not [ toml", "cannot read"),
        ("[[registry]]\nblocked = true\n", "has no location"),
        ('[[registry]]\nprefix = "a.example"\n', "has no location"),
        ("registry = 3\n", "not a list of tables"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "never"\n', "never"),
        ("[[registry]]\nlocation = 3\n", "is not text"),
    ],
)
def test_files_at_fault_are_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "bad.conf").write_text(text)
    with pytest.raises(UsageError, match=reason) as failed:
        read_registries({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "bad.conf")})
    assert "bad.conf" in failed.value.message


def test_mirrors_of_any_registry_and_nothing_but_mirrors() -> None:
    made = Registries().with_mirrors(["m.example/cache"], host="quay.io", source="--registry-map")
    name = Reference.parse("quay.io/team/app:1")
    assert [str(place) for place in made.sources(name)] == ["m.example/cache/team/app:1", "quay.io/team/app:1"]
    only = made.without_places_of_mirrors()
    assert [str(place) for place in only.sources(name)] == ["m.example/cache/team/app:1"]
    other = Reference.parse("ghcr.io/x:1")
    assert only.sources(other) == [other]
    with pytest.raises(UsageError, match="--registry-map"):
        made.with_mirrors(["ftp://m"], host="quay.io", source="--registry-map")

"""What lines ask for in attestations, and builders by name."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tests.support.commands import Commands
from tiffin.builder.api.build_options import AttestOptions, ProvenanceOptions, SbomOptions
from tiffin.builder.cli.options.attestations import attestations
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.errors import UsageError


def asked(mode: str, builder_id: str = "") -> AttestOptions:
    return AttestOptions(provenance=ProvenanceOptions(mode=mode, builder_id=builder_id))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, AttestOptions()),
        ({"provenance": ("true",)}, asked("min")),
        ({"provenance": ("false",)}, AttestOptions()),
        ({"provenance": ("mode=max",)}, asked("max")),
        ({"attest": ("type=provenance,mode=max,builder-id=b",)}, asked("max", "b")),
        ({"attest": ("type=provenance,mode=min,inline-only=true",)}, asked("min")),
        ({"attest": ("type=provenance,mode=min,generator=image",)}, asked("min")),
        ({"provenance": ("mode=full",)}, asked("max")),
        ({"attest": ("type=provenance,disabled=true",)}, AttestOptions()),
        ({"attest": ("type=sbom,disabled=true",), "sbom": ("false",)}, AttestOptions()),
        ({"provenance": ("true", "false")}, AttestOptions()),
        ({"sbom": ("true",), "attest_form": "index"}, AttestOptions(sbom=SbomOptions(), in_index=True)),
        (
            {"attest": ("type=sbom,generator=docker/scout,depth=2",)},
            AttestOptions(sbom=SbomOptions(generator="docker/scout", arguments={"depth": "2"})),
        ),
        ({"sbom": ("generator=image",)}, AttestOptions(sbom=SbomOptions(generator="image"))),
    ],
)
def test_what_is_asked_for(values: dict[str, tuple[str, ...]], expected: AttestOptions) -> None:
    assert attestations(BuildArguments(values)) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("provenance", "maybe"), ("provenance", "mode=all"), ("provenance", "mode=min,version=v0.2"),
        ("provenance", "mode=min,what=1"), ("sbom", "perhaps"), ("attest", "type=x"),
        ("attest", "mode=min"), ("attest", ","),
    ],
)  # fmt: skip
def test_what_is_not_made_is_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        attestations(BuildArguments({name: (text,)}))


def test_builders_are_names(tiffin_here: Commands) -> None:
    assert tiffin_here("buildx", "create", "--name", "ci", "--driver-opt", "image=x", "--use").out == "ci\n"
    assert tiffin_here("buildx", "create", "--name", "ci", "--append").out == "ci\n"
    made = tiffin_here("buildx", "create").out.strip()
    assert "_" in made
    listed = tiffin_here("buildx", "ls").out
    assert "ci*" in listed and "default" in listed and made in listed
    for form in ("json", "{{json . }}"):
        rows = {
            row["Name"]: row for row in map(json.loads, tiffin_here("buildx", "ls", "--format", form).out.splitlines())
        }
        assert rows.keys() == {"ci", "default", made}
        assert [rows[name]["Driver"] for name in ("default", "ci")] == ["docker", "docker-container"]
        assert [rows[name]["Current"] for name in ("default", "ci")] == [False, True]
        [node] = rows["ci"]["Nodes"]
        assert (node["Name"], node["DriverOpts"], node["Status"]) == ("ci0", {"image": "x"}, "running")
        assert datetime.fromisoformat(rows["ci"]["LastActivity"]).year > 2000 and not rows["ci"]["Dynamic"]
    assert tiffin_here("buildx", "ls", "--format", "{{.Name}} {{.DriverEndpoint}}").out.startswith(
        "ci* docker-container\n"
    )
    shown = tiffin_here("buildx", "inspect", "--bootstrap").out
    assert "Name:                  ci\n" in shown and 'Driver Options:        image="x"' in shown
    tiffin_here("buildx", "use", "default")
    assert "Name:                  default\n" in tiffin_here("buildx", "inspect").out
    tiffin_here("buildx", "stop", "ci")
    assert tiffin_here("buildx", "rm", "ci").err == "ci removed\n"
    assert 'no builder "ci" found' in tiffin_here("buildx", "inspect", "ci", check=False).err
    tiffin_here("buildx", "rm", "--all-inactive")
    assert made not in tiffin_here("buildx", "ls").out
    for words in (["create", "--driver", "kubernetes"], ["create", "--name", "default"], ["rm", "default"]):
        assert tiffin_here("buildx", *words, check=False).code
    assert tiffin_here("buildx", "version").out.startswith("github.com/docker/buildx v0.")


def test_a_damaged_list_of_builders_is_named(tiffin_here: Commands) -> None:
    tiffin_here("buildx", "create", "--name", "one")
    (tiffin_here.root / "builders.json").write_text("{")
    assert "builders.json is damaged" in tiffin_here("buildx", "ls", check=False).err

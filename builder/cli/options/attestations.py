"""Options of `docker build` about attestations and policies: what would make another result is refused by name."""

from __future__ import annotations

from tiffin.builder.cli.options.build_arguments import DockerBuildArguments
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, switch
from tiffin.cache.foundation.frozen import dataclass

PROVENANCE, SBOM = "provenance", "sbom"
KINDS = (PROVENANCE, SBOM)
DEFAULT_MODE, MODES = "min", ("min", "max")
VERSIONS = ("v1",)
IGNORED = ("inline-only", "reproducible", "disabled")  # fields that say nothing about what a statement holds here


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestations:
    """What is attested: `provenance` is a mode, "" for none; `builder_id` who builds, as it is named there."""

    provenance: str = ""
    builder_id: str = ""


def attestations(line: DockerBuildArguments) -> Attestations:
    """Return what a line asks for. Raises UsageError for what cannot be left out in silence."""
    found = Attestations()
    for text in line.provenance:
        found = _provenance(text, f"--provenance={text}")
    for text in line.sbom:
        if not _is_off(text):
            raise _no_sbom(f"--sbom={text}")
    for text in line.attest:
        fields = _fields(text, f"--attest {text}")
        kind = fields.pop("type", "")
        if kind not in KINDS:
            raise UsageError(f'--attest {text}: type "{kind}" is unknown', remedy=f"use type={'|'.join(KINDS)}")
        if kind == PROVENANCE:
            found = _of_fields(fields, f"--attest {text}")
        elif _is_off(fields.get("disabled", "false")):
            raise _no_sbom(f"--attest {text}")
    if line.policy:
        raise UsageError("--policy is not there: tiffin evaluates no source policies", remedy="leave it out")
    return found


def _provenance(text: str, option: str) -> Attestations:
    """Read --provenance: a switch, or fields."""
    if "=" in text:
        return _of_fields(_fields(text, option), option)
    try:
        return Attestations(provenance=DEFAULT_MODE if switch(text) else "")
    except ValueError as exc:
        raise UsageError(f"{option} is neither true, false nor mode=…", remedy="write mode=min or mode=max") from exc


def _of_fields(fields: dict[str, str], option: str) -> Attestations:
    mode, version = fields.get("mode", DEFAULT_MODE), fields.get("version", VERSIONS[0])
    for name in sorted(fields.keys() - {"mode", "version", "builder-id", *IGNORED}):
        raise UsageError(f'{option}: "{name}" is unknown', remedy="the fields are mode, version, builder-id, disabled")
    if mode not in MODES:
        raise UsageError(f'{option}: mode "{mode}" is unknown', remedy="use mode=min or mode=max")
    if version not in VERSIONS:
        raise UsageError(f"{option}: provenance of version {version} is not made", remedy="use version=v1")
    if not _is_off(fields.get("disabled", "false")):
        return Attestations()
    return Attestations(provenance=mode, builder_id=fields.get("builder-id", ""))


def _fields(text: str, option: str) -> dict[str, str]:
    try:
        return {name: value or "" for name, value in csv_pairs(text)}
    except ValueError as exc:
        raise UsageError(f"{option} has an empty item", remedy="write type=provenance,mode=min") from exc


def _is_off(text: str) -> bool:
    try:
        return not switch(text)
    except ValueError:
        return False


def _no_sbom(option: str) -> UsageError:
    return UsageError(f"{option} is not there: tiffin makes no SBOM yet", remedy="use --sbom=false")

"""Options of `docker build` about attestations and policies: what would make another result is refused by name."""

from __future__ import annotations

from tiffin.builder.cli.options.build_arguments import DockerBuildArguments
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, switch

KINDS = ("provenance", "sbom")


def check_attestations(line: DockerBuildArguments) -> None:
    """Raise UsageError for options that cannot be left out in silence."""
    for name, texts in (("provenance", line.provenance), ("sbom", line.sbom)):
        for text in texts:
            if not _is_off(text):
                raise _no_attestations(f"--{name}={text}", name)
    for text in line.attest:
        _check_attest(text)
    if line.policy:
        raise UsageError("--policy is not there: tiffin evaluates no source policies", remedy="leave it out")


def _is_off(text: str) -> bool:
    try:
        return not switch(text)
    except ValueError:
        return False


def _check_attest(text: str) -> None:
    """Check --attest type=KIND,disabled=true, which means the same as --KIND=false."""
    try:
        fields = dict(csv_pairs(text))
    except ValueError as exc:
        raise UsageError(f"--attest {text} has an empty item", remedy="write type=provenance,disabled=true") from exc
    kind = fields.get("type") or ""
    if kind not in KINDS:
        raise UsageError(f'--attest {text}: type "{kind}" is unknown', remedy=f"use type={'|'.join(KINDS)}")
    if "disabled" not in fields or _is_off(fields["disabled"] or ""):
        raise _no_attestations(f"--attest {text}", kind)


def _no_attestations(option: str, kind: str) -> UsageError:
    return UsageError(f"{option} is not there: tiffin makes no attestations", remedy=f"use --{kind}=false")

"""Options of `docker build` about attestations and signatures: --attest, --provenance, --sbom, --sign."""

from __future__ import annotations

from tiffin.builder.api.build_options import AttestOptions, ProvenanceOptions, SbomOptions, SignOptions
from tiffin.builder.cli.options.build_arguments import DockerBuildArguments
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, switch
from tiffin.cache.foundation.frozen import replace

PROVENANCE, SBOM = "provenance", "sbom"
KINDS = (PROVENANCE, SBOM)
MODES = ("min", "max")
OLD_MODES = {"full": "max"}  # as BuildKit reads it
VERSIONS = ("v1",)
# fields that say nothing about what a statement holds here; BuildKit has one generator of provenance, and so have we
IGNORED = ("inline-only", "reproducible", "disabled", "generator")
IN_INDEX = "index"
KEYLESS = "keyless"
SIGNATURE_FORMATS = ("bundle", "simple")
SIGN_FIELDS = ("key", "identity-token", "trust-config", "format")
REFUSED = {"notation": "signatures of notation are not supported", "pkcs11": "keys in hardware are not supported"}


def attestations(line: DockerBuildArguments) -> AttestOptions:
    """Return what a line asks for. Raises UsageError for what cannot be left out in silence."""
    found = AttestOptions(in_index=line.attest_form == IN_INDEX)
    for kind, texts in ((PROVENANCE, line.provenance), (SBOM, line.sbom)):
        for text in texts:
            found = _with(found, kind, _switched(kind, text), f"--{kind}={text}")
    for text in line.attest:
        option = f"--attest {text}"
        fields = _fields(text, option)
        kind = fields.pop("type", "")
        if kind not in KINDS:
            raise UsageError(f'{option}: type "{kind}" is unknown', remedy=f"use type={'|'.join(KINDS)}")
        found = _with(found, kind, fields, option)
    return found


def _switched(kind: str, text: str) -> dict[str, str]:
    """Return --provenance or --sbom as fields: it is a switch, or has them."""
    option = f"--{kind}={text}"
    if "=" in text:
        return _fields(text, option)
    try:
        return {"disabled": "false" if switch(text) else "true"}
    except ValueError as exc:
        example = "mode=min or mode=max" if kind == PROVENANCE else "generator=IMAGE"
        raise UsageError(f"{option} is neither true, false nor NAME=VALUE", remedy=f"write {example}") from exc


def _with(found: AttestOptions, kind: str, fields: dict[str, str], option: str) -> AttestOptions:
    """Return what is asked for with one option more; the last of a kind wins."""
    is_off = _is_on(fields.get("disabled", "false"))
    if kind == PROVENANCE:
        asked = _provenance(fields, option)
        return replace(found, provenance=None if is_off else asked)
    arguments = {name: text for name, text in fields.items() if name not in ("generator", "disabled")}
    sbom = SbomOptions(generator=fields.get("generator", ""), arguments=arguments)
    return replace(found, sbom=None if is_off else sbom)


def _provenance(fields: dict[str, str], option: str) -> ProvenanceOptions:
    mode, version = fields.get("mode", MODES[0]), fields.get("version", VERSIONS[0])
    mode = OLD_MODES.get(mode, mode)
    for name in sorted(fields.keys() - {"mode", "version", "builder-id", *IGNORED}):
        raise UsageError(f'{option}: "{name}" is unknown', remedy="the fields are mode, version, builder-id, disabled")
    if mode not in MODES:
        raise UsageError(f'{option}: mode "{mode}" is unknown', remedy="use mode=min or mode=max")
    if version not in VERSIONS:
        raise UsageError(f"{option}: provenance of version {version} is not made", remedy="use version=v1")
    return ProvenanceOptions(mode=mode, builder_id=fields.get("builder-id", ""))


def _fields(text: str, option: str) -> dict[str, str]:
    try:
        return {name: value or "" for name, value in csv_pairs(text)}
    except ValueError as exc:
        raise UsageError(f"{option} has an empty item", remedy="write type=provenance,mode=min") from exc


def _is_on(text: str) -> bool:
    try:
        return switch(text)
    except ValueError:
        return False


def sign_options(text: str, option: str) -> SignOptions:
    """Read key=FILE|env://NAME[,format=…], or keyless[,identity-token=…,trust-config=FILE]. Raises UsageError."""
    example = f"write {option} key=FILE, or {option} {KEYLESS}"
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f"{option} {text} has an empty item", remedy=example) from exc
    fields: dict[str, str] = {}
    for name, value in pairs:
        if value is None and name == KEYLESS:
            continue
        if name in REFUSED:
            raise UsageError(f"{option} {text}: {REFUSED[name]}", remedy=example)
        if value is None or name not in SIGN_FIELDS or name in fields:
            remedy = did_you_mean(name, SIGN_FIELDS) or f"the fields are {', '.join(SIGN_FIELDS)}, or {KEYLESS}"
            raise UsageError(f'{option} {text}: "{name}" is unknown, given twice, or has no value', remedy=remedy)
        fields[name] = value
    is_keyless = (KEYLESS, None) in pairs
    if is_keyless == ("key" in fields):
        raise UsageError(f"{option} {text} names neither a key nor {KEYLESS}, or both", remedy=example)
    if fields.get("format", SIGNATURE_FORMATS[0]) not in SIGNATURE_FORMATS:
        raise UsageError(
            f"{option}: format {fields['format']} is unknown", remedy=f"use format={'|'.join(SIGNATURE_FORMATS)}"
        )
    return SignOptions(
        key=fields.get("key", ""),
        identity_token=fields.get("identity-token", ""),
        trust_config=fields.get("trust-config", ""),
        format=fields.get("format", SIGNATURE_FORMATS[0]),
    )

"""Options of `docker build` that scripts pass and that change nothing here: taken, with a word where one was asked for.

What would make another result is refused by name instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, switch

NO_LIMITS = "RUN is not limited; limit the process that calls tiffin"
# name: (further spelling, why it has no effect)
WITHOUT_EFFECT: Mapping[str, tuple[str, str]] = {
    "builder": ("", "there is one builder, and it needs no instance"),
    "cgroup-parent": ("", "RUN stays in the control group of the caller"),
    "cpu-period": ("", NO_LIMITS),
    "cpu-quota": ("", NO_LIMITS),
    "cpu-shares": ("-c", NO_LIMITS),
    "cpuset-cpus": ("", NO_LIMITS),
    "cpuset-mems": ("", NO_LIMITS),
    "memory": ("-m", NO_LIMITS),
    "memory-swap": ("", NO_LIMITS),
    "resource": ("", NO_LIMITS),
}
# Switches: what they say is so anyhow, unless it is the contrary.
ALWAYS: Mapping[str, bool] = {"rm": True, "force-rm": True, "disable-content-trust": True, "compress": False}
ATTESTATIONS = ("provenance", "sbom")


def field_of(name: str) -> str:
    return "docker_" + name.replace("-", "_")


def warnings_of(given: Mapping[str, object]) -> list[str]:
    """What to say of options without effect; raises UsageError for those that cannot be left out in silence."""
    for name in ATTESTATIONS:
        for text in _texts(given, name):
            if not _is_off(text):
                raise _no_attestations(f"--{name}={text}", name)
    for text in _texts(given, "attest"):
        _check_attest(text)
    if _texts(given, "policy"):
        raise UsageError("--policy is not there: tiffin evaluates no source policies", remedy="leave it out")
    found = [f"--{name} has no effect: {reason}" for name, (_, reason) in WITHOUT_EFFECT.items() if _texts(given, name)]
    if given.get(field_of("compress")):
        found.append("--compress has no effect: the context is not sent anywhere")
    if given.get(field_of("rm")) is False:
        found.append("--rm=false has no effect: no step leaves a container behind")
    return found


def _texts(given: Mapping[str, object], name: str) -> Sequence[str]:
    value = given.get(field_of(name))
    return value if isinstance(value, tuple) else ()


def _is_off(text: str) -> bool:
    try:
        return not switch(text)
    except ValueError:
        return False


def _check_attest(text: str) -> None:
    """--attest type=KIND,disabled=true is what --KIND=false is."""
    try:
        fields = dict(csv_pairs(text))
    except ValueError as exc:
        raise UsageError(f"--attest {text} has an empty item", remedy="write type=provenance,disabled=true") from exc
    kind = fields.get("type") or ""
    if kind not in ATTESTATIONS:
        raise UsageError(f'--attest {text}: type "{kind}" is unknown', remedy=f"use type={'|'.join(ATTESTATIONS)}")
    if "disabled" not in fields or _is_off(fields["disabled"] or ""):
        raise _no_attestations(f"--attest {text}", kind)


def _no_attestations(option: str, kind: str) -> UsageError:
    return UsageError(f"{option} is not there: tiffin makes no attestations", remedy=f"use --{kind}=false")

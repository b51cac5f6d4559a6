"""Policies in the form of containers' policy.json (containers-policy.json(5)), as podman, skopeo and CRI-O read it."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.errors import UsageError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.policy.facts import IMAGE, Denial, Evidence, Judge, Subject

TRANSPORT = "docker"
ACCEPT, REJECT, SIGNED_BY, SIGSTORE = "insecureAcceptAnything", "reject", "signedBy", "sigstoreSigned"
_MEMBERS = {
    ACCEPT: frozenset({"type"}),
    REJECT: frozenset({"type"}),
    SIGNED_BY: frozenset({"type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"}),
    SIGSTORE: frozenset(
        {"type", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki", "rekorPublicKeyPath",
         "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity"}
    ),
}  # fmt: skip


class ContainersPolicy(Judge):
    """A policy.json. Raises UsageError for one that is not understood in full, as there."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            document = json.loads(path.read_text(), object_pairs_hook=_once)
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot read the policy {path}: {exc}", remedy="write JSON, or remove the file") from exc
        self._default, self._scopes = _checked(document, path)

    def judge(self, subject: Subject, evidence: Callable[[], Evidence]) -> Sequence[Denial]:
        """Judge images of registries by the most specific scope; nothing else is in such policies."""
        if subject.kind != IMAGE or subject.reference is None:
            return ()
        scope, requirements = self._of(subject.reference)
        for requirement in requirements:
            reason = self._broken(requirement, subject, evidence)
            if reason:
                rule = f"{scope or 'default'}: {requirement['type']}"
                remedy = "use another image, or change the policy"
                return (Denial(policy=self.name, rule=rule, reason=reason, remedy=remedy, span=subject.span),)
        return ()

    def _of(self, reference: Reference) -> tuple[str, list[dict[str, Any]]]:
        for scope in _scopes_of(reference):
            if scope in self._scopes:
                return scope, self._scopes[scope]
        if "" in self._scopes:
            return TRANSPORT, self._scopes[""]
        return "", self._default

    def _broken(self, requirement: dict[str, Any], subject: Subject, evidence: Callable[[], Evidence]) -> str:
        kind = requirement["type"]
        if kind == ACCEPT:
            return ""
        if kind == REJECT:
            return f"{subject.name} is rejected"
        if kind == SIGNED_BY:
            raise UsageError(
                f"{self.name}: signedBy needs GPG signatures of images, which tiffin does not check",
                remedy="use sigstoreSigned with a key",
            )
        if subject.contents is None:
            return ""  # signatures are of what a name leads to
        assert subject.reference is not None
        with tempfile.TemporaryDirectory() as place:
            for key in self._keys(requirement, Path(place)):
                if evidence().signed_by(subject.reference, subject.contents.digest, key):
                    return ""
        return f"{subject.name} has no signature of its key"

    def _keys(self, requirement: dict[str, Any], place: Path) -> list[str]:
        unknown = requirement.keys() & {"fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyData"}
        identity = requirement.get("signedIdentity", {"type": "matchRepoDigestOrExact"}).get("type")
        if unknown or identity not in ("matchRepository", "matchRepoDigestOrExact"):
            what = min(unknown) if unknown else f"signedIdentity {identity}"
            raise UsageError(f"{self.name}: sigstoreSigned with {what} is not checked", remedy="use keyPath or keyData")
        paths = [*requirement.get("keyPaths", []), *([requirement["keyPath"]] if "keyPath" in requirement else [])]
        datas = [*requirement.get("keyDatas", []), *([requirement["keyData"]] if "keyData" in requirement else [])]
        for number, data in enumerate(datas):
            file = place / f"key-{number}.pem"
            file.write_bytes(base64.b64decode(data))
            paths.append(str(file))
        return paths


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f'"{twice[0]}" is given twice')
    return dict(pairs)


def _checked(document: object, path: Path) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Return the default, and what is said of registries by scope."""

    def wrong(what: str) -> UsageError:
        return UsageError(f"{path}: {what}", remedy="see containers-policy.json(5)")

    def requirements(value: object, where: str) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            raise wrong(f"{where} is not a list of requirements")
        for item in value:
            if not isinstance(item, dict) or item.get("type") not in _MEMBERS:
                raise wrong(f"{where} has an unknown requirement")
            unknown = item.keys() - _MEMBERS[item["type"]]
            if unknown:
                raise wrong(f'"{min(unknown)}" of {item["type"]} in {where} is unknown')
        return value

    if not isinstance(document, dict) or document.keys() - {"default", "transports"} or "default" not in document:
        raise wrong("it needs default, and may have transports")
    transports = document.get("transports", {})
    if not isinstance(transports, dict) or not all(isinstance(scopes, dict) for scopes in transports.values()):
        raise wrong("transports is not an object of objects")
    checked = {
        name: {scope: requirements(value, f"{name} {scope}".strip()) for scope, value in scopes.items()}
        for name, scopes in transports.items()
    }
    return requirements(document["default"], "default"), checked.get(TRANSPORT, {})


def _scopes_of(reference: Reference) -> list[str]:
    """Return the scopes that an image is in, the most specific one first."""
    suffix = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
    names = [f"{reference.name}{suffix}"]
    path = reference.name
    while path:
        names.append(path)
        path = path.rpartition("/")[0]
    labels = reference.registry.partition(":")[0].split(".")
    return [*names, *(f"*.{'.'.join(labels[number:])}" for number in range(1, len(labels)))]

"""Functions of buildx in policies of Rego.

regopy calls no function of ours, so each is a rule over data that was made before: what files hold, which files have
the key of a signature, which digests an image may be pinned to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.errors import UsageError
from tiffin.builder.policy.rego import corrections
from tiffin.builder.policy.rego.rules_text import without_comments
from tiffin.cache.foundation.frozen import dataclass, field

LOAD_JSON, PIN_IMAGE = "load_json", "pin_image"
VERIFY_GIT, VERIFY_HTTP = "verify_git_signature", "verify_http_pgp_signature"
ARTIFACT = "artifact_attestation"
# a rule that uses one of these would decide without it; what does the same here
MISSING = {
    "github_attestation": "pin the file by --checksum, or keep its bundle beside the policy: artifact_attestation",
    "github_release_attestation": "pin the file by --checksum, or keep its bundle beside the policy: "
    "artifact_attestation",
}
MAX_FILE_BYTES = 4 << 20  # as buildx
DATA = "tiffin_functions"  # what the functions read; no package of a policy is called so
_CALL = r"(?<![\w.]){name}\s*\("
_TEXT = r'"(?P<text>[^"\\\n]*)"|`(?P<raw>[^`]*)`'
_NAMED = rf"{_CALL.format(name=LOAD_JSON)}\s*(?:{_TEXT})\s*\)"
_DIGEST = r"sha256:[0-9a-f]{64}"
_RULES = {
    LOAD_JSON: f"{LOAD_JSON}(file) := data.{DATA}.json[file]\n",
    PIN_IMAGE: f"{PIN_IMAGE}(image, digest) := true if {{ image == input.image; image.checksum == digest }}\n"
    f"{PIN_IMAGE}(image, digest) := true if {{ image == input.image; digest in data.{DATA}.pins }}\n",
    VERIFY_GIT: f"{VERIFY_GIT}(object, file) if {{ object == input.git.commit; file in data.{DATA}.commit }}\n"
    f"{VERIFY_GIT}(object, file) if {{ object == input.git.tag; file in data.{DATA}.tag }}\n",
    VERIFY_HTTP: f"{VERIFY_HTTP}(http, signature, file) if {{\n    http == input.http\n"
    f"    [signature, file] in data.{DATA}.http\n}}\n",
    ARTIFACT: f"{ARTIFACT}(http, file) := data.{DATA}.artifacts[file] if http == input.http\n",
}
BUILDER = "docker_github_builder"
# what buildx has of GitHub's builder of Docker: rules of its package docker
_BUILDER_RULES = f"""
{BUILDER}_signature(signature, repository) if {{
    signature.kind == "docker-github-builder"
    signature.type == "bundle-v0.3"
    signature.signer.certificateIssuer == "CN=sigstore-intermediate,O=sigstore.dev"
    signature.signer.issuer == "https://token.actions.githubusercontent.com"
    signature.signer.sourceRepositoryURI == sprintf("https://github.com/%s", [repository])
    signature.signer.runnerEnvironment == "github-hosted"
    count(signature.timestamps) > 0
}}

{BUILDER}(image, repository) if {{
    image.hasProvenance
    some signature in image.signatures
    {BUILDER}_signature(signature, repository)
}}

{BUILDER}_tag(image, repository, tag) if {{
    image.hasProvenance
    some signature in image.signatures
    {BUILDER}_signature(signature, repository)
    signature.signer.sourceRepositoryRef == sprintf("refs/tags/%s", [tag])
}}
"""
_BUNDLE_RULES = f"""
{BUILDER}_bundle(http, file, repository) if {{
    signature := {ARTIFACT}(http, file)
    {BUILDER}_signature(signature, repository)
}}
"""
_PACKAGE = r"^\s*package\s+(\S+)"

Modules = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the functions answer of one source; files by their names in the policy."""

    pins: Sequence[str] = ()
    commit: Sequence[str] = ()  # files with a key that signed it
    tag: Sequence[str] = ()
    http: Sequence[Sequence[str]] = ()  # a signature, and a file with its key
    artifacts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


class Functions:
    """The functions that modules call, with the files below `folder` that they name. Raises UsageError."""

    def __init__(self, modules: Modules, folder: Path) -> None:
        self._plain = [(name, without_comments(text)) for name, text in modules]
        self._folder = folder
        self._check()
        self._json = {file: self._parsed(where, file) for where, file in self._named_json()}
        own = [*modules, *self._rules()]
        self.modules = [
            *((name, corrections.corrected(text)) for name, text in own),
            (corrections.PACKAGE, corrections.RULES),
        ]

    def calls(self, name: str) -> bool:
        """Whether a module calls a function."""
        return any(re.search(_CALL.format(name=name), text) for _, text in self._plain)

    def data(self, answers: Answers) -> dict[str, Any]:
        """Return what the rules read."""
        told: dict[str, Any] = {
            "json": self._json,
            "pins": list(answers.pins),
            "commit": list(answers.commit),
            "tag": list(answers.tag),
            "http": [list(pair) for pair in answers.http],
            "artifacts": dict(answers.artifacts),
        }
        return {DATA: told}

    def digests(self, document: object) -> list[str]:
        """Return the digests that an image may be pinned to: in the modules, what they load, and a document."""
        found: dict[str, None] = {}
        for text in [text for _, text in self._plain] + [json.dumps(self._json), json.dumps(document)]:
            found |= dict.fromkeys(re.findall(_DIGEST, text))
        return list(found)

    def files(self, accepts: Callable[[bytes], bool]) -> dict[str, bytes]:
        """Return the files that the modules name, and what they load, of which `accepts` takes the content."""
        texts = {found["text"] or found["raw"] or "" for _, text in self._plain for found in re.finditer(_TEXT, text)}
        texts |= set(_texts_in(self._json))
        found = {}
        for name in sorted(texts):
            path = self._folder / name
            if name and "\0" not in name and self._is_below(path) and path.is_file():
                data = self._read("a policy", name)
                if accepts(data):
                    found[name] = data
        return found

    def need(self, function: str, files: Mapping[str, bytes], what: str) -> None:
        """Raise UsageError for a call whose last word is a file that is not among `files`."""
        call = _CALL.format(name=function) + rf"[^()]*,\s*(?:{_TEXT})\s*\)"
        for where, text in self._plain:
            for name in (found["text"] or found["raw"] or "" for found in re.finditer(call, text)):
                if name not in files:
                    self._read(where, name)
                    raise UsageError(f"{where} reads {self._folder / name}, which has no {what}", remedy="correct it")

    def _check(self) -> None:
        for name, text in self._plain:
            corrections.check(name, text)
            for word, remedy in MISSING.items():
                if re.search(rf"(?<![\w.]){word}", text):
                    raise UsageError(f"{name} uses {word}, which tiffin does not answer", remedy=remedy)

    def _named_json(self) -> Iterator[tuple[str, str]]:
        for name, text in self._plain:
            named = [found["text"] or found["raw"] or "" for found in re.finditer(_NAMED, text)]
            if len(named) != len(re.findall(_CALL.format(name=LOAD_JSON), text)):
                raise UsageError(
                    f"{name} calls {LOAD_JSON} with a name that is not written out",
                    remedy=f'write {LOAD_JSON}("FILE"), once for each file',
                )
            yield from ((name, file) for file in named)

    def _rules(self) -> Iterator[tuple[str, str]]:
        """Yield a module for each package, with the functions that it calls."""
        needed: dict[str, dict[str, None]] = {}
        for _, text in self._plain:
            package = re.search(_PACKAGE, text, re.MULTILINE)
            rules = needed.setdefault(package[1], {}) if package is not None else {}
            rules |= {rule: None for name, rule in _RULES.items() if re.search(_CALL.format(name=name), text)}
            if re.search(rf"(?<!\w){BUILDER}", text):
                of_docker = needed.setdefault("docker", {})
                of_docker |= {_BUILDER_RULES: None}
                of_docker |= {_RULES[ARTIFACT]: None, _BUNDLE_RULES: None} if f"{BUILDER}_bundle" in text else {}
        for package_name, texts in needed.items():
            if texts:
                yield f"functions of {package_name}", f"package {package_name}\n\n" + "".join(texts)

    def _parsed(self, where: str, name: str) -> Any:
        try:
            return json.loads(self._read(where, name))
        except ValueError as exc:
            raise UsageError(f"{where} cannot read {self._folder / name}: {exc}", remedy="write JSON into it") from exc

    def _is_below(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._folder.resolve())

    def _read(self, where: str, name: str) -> bytes:
        path = self._folder / name
        try:
            if not self._is_below(path):
                raise UsageError(
                    f"{where} reads {name}, which is not below {self._folder}", remedy="put the file there"
                )
            with path.open("rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as exc:
            raise UsageError(f"{where} cannot read {path}: {exc}", remedy="put the file there") from exc
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(f"{where} reads {path}, which has more than 4 MiB", remedy="use a smaller file")
        return data


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)

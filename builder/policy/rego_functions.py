"""Functions of buildx in policies of Rego: load_json, and those that nothing here answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.errors import UsageError

LOAD_JSON = "load_json"
# a rule that uses one of these would decide without it; what does the same here
MISSING = {
    "verify_git_signature": "pin what you have verified: the rule commit of [[git]] in TOML, or tiffin lock",
    "verify_http_pgp_signature": "pin what you have verified: the rule checksum of [[urls]] in TOML, or tiffin lock",
    "pin_image": "pin images by tiffin lock and build --locked, or the rule pinned of [[images]] in TOML",
    "docker_github_builder": "write signed-by and attested-by of [[images]] in TOML",
    "artifact_attestation": "pin the file: the rule checksum of [[urls]] in TOML",
    "github_attestation": "pin the file: the rule checksum of [[urls]] in TOML",
    "github_release_attestation": "pin the file: the rule checksum of [[urls]] in TOML",
}
MAX_JSON_BYTES = 4 << 20  # as buildx
DATA = "tiffin_json"  # what the function reads; no package of a policy is called so
_CALL = rf"(?<![\w.]){LOAD_JSON}\s*\("
_NAMED = rf'{_CALL}\s*(?:"(?P<text>[^"\\]*)"|`(?P<raw>[^`]*)`)\s*\)'
_COMMENT = r'("(?:[^"\\\n]|\\.)*"|`[^`]*`)|#[^\n]*'

Modules = Sequence[tuple[str, str]]


def check_functions(modules: Modules) -> None:
    """Raise UsageError for functions that are not answered."""
    for name, text in modules:
        plain = without_comments(text)
        for word, remedy in MISSING.items():
            if re.search(rf"(?<![\w.]){word}", plain):
                raise UsageError(f"{name} uses {word}, which tiffin does not answer", remedy=remedy)


def with_functions(modules: Modules, folder: Path) -> tuple[Modules, dict[str, Any]]:
    """Return the modules with load_json in each package that calls it, and what it reads of files below `folder`.

    Raises UsageError for a file that is not there, and a name that is not written out.
    """
    packages: dict[str, None] = {}
    files: dict[str, Any] = {}
    for name, text in modules:
        plain = without_comments(text)
        named = [found["text"] or found["raw"] or "" for found in re.finditer(_NAMED, plain)]
        if len(named) != len(re.findall(_CALL, plain)):
            raise UsageError(
                f"{name} calls {LOAD_JSON} with a name that is not written out",
                remedy=f'write {LOAD_JSON}("FILE"), once for each file',
            )
        package = re.search(r"^\s*package\s+(\S+)", plain, re.MULTILINE)
        if named and package is not None:
            packages[package[1]] = None
            files |= {file: _read(name, file, folder) for file in named}
    rule = f"{LOAD_JSON}(file) := data.{DATA}[file]\n"
    more = [(f"{LOAD_JSON} of {package}", f"package {package}\n\n{rule}") for package in packages]
    return [*modules, *more], {DATA: files} if files else {}


def without_comments(text: str) -> str:
    """Return a module without its comments."""
    return re.sub(_COMMENT, lambda found: found[1] or "", text)


def _read(policy: str, name: str, folder: Path) -> Any:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{policy} reads {name}, which is not below {folder}", remedy="put the file there")
        with path.open("rb") as stream:
            data = stream.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise UsageError(f"{policy} reads {path}, which has more than 4 MiB", remedy="use a smaller file")
        return json.loads(data)
    except (OSError, ValueError) as exc:
        raise UsageError(f"{policy} cannot read {path}: {exc}", remedy="write a file of JSON") from exc

"""--allow: what targets ask for, beyond the working directory, and what a caller grants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from tiffin.builder.bake.definition import NETWORK_HOST, Target
from tiffin.builder.bake.fields import CACHE_FROM, CACHE_TO, ENTITLEMENTS, OUTPUT, SECRET, SSH
from tiffin.builder.bake.inputs import Inputs
from tiffin.builder.bake.overrides import BUILD_RIGHTS
from tiffin.builder.errors import UsageError
from tiffin.builder.options import truth
from tiffin.cache.foundation.frozen import dataclass

INSECURE, AGENT, DEVICE, DELETE = "security.insecure", "ssh", "device", "buildx.local.delete"
READ, WRITE, BOTH = "fs.read", "fs.write", "fs"
WORDS = (NETWORK_HOST, INSECURE, AGENT, DELETE)
WITH_VALUES = (READ, WRITE, BOTH, DEVICE, "image", "image.push", "image.load")
ANYWHERE = "*"
CHECKS_FILES = "BUILDX_BAKE_ENTITLEMENTS_FS"
REMOTE_FILES = "BAKE_ALLOW_REMOTE_FS_ACCESS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What is allowed: words, and directories that may be read and written."""

    words: frozenset[str]
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def granted(self, rights: Iterable[str]) -> tuple[str, ...]:
        """Return those of `rights` that a build itself may have, and that are granted."""
        own = (right for right in rights if right in BUILD_RIGHTS or right.partition("=")[0] == DEVICE)
        return tuple(sorted(right for right in own if _has(self, right)))


def read_grants(texts: Sequence[str], directory: str) -> Grants:
    """Return what --allow says; the working directory is always allowed. Raises UsageError."""
    words, reads, writes = set(), [directory], [directory]
    for text in texts:
        key, _, value = text.partition("=")
        if text in WORDS or key == DEVICE:
            words.add(text)
        elif key not in WITH_VALUES:
            raise UsageError(f'unknown entitlement key "{key}"', remedy=f"use {', '.join((*WORDS, *WITH_VALUES))}")
        if key in (READ, BOTH):
            reads.append(value)
        if key in (WRITE, BOTH):
            writes.append(value)
    return Grants(words=frozenset(words), reads=tuple(reads), writes=tuple(writes))


def check(
    targets: Mapping[str, Target],
    inputs: Mapping[str, Inputs],
    grants: Grants,
    environ: Mapping[str, str],
    *,
    remote: bool,
) -> None:
    """Raise UsageError for what no --allow grants."""
    missing: list[str] = []
    for name in sorted(targets):
        missing += _missing(targets[name], inputs[name], grants, checks_files=_checks_files(environ, remote=remote))
    if missing:
        flags = " ".join(f"--allow {text}" for text in dict.fromkeys(missing))
        raise UsageError(
            "additional privileges requested: " + ", ".join(dict.fromkeys(missing)),
            remedy=f"if you trust the definition, add {flags}",
        )


def _missing(target: Target, inputs: Inputs, grants: Grants, *, checks_files: bool) -> list[str]:
    found = [right for right in target.get(ENTITLEMENTS) or () if not _has(grants, right)]
    if not checks_files:
        return found
    agents = target.get(SSH) or []
    if AGENT not in grants.words and any(not entry.get("paths") for entry in agents):
        found.append(AGENT)
    reads = [*inputs.local_paths(), *(path for entry in agents for path in entry.get("paths", ()))]
    reads += [entry["src"] for entry in target.get(SECRET) or () if "src" in entry]
    reads += [entry["src"] for entry in target.get(CACHE_FROM) or () if entry["type"] == "local" and "src" in entry]
    writes = [entry["dest"] for entry in target.get(CACHE_TO) or () if entry["type"] == "local" and "dest" in entry]
    writes += [entry["dest"] for entry in target.get(OUTPUT) or () if entry.get("dest", "-") != "-"]
    found += [f"{READ}={path}" for path in _outside(reads, grants.reads)]
    return found + [f"{WRITE}={path}" for path in _outside(writes, grants.writes)]


def _has(grants: Grants, right: str) -> bool:
    if right.partition("=")[0] == DEVICE:
        return DEVICE in grants.words or right in grants.words
    return right in grants.words


def _outside(paths: Iterable[str], allowed: Sequence[str]) -> list[str]:
    if ANYWHERE in allowed:
        return []
    roots = [os.path.realpath(path) for path in allowed]
    real = {path: os.path.realpath(path) for path in paths if path}
    found = {path: place for path, place in real.items() if not any(_is_in(place, root) for root in roots)}
    return sorted(
        path
        for path, place in found.items()
        if not any(_is_in(place, other) and place != other for other in found.values())
    )


def _is_in(place: str, root: str) -> bool:
    return place == root or place.startswith(f"{root.rstrip('/')}/")


def _checks_files(environ: Mapping[str, str], *, remote: bool) -> bool:
    """Whether paths are checked, as the environment says. Raises UsageError."""
    checks = True
    for name, is_on in ((REMOTE_FILES, False), (CHECKS_FILES, True)):
        if name in environ and (remote or name == CHECKS_FILES):
            value = truth(environ[name])
            if value is None:
                raise UsageError(f'failed to parse {name} value "{environ[name]}"', remedy="set it to 0 or 1")
            checks = value == is_on
    return checks

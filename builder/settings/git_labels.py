"""Labels that say from which commit an image is built (BUILDX_GIT_LABELS), as buildx makes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tiffin.builder.options import is_on
from tiffin.builder.programs import find_program
from tiffin.builder.registry.download import shown

LABELS, CHECKS_DIRTY, FULL = "BUILDX_GIT_LABELS", "BUILDX_GIT_CHECK_DIRTY", "full"
REVISION, SOURCE = "org.opencontainers.image.revision", "org.opencontainers.image.source"
ENTRY_POINT = "com.docker.image.source.entrypoint"
SECONDS = 30


def git_labels(environ: Mapping[str, str], context: str, dockerfile: str) -> dict[str, str]:
    """Return labels of the repository that the context is in; none where it is in none, or git does not trust it."""
    full = environ.get(LABELS, "").lower() == FULL
    place = Path(context)
    if not (full or is_on(environ, LABELS)) or not place.is_dir():
        return {}
    root, commit = _git(place, "rev-parse", "--show-toplevel"), _git(place, "rev-parse", "--verify", "HEAD")
    if not root:
        return {}
    labels = {}
    if commit:
        dirty = is_on(environ, CHECKS_DIRTY) and _git(place, "status", "--porcelain", "--ignored=no")
        labels[REVISION] = f"{commit}-dirty" if dirty else commit
    url = _git(place, "remote", "get-url", "origin") if full else ""
    if url:
        labels[SOURCE] = shown(url) if "://" in url else url  # git@host:path has no password
    file = Path(dockerfile or place / "Dockerfile").resolve()
    if file.is_relative_to(root):
        labels[ENTRY_POINT] = str(file.relative_to(root))
    return labels


def _git(place: Path, *words: str) -> str:
    """Return what git prints, nothing where it fails."""
    program = find_program("git", os.environ.get("PATH", os.defpath))
    if not program:
        return ""
    command = [program, "-c", "core.fsmonitor=false", "-C", os.fspath(place), *words]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, errors="replace", timeout=SECONDS
    )
    return done.stdout.strip() if done.returncode == 0 else ""

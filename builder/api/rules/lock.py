"""What --locked asks of a build."""

from __future__ import annotations

import re
from pathlib import Path

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.errors import UsageError
from tiffin.builder.instructions.remote import is_git, is_http, parse_git
from tiffin.builder.lock.lockfile import SUFFIX, read_lock
from tiffin.builder.lock.pins import Locked

_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"


def locked(options: BuildOptions, beside: Path | None) -> Locked:
    """Return the lock that a build is to use. Raises UsageError where there is none."""
    path = lock_path(options, beside)
    found = read_lock(path)
    if found is None:
        raise UsageError(f"there is no {path}", remedy="run tiffin lock, and keep the file beside the Dockerfile")
    return Locked(found, path.name)


def check_context(text: str) -> None:
    """Check that a context can be locked: a directory, an archive of this machine, a commit. Raises UsageError."""
    if is_git(text, context=True):
        origin = parse_git(text)
        if not re.fullmatch(_COMMIT, origin.ref) and not re.fullmatch(_COMMIT, origin.checksum):
            raise UsageError(
                f"--locked: the context {origin.url} names no commit", remedy="write it with #COMMIT, all 40 digits"
            )
    elif is_http(text) or text.startswith("s3://"):
        raise UsageError(
            f"--locked: the context {text.partition('?')[0]} may change", remedy="fetch it first, and give the file"
        )


def lock_path(options: BuildOptions, beside: Path | None) -> Path:
    """Return where the lock of a Dockerfile is. Raises UsageError where it has no place."""
    if options.lock_file:
        return Path(options.lock_file)
    if beside is None:
        raise UsageError(
            "the Dockerfile is not a file of this machine, so no lock is beside it", remedy="add --lock-file FILE"
        )
    return beside.with_name(beside.name + SUFFIX)

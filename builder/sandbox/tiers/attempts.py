"""Trying out what a machine allows, in forked children (there is no way back from a namespace), and what to say where
it fails.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.isolation import Tier, TierReport
from tiffin.cache.foundation.files import remove_tree


def in_child(attempt: Callable[[str], str], directory: Path) -> tuple[str | None, str]:
    """Run `attempt` on a new directory in a child; return what it found, or None with message and remedy on two
    lines.
    """
    place = tempfile.mkdtemp(prefix="probe-", dir=directory)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                text = attempt(place)
                status = 0
            except SandboxError as exc:
                text = f"{exc.message}\n{exc.remedy}"
            except OSError as exc:
                text = f"{exc.strerror}\n{userns.unshare_remedy()}"
            os.write(writer, text.encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    status = os.waitpid(pid, 0)[1]
    remove_tree(Path(place))  # overlay's work directory is of mode 0
    return (text, "") if status == 0 else (None, text or "the attempt failed")


def failed(tier: Tier, failure: str) -> TierReport:
    """Return the report of a tier whose attempt failed."""
    reason, _, remedy = failure.partition("\n")
    return TierReport(tier=tier, reason=reason, remedy=remedy)


def is_noexec(directory: Path) -> bool:
    """Whether no program there may be run: Docker mounts --tmpfs so. A mounted overlay has its own flags."""
    return bool(os.statvfs(directory).f_flag & os.ST_NOEXEC)


def without_programs(tier: Tier) -> TierReport:
    """Return the report of a tier whose roots lie where no program runs."""
    reason = "the state directory is mounted noexec, so that no program runs from it"
    return TierReport(tier=tier, reason=reason, remedy="mount it with exec, as in --tmpfs DIR:exec")

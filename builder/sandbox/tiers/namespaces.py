"""What a user namespace can do here, for the tiers that enter one: it is made in a child, and mounts are made in it."""

from __future__ import annotations

import os
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.emulation import supervisor
from tiffin.builder.sandbox.isolation import Isolation, Tier, TierReport
from tiffin.builder.sandbox.tiers.attempts import failed, in_child, is_noexec, without_programs

OVERLAY, OWN_PIDS = "overlay", "pids"  # what a child found to work


def probe_namespaces(tier: Tier, id_map: userns.IdMap, directory: Path) -> TierReport:
    """Enter the namespace in a child and mount there: some machines allow the first and not the second."""

    def attempt(place: str) -> str:
        userns.enter(id_map)
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            os.close(kernel.new_filesystem("tmpfs", [], 0))
        except OSError as exc:
            raise SandboxError(f"mounts are refused: {exc.strerror}", remedy=userns.unshare_remedy()) from exc
        words = " ".join([*([OVERLAY] if _has_overlay(place) else []), *([OWN_PIDS] if _has_own_pids() else [])])
        return f"{words}\n{supervisor.why_not() if tier.emulates_always else ''}"

    found, failure = in_child(attempt, directory)
    if found is None:
        return failed(tier, failure)
    text, _, unsupervised = found.partition("\n")
    words = text.split()
    if OVERLAY not in words and is_noexec(directory):
        return without_programs(tier)
    isolation = Isolation(
        tier=tier,
        id_map=id_map,
        overlay=OVERLAY in words,
        own_pids=OWN_PIDS in words,
        unsupervised=unsupervised,
    )
    reason = "owners, ids and devices are emulated" if tier.emulates_always and not unsupervised else ""
    return TierReport(tier=tier, reason=reason, isolation=isolation)


def _has_overlay(place: str) -> bool:
    """Whether an overlay with its upper directory in `place` can be mounted, and keeps whiteouts."""
    for part in ("lower", "upper", "work"):
        os.mkdir(f"{place}/{part}")
    options: list[tuple[str, str | None]] = [("source", "tiffin"), ("userxattr", None)]
    options += [("lowerdir", f"{place}/lower"), ("upperdir", f"{place}/upper"), ("workdir", f"{place}/work")]
    try:
        os.close(kernel.new_filesystem("overlay", options, 0))
        os.mknod(f"{place}/lower/whiteout", 0o020000, 0)
    except OSError:
        return False
    return True


def _has_own_pids() -> bool:
    """Whether a new pid namespace gets a /proc of its own: refused where the machine's is masked."""

    def mount_proc() -> None:
        os.close(kernel.new_filesystem("proc", [], kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC))

    try:
        kernel.unshare(kernel.CLONE_NEWPID)
    except OSError:
        return False
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            mount_proc()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0

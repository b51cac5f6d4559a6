"""Which tiers of isolation this machine allows, found out by doing each in a forked child (design section 4)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox import proot, userns
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.emulation import supervisor
from tiffin.builder.sandbox.isolation import CHROOT, NAMES, NONE, PROOT, RANGE, SINGLE, Isolation
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.foundation.values import dataclass

OVERLAY, OWN_PIDS = "overlay", "pids"  # what a child found to work
SYSTEM_ID = 33  # an id that is not root's: www-data, as every distribution has it
CHROOT_REMEDY = "run as uid 0 with the capabilities a container runtime gives by default"
RUN_REMEDY = "or build a Dockerfile without RUN; tiffin info shows what would lift it"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """One tier: whether it works here, and if not why and what would help."""

    name: str
    usable: bool
    reason: str = ""
    remedy: str = ""
    isolation: Isolation | None = None  # where it works

    def limits(self) -> tuple[str, ...]:
        """What is less than it could be where it works."""
        return self.isolation.limits() if self.isolation is not None else ()


def probe(directory: Path) -> tuple[TierReport, ...]:
    """Every tier, best first. Overlays are tried in `directory`, a temporary one beside the state."""
    return tuple(_report(name, directory) for name in NAMES)


def best(reports: Sequence[TierReport]) -> TierReport:
    """The tier that is taken without --isolation."""
    return next(report for report in reports if report.usable and report.name != PROOT)


def choose(forced: str | None, directory: Path) -> Isolation:
    """The best tier that works, NONE where none does; raises SandboxError for a forced one that does not."""
    if forced is not None:
        if forced not in NAMES:
            raise UsageError(f'unknown isolation "{forced}"', remedy=f"use one of {', '.join(NAMES)}")
        report = _report(forced, directory)
        if report.isolation is None:
            raise SandboxError(f"isolation {forced} does not work here: {report.reason}", remedy=report.remedy)
        if forced == NONE:
            return Isolation(tier=NONE, refusal="--isolation none was asked for", remedy="leave it out")
        return report.isolation
    refused, remedy = [], ""
    for name in (RANGE, SINGLE, CHROOT):
        report = _report(name, directory)
        if report.isolation is not None:
            return report.isolation
        refused.append(f"{name}: {report.reason}")
        if name == SINGLE:  # the tier that needs least
            remedy = report.remedy.partition(";")[0]
    return Isolation(tier=NONE, refusal="; ".join(refused), remedy=f"{remedy}; {RUN_REMEDY}")


def _report(name: str, directory: Path) -> TierReport:
    match name:
        case "range":
            id_map = userns.plan_range()
            if id_map is None:
                remedy = "install uidmap and give the user subuids, or run as root with CAP_SETUID and CAP_SETGID"
                return TierReport(name=name, usable=False, reason=userns.why_no_range(), remedy=remedy)
            return _namespaces(name, id_map, directory)
        case "single":
            return _namespaces(name, userns.plan_single(), directory)
        case "chroot":
            return _chroot(directory)
        case "proot":
            return _proot(directory)
        case _:
            reason = "COPY, ADD and metadata; RUN needs one of the tiers above"
            return TierReport(name=NONE, usable=True, reason=reason, isolation=Isolation(tier=NONE))


def _namespaces(name: str, id_map: userns.IdMap, directory: Path) -> TierReport:
    """Enter the namespace in a child and mount there: some machines allow the first and not the second."""

    def attempt(place: str) -> str:
        userns.enter(id_map)
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            os.close(kernel.new_filesystem("tmpfs", [], 0))
        except OSError as exc:
            raise SandboxError(f"mounts are refused: {exc.strerror}", remedy=userns.unshare_remedy()) from exc
        words = " ".join([*([OVERLAY] if _has_overlay(place) else []), *([OWN_PIDS] if _has_own_pids() else [])])
        return f"{words}\n{supervisor.why_not() if name == SINGLE else ''}"

    found, failure = _in_child(attempt, directory)
    if found is None:
        return _failed(name, failure)
    text, _, unsupervised = found.partition("\n")
    words = text.split()
    if OVERLAY not in words and _is_noexec(directory):
        return _without_programs(name)
    isolation = Isolation(
        tier=name,
        id_map=id_map,
        overlay=OVERLAY in words,
        own_pids=OWN_PIDS in words,
        unsupervised=unsupervised,
    )
    reason = "owners, ids and devices are emulated" if name == SINGLE and not unsupervised else ""
    return TierReport(name=name, usable=True, reason=reason, isolation=isolation)


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


def _chroot(directory: Path) -> TierReport:
    """Own a directory's files as others do, enter it, become another user."""

    def attempt(place: str) -> str:
        if os.geteuid() != 0:
            raise SandboxError(f"uid {os.geteuid()} is not root", remedy=CHROOT_REMEDY)
        attempts: tuple[tuple[str, Callable[[], None]], ...] = (
            ("give files away", lambda: os.chown(place, SYSTEM_ID, SYSTEM_ID)),
            ("chroot", lambda: os.chroot(place)),
            ("set groups", lambda: os.setgroups([SYSTEM_ID])),
            ("become another user", lambda: os.setresuid(SYSTEM_ID, SYSTEM_ID, SYSTEM_ID)),
        )
        for what, act in attempts:
            try:
                act()
            except OSError as exc:
                raise SandboxError(f"root may not {what}: {exc.strerror}", remedy=CHROOT_REMEDY) from exc
        return ""

    found, failure = _in_child(attempt, directory)
    if found is None:
        return _failed(CHROOT, failure)
    if _is_noexec(directory):
        return _without_programs(CHROOT)
    return TierReport(name=CHROOT, usable=True, isolation=Isolation(tier=CHROOT))


def _proot(directory: Path) -> TierReport:
    """Only ever by --isolation: its root is a pretence that does not remember owners."""
    if not proot.find():
        return TierReport(
            name=PROOT, usable=False, reason="proot is not installed", remedy="install it (Debian package proot)"
        )
    if _is_noexec(directory):
        return _without_programs(PROOT)
    failure = proot.try_out(directory)
    if failure:
        return TierReport(name=PROOT, usable=False, reason=failure, remedy="allow ptrace")
    reason = "only with --isolation proot: slow, and what is chowned is forgotten"
    return TierReport(name=PROOT, usable=True, reason=reason, isolation=Isolation(tier=PROOT))


def _is_noexec(directory: Path) -> bool:
    """Whether no program there may be run: Docker mounts --tmpfs so. A mounted overlay has its own flags."""
    return bool(os.statvfs(directory).f_flag & os.ST_NOEXEC)


def _without_programs(name: str) -> TierReport:
    reason = "the state directory is mounted noexec, so that no program runs from it"
    return TierReport(name=name, usable=False, reason=reason, remedy="mount it with exec, as in --tmpfs DIR:exec")


def _failed(name: str, failure: str) -> TierReport:
    reason, _, remedy = failure.partition("\n")
    return TierReport(name=name, usable=False, reason=reason, remedy=remedy)


def _in_child(attempt: Callable[[str], str], directory: Path) -> tuple[str | None, str]:
    """Run `attempt` on a new directory in a forked child: what it found, or None with message and remedy on two lines."""
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

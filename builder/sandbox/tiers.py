"""Which tiers of isolation this machine allows, found out by trying each in a child (design section 4)."""

from __future__ import annotations

import os
from collections.abc import Callable

from builder.errors import SandboxError, UsageError
from builder.sandbox import kernel, userns
from cache.values import dataclass

NAMES = ("range", "single", "chroot", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """One tier: whether it works here, and if not why and what would help."""

    name: str
    usable: bool
    reason: str = ""
    remedy: str = ""


def probe() -> tuple[TierReport, ...]:
    """Every tier, best first."""
    return (_range(), _single(), *_without_namespaces())


def choose(forced: str | None) -> userns.IdMap:
    """The id map of the best tier that works, or of the one forced; raises SandboxError saying why none does."""
    if forced is not None and forced not in NAMES:
        raise UsageError(f'unknown isolation "{forced}"', remedy=f"use one of {', '.join(NAMES)}")
    refused = []
    for name, try_it in (("range", _range), ("single", _single)):
        if forced not in (None, name):
            continue
        report = try_it()
        if report.usable:
            id_map = userns.plan_range() if name == "range" else userns.plan_single()
            assert id_map is not None
            return id_map
        refused.append(report)
    if not refused:
        refused = [report for report in _without_namespaces() if report.name == forced]
    reasons = "; ".join(f"{report.name}: {report.reason}" for report in refused)
    raise SandboxError(f"RUN needs a sandbox, and this machine allows none ({reasons})", remedy=refused[-1].remedy)


def _range() -> TierReport:
    id_map = userns.plan_range()
    if id_map is None:
        reason = userns.why_no_range()
        return TierReport(name="range", usable=False, reason=reason, remedy="install uidmap and give the user subuids")
    return _tried("range", id_map)


def _single() -> TierReport:
    return _tried("single", userns.plan_single())


def _without_namespaces() -> tuple[TierReport, ...]:
    remedy = "allow user namespaces, or build a Dockerfile without RUN"
    return (
        TierReport(name="chroot", usable=False, reason="tiffin does not run commands in a chroot yet", remedy=remedy),
        TierReport(
            name="none",
            usable=False,
            reason="COPY, ADD and metadata always work; RUN needs one of the tiers above",
            remedy=remedy,
        ),
    )


def _tried(name: str, id_map: userns.IdMap) -> TierReport:
    """Enter the namespace in a child and mount something there: some machines allow the first and not the second."""

    def attempt() -> None:
        userns.enter(id_map)
        try:
            kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
            os.close(kernel.new_filesystem("tmpfs", [], 0))
        except OSError as exc:
            raise SandboxError(f"mounts are refused: {exc.strerror}", remedy=userns.unshare_remedy()) from exc

    failure = _in_child(attempt)
    if failure is None:
        return TierReport(name=name, usable=True)
    reason, _, remedy = failure.partition("\n")
    return TierReport(name=name, usable=False, reason=reason, remedy=remedy)


def _in_child(attempt: Callable[[], None]) -> str | None:
    """Run `attempt` in a forked child; None if it came through, else its message and remedy on two lines."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            attempt()
            status = 0
        except SandboxError as exc:
            os.write(writer, f"{exc.message}\n{exc.remedy}".encode())
        except OSError as exc:
            os.write(writer, f"{exc.strerror}\n{userns.unshare_remedy()}".encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    return None if status == 0 else text or "the attempt failed"

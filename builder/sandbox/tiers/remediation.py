"""What would give this machine a better tier, as text to paste: an AppArmor profile, a sysctl, pod settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tiffin.builder.sandbox.isolation import Advice, Isolation, TierReport

APPARMOR = """# /etc/apparmor.d/tiffin, then: apparmor_parser -r /etc/apparmor.d/tiffin
abi <abi/4.0>,
profile tiffin {program} flags=(unconfined) {{
  userns,
}}"""
POD_PROFILE = """securityContext:            # of the container; tiffin then runs in tier {tier}
  seccompProfile:
    type: Localhost           # allowed by the Pod Security Standard "restricted"
    localhostProfile: tiffin.json   # the runtime's default, and: {calls}"""
CALLS = (
    "unshare clone setns mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount mount_setattr"
    " sethostname"
)
POD_USERS = """spec:
  hostUsers: false            # and for a fresh /proc, in the container's securityContext:
  # procMount: Unmasked"""
POD_VOLUME = """volumes: [{name: state, emptyDir: {}}]
volumeMounts: [{name: state, mountPath: /var/lib/tiffin}]    # and TIFFIN_ROOT=/var/lib/tiffin"""
SYSCTLS = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
)
APPARMOR_SWITCH = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
FILTERED = "2"  # of Seccomp in /proc/self/status


def advice(reports: Sequence[TierReport]) -> list[Advice]:
    """Return what would help, most useful first; nothing where the best tier works without limits."""
    mounted = next((report for report in reports if report.usable and report.tier.has_namespaces), None)
    result = _for_namespaces() if mounted is None or mounted.isolation is None else _for_limits(mounted.isolation)
    for report in reports:
        if not report.usable:
            result += report.tier.advise(mounted)
    return result


def _for_limits(isolation: Isolation) -> list[Advice]:
    result = []
    if not isolation.overlay:
        result.append(Advice(what="A volume for the state directory, so that layers are mounted", text=POD_VOLUME))
    if not isolation.own_pids:
        result.append(Advice(what="A pod with its own user namespace", text=POD_USERS))
    return result


def _for_namespaces() -> list[Advice]:
    result = []
    if _read(APPARMOR_SWITCH) == "1":
        text = APPARMOR.format(program=os.path.realpath(sys.executable))
        result.append(Advice(what="AppArmor forbids user namespaces; a profile allows them", text=text))
    for path, bad, setting in SYSCTLS:
        if _read(path) == bad:
            result.append(Advice(what="A sysctl forbids user namespaces", text=f"sysctl -w {setting}    # as root"))
    if _is_filtered():
        tier = "range" if os.getuid() == 0 else "single"
        text = POD_PROFILE.format(tier=tier, calls=CALLS)
        result.append(Advice(what="A seccomp profile forbids user namespaces; another allows them", text=text))
    return result


def _is_filtered() -> bool:
    return any(line.split()[1:] == [FILTERED] for line in _read("/proc/self/status").splitlines() if "Seccomp:" in line)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""

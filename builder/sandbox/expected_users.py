"""Whether others than root are to be expected in a run, as far as its beginning and its text tell.

Only the cost of the emulation of owners hangs on it (tiffin.builder.sandbox.child.emulation.filter): a run with one id
is asked more about itself where there are users whom something may be refused.
"""

from __future__ import annotations

from collections.abc import Sequence

# programs that run others as somebody else
_BECOMING = {
    "su", "sudo", "doas", "runuser", "setpriv", "gosu", "su-exec", "setuidgid", "s6-setuidgid", "chpst",
    "start-stop-daemon", "capsh", "pkexec", "initdb", "pg_ctl", "pg_ctlcluster",
}  # fmt: skip
_INSTALLING = {"apt-get", "apt", "aptitude", "apk", "yum", "dnf", "microdnf", "zypper", "pacman", "pip", "npm"}
_CALLS = ("setuid", "seteuid", "setreuid", "setresuid", "--userspec")  # of scripting languages, and of chroot
_PLAIN = str.maketrans(";&|(){}`'\"", "\n\n\n\n\n\n\n\n  ")  # what separates commands, and what words
_NEEDED = {
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SYS_CHROOT",
}  # root without one may be refused something


def expects_users(uid: int, capabilities: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether a run begins as another than root, as a root who may not do all, or by its `texts` becomes another."""
    if uid or _NEEDED - set(capabilities):
        return True
    return any(_becomes_another(text) for text in texts)


def _becomes_another(text: str) -> bool:
    if any(call in text for call in _CALLS):
        return True
    return any(map(_is_becoming, text.replace("\\\n", " ").translate(_PLAIN).split("\n")))


def _is_becoming(command: str) -> bool:
    """Whether a word of a simple command is such a program, and not the name of a package to be installed."""
    for word in command.split():
        name = word.rpartition("/")[2]
        if name in _BECOMING:
            return True
        if name in _INSTALLING:
            return False
    return False

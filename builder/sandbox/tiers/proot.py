"""PRoot: runs a command in a root directory by translating its system calls with ptrace. It needs no privilege at all.

It pretends to be root and forgets what was chowned; it is slow, and used only when asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from tiffin.builder.sandbox.isolation import Isolation, Tier, TierReport
from tiffin.builder.sandbox.tiers.attempts import is_noexec, without_programs
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.spec import SandboxSpec
    from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"  # never $PATH: what is found runs every command
TRY_SECONDS = 20
TEMPORARY = "PROOT_TMP_DIR"  # in the environment: where its loader lies
BOUND = ("/dev", "/proc", "/sys")


class ProotTier(Tier):
    """Only ever by --isolation: its root is a pretence that does not remember owners."""

    name = "proot"
    is_automatic = False
    is_traced = True

    def probe(self, directory: Path) -> TierReport:
        if not find():
            return TierReport(tier=self, reason="proot is not installed", remedy="install it (Debian package proot)")
        if is_noexec(directory):
            return without_programs(self)
        failure = try_out(directory)
        if failure:
            return TierReport(tier=self, reason=failure, remedy="allow ptrace")
        reason = "only with --isolation proot: slow, and chown has no effect"
        return TierReport(tier=self, reason=reason, isolation=Isolation(tier=self))

    def prepare_root(self, spec: SandboxSpec, places: MountSubstitutes) -> SandboxSpec:
        for name in BOUND:
            places.mount_point(name.strip("/"), is_directory=True)
        places.put_files(spec)
        argv = command(spec.root_dir, spec.argv, cwd=spec.cwd, uid=spec.uid, gid=spec.gid)
        env = (*spec.env, f"{TEMPORARY}={spec.scratch_dir}")  # /tmp may be read-only
        return replace(spec, mounts=(), argv=argv, env=env)

    def root_ids(self) -> tuple[int, int]:
        return os.geteuid(), os.getegid()


def find() -> str:
    """Return the program's absolute path, "" if it is not installed."""
    return which("proot", path=SEARCH_PATH) or ""


def try_out(directory: Path) -> str:
    """Run a command that does nothing, with temporary files in `directory`; return why it failed, "" if it did not."""
    argv = command("/", [sys.executable, "-I", "-S", "-c", ""], cwd="/", uid=0, gid=0)
    try:
        environ = {**os.environ, TEMPORARY: os.fspath(directory)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TRY_SECONDS, env=environ)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"proot failed: {exc}"
    return "" if done.returncode == 0 else f"proot failed: {(done.stderr.splitlines() or ['no reason given'])[-1]}"


def command(root: str, argv: Sequence[str], *, cwd: str, uid: int, gid: int) -> tuple[str, ...]:
    """Return the command that runs `argv` in `root` as `uid`, as far as the program sees."""
    words = [find(), "-r", root, "-w", cwd, "-i", f"{uid}:{gid}"]
    for path in BOUND:
        words += ["-b", path]
    return (*words, *argv)


TIER = ProotTier()

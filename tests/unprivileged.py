"""Run tiffin as users who are not root: one with subordinate ids, one without. Root makes them; they go at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# of this process alone, as several test runs may share a machine
WITH_IDS, WITHOUT_IDS = f"tiffin-{os.getpid()}-ids", f"tiffin-{os.getpid()}-plain"
# what the tests' own environment has beyond what tiffin needs to run
NOT_COPIED = ("mypy*", "ruff*", "pytest*", "_pytest", "hypothesis*", "xdist", "pip*", "setuptools*", "__pycache__")
TIMEOUT_SECONDS = 300
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """`code` is a world-readable copy of tiffin and what it imports."""

    code: Path

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, checkout: Path) -> Iterator[Users]:
        """Make the users and the copy; skips when not run by root, who alone can."""
        if os.getuid() != 0:
            pytest.skip("only root can become another user")
        code = Path(tempfile.mkdtemp(prefix="tiffin-code-"))
        made = []
        try:
            for package in ("builder", "cache"):
                shutil.copytree(checkout / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
            site = Path(pytest.__file__).parent.parent
            shutil.copytree(site, code / "site", ignore=shutil.ignore_patterns(*NOT_COPIED))
            subprocess.run(["chmod", "-R", "a+rX", str(code)], check=True)
            for name in (WITH_IDS, WITHOUT_IDS):
                made.append(name)
                _make_user(name)
            yield cls(code=code)
        finally:
            for name in made:
                subprocess.run(["userdel", "-r", name], capture_output=True, check=False)
            shutil.rmtree(code)

    def run(
        self, user: str, words: Sequence[str | Path], *, check: bool = True, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run tiffin as `user` in the user's home."""
        done = self.program(user, [interpreter(), "-m", "builder", *map(str, words)], **environ)
        assert "Traceback" not in done.stderr, done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    def program(self, user: str, argv: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run any program as `user`."""
        entry = pwd.getpwnam(user)
        return subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            cwd=entry.pw_dir,
            env={
                "PATH": os.environ["PATH"],
                "HOME": entry.pw_dir,
                "PYTHONPATH": f"{self.code}:{self.code / 'site'}",
                "PYTHONDONTWRITEBYTECODE": "1",
                **environ,
            },
        )

    def home(self, user: str) -> Path:
        return Path(pwd.getpwnam(user).pw_dir)


def interpreter() -> str:
    """A Python others may run: the one this environment was made from."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        if all(os.stat(parent).st_mode & 0o001 for parent in (candidate, *Path(candidate).parents)):
            return candidate
    raise AssertionError("no Python that other users may run")


def _make_user(name: str) -> None:
    """Make a user, WITHOUT_IDS without subordinate ids. Other test runs make users at the same time."""
    subprocess.run(["userdel", "-r", name], capture_output=True, check=False)
    none = ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"] if name == WITHOUT_IDS else []
    with (Path(tempfile.gettempdir()) / "tiffin-users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(TRIES):  # whoever else changes /etc/passwd takes a lock that useradd does not wait for
            done = subprocess.run(["useradd", "-m", *none, name], check=number + 1 == TRIES, capture_output=True)
            if done.returncode == 0:
                break
            time.sleep(0.5)

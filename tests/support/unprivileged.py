"""Run tiffin as users who are not root: one with subordinate ids, one without. Root makes them; they go at the end.

Who is not root is both of them, as far as his own ids serve.
"""

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tiffin.builder.sandbox.userns import plan_range

WITH_IDS, WITHOUT_IDS = "ids", "plain"
# what the tests' own environment has beyond what tiffin needs to run: three quarters of its bytes
NOT_COPIED = (
    "*__mypyc*",
    "beartype",
    "cfnlint",
    "check_jsonschema",
    "cyclonedx",
    "kubernetes_validate",
    "moto",
    "mpmath",
    "networkx",
    "rdflib",
    "spdx_tools",
    "sympy",
    "mypy*",
    "ruff*",
    "pytest*",
    "_pytest",
    "hypothesis*",
    "xdist",
    "pip",
    "pip-*",
    "setuptools*",
    "__pycache__",
)
BYTECODE = "bytecode"  # below the copy, for any of them to write: to compile it is half of what a command takes
TIMEOUT_SECONDS = 900  # the machine may be busy with other tests
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """`code` is a world-readable copy of tiffin and what it imports, `homes` has a directory of each user's own.

    Root's users are called `run_name` and what is said here: several test runs, and workers of one, share a machine.
    """

    code: Path
    homes: Mapping[str, Path]
    run_name: str

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, checkout: Path) -> Iterator[Users]:
        """Make the copy and, as root, the users."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_alive())
            run_name = f"tiffin-{os.getpid()}"
            code = Path(tempfile.mkdtemp(prefix=f"{run_name}-code-"))
            stack.callback(remove_folder, code)
            shutil.copytree(checkout / "tiffin", code / "tiffin", ignore=shutil.ignore_patterns("__pycache__"))
            site = Path(pytest.__file__).parent.parent
            shutil.copytree(site, code / "site", ignore=shutil.ignore_patterns(*NOT_COPIED))
            subprocess.run(["chmod", "-R", "a+rX", str(code)], check=True)
            (code / BYTECODE).mkdir()
            (code / BYTECODE).chmod(0o1777)
            made = cls(code=code, homes={}, run_name=run_name)
            yield stack.enter_context(made.joined_by({name: name != WITHOUT_IDS for name in _names()}))

    @contextlib.contextmanager
    def joined_by(self, names: Mapping[str, bool]) -> Iterator[Users]:
        """Make more users, as root: whether each has subordinate ids. They go with the block."""
        with contextlib.ExitStack() as stack:
            homes = {
                name: stack.enter_context(_home(f"{self.run_name}-{name}", has_ids=ids)) for name, ids in names.items()
            }
            yield replace(self, homes={**self.homes, **homes})

    @property
    def names(self) -> tuple[str, ...]:
        """The users there are: both, but for a caller without subordinate ids."""
        return tuple(self.homes)

    @property
    def usual(self) -> str:
        """Who has subordinate ids; where nobody has, the one without."""
        return self.names[0]

    def run(
        self,
        user: str,
        words: Sequence[str | Path],
        *,
        check: bool = True,
        isolation: str = "",
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run tiffin as `user` in the user's home, in a tier if one is asked for."""
        environ |= {"TIFFIN_ISOLATION": isolation} if isolation else {}
        done = self.program(user, [interpreter(), "-m", "tiffin", *map(str, words)], **environ)
        assert "Traceback" not in done.stderr, done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    def program(self, user: str, argv: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run any program as `user`."""
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            list(argv),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            cwd=self.home(user),
            env={**self.environ(user), **environ},
            **self.identity(user),
        )
        return done

    def environ(self, user: str) -> dict[str, str]:
        """The whole environment of a process of `user`."""
        alone = {"TIFFIN_ISOLATION": "single"} if user == WITHOUT_IDS and has_ids() else {}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home(user)),
            "PYTHONPATH": f"{self.code}:{self.code / 'site'}",
            "PYTHONPYCACHEPREFIX": str(self.code / BYTECODE),
            **alone,
        }

    def identity(self, user: str) -> dict[str, object]:
        """What makes a process of subprocess one of `user`."""
        if os.getuid() != 0:
            return {}
        entry = pwd.getpwnam(self.name(user))
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def name(self, user: str) -> str:
        """As the system calls the user."""
        return f"{self.run_name}-{user}" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name

    def own(self, user: str, path: Path) -> None:
        """Give `user` what the test made."""
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.name(user))
            subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", str(path)], check=True)

    def home(self, user: str) -> Path:
        if user not in self.homes:
            pytest.skip("whoever runs the tests has no subordinate ids (newuidmap, /etc/subuid, /etc/subgid)")
        return self.homes[user]


def has_ids() -> bool:
    """Whether whoever runs the tests has subordinate ids, and is not root."""
    return os.getuid() != 0 and plan_range() is not None


def has_one_id() -> bool:
    """Whether whoever runs the tests gets a namespace with one id, where the kernel enforces no permissions of
    others.
    """
    return os.getuid() != 0 and not has_ids()


def remove_folder(folder: Path) -> None:
    """Remove a directory, also what belongs to the caller's subordinate ids or is closed to himself."""
    _as_root_of_a_namespace("rm", "-rf", str(folder))


def give_away(folder: Path, uid: int) -> None:
    """Make another the owner of a directory and all in it: `uid`, or that one of the caller's subordinate ids."""
    if has_one_id():
        pytest.skip("only root, or who has subordinate ids, gives files away")
    _as_root_of_a_namespace("chown", "-R", f"{uid}:{uid}", str(folder))


def reclaim(folder: Path) -> None:
    """Make such files the caller's own, for others to remove."""
    _as_root_of_a_namespace("chown", "-R", "--no-dereference", "0:0", str(folder))
    _as_root_of_a_namespace("chmod", "-R", "u+rwX", str(folder))


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[Path]:
    """The directory, or a copy of it where some files may be the caller's subordinate ids' alone, or closed to
    himself.
    """
    if os.getuid() == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=f"tiffin-{os.getpid()}-copy-") as place:
        copy = Path(place) / folder.name
        _as_root_of_a_namespace("cp", "-a", str(folder), str(copy))
        reclaim(copy)
        yield copy


def _as_root_of_a_namespace(*argv: str) -> None:
    ids = ["--map-auto"] if has_ids() else []
    become = ["unshare", "--user", "--map-root-user", *ids] if os.getuid() != 0 else []
    subprocess.run([*become, *argv], check=True)


def interpreter() -> str:
    """A Python others may run: the one this environment was made from."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        if all(parent.stat().st_mode & 0o001 for parent in (Path(candidate), *Path(candidate).parents)):
            return candidate
    raise AssertionError("no Python that other users may run")


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """Hold this run's lock, and remove what runs left that were killed: whose lock is free has ended."""
    places = Path(tempfile.gettempdir())
    for lock in places.glob("tiffin-*.alive"):
        with contextlib.suppress(OSError), lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(lock.name.removesuffix(".alive"))
            lock.unlink()
    with (places / f"tiffin-{os.getpid()}.alive").open("w") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        try:
            yield
        finally:
            Path(own.name).unlink(missing_ok=True)


def _sweep(run: str) -> None:
    """The users and directories of a run, called tiffin-PID."""
    if os.getuid() == 0:
        for entry in pwd.getpwall():
            if entry.pw_name.startswith(f"{run}-"):
                subprocess.run(["userdel", "-r", "-f", entry.pw_name], capture_output=True, check=False)
    for folder in Path(tempfile.gettempdir()).glob(f"{run}-*"):
        if folder.stat().st_uid == os.getuid():
            remove_folder(folder)


def _names() -> tuple[str, ...]:
    return (WITH_IDS, WITHOUT_IDS) if os.getuid() == 0 or has_ids() else (WITHOUT_IDS,)


@contextlib.contextmanager
def _home(name: str, *, has_ids: bool) -> Iterator[Path]:
    """The home of a user made for the time, or a directory that serves the caller for one."""
    if os.getuid() != 0:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        try:
            yield folder
        finally:
            remove_folder(folder)
        return
    try:
        _make_user(name, has_ids=has_ids)
        yield Path(pwd.getpwnam(name).pw_dir)
    finally:
        subprocess.run(["userdel", "-r", name], capture_output=True, check=False)


def _make_user(name: str, *, has_ids: bool) -> None:
    """Make a user, with subordinate ids or without. Other test runs make users at the same time."""
    subprocess.run(["userdel", "-r", name], capture_output=True, check=False)
    none = [] if has_ids else ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    with (Path(tempfile.gettempdir()) / "tiffin-users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(TRIES):  # whoever else changes /etc/passwd takes a lock that useradd does not wait for
            done = subprocess.run(["useradd", "-m", *none, name], check=number + 1 == TRIES, capture_output=True)
            if done.returncode == 0:
                break
            time.sleep(0.5)

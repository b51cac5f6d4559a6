"""The state directory: every path below it, its locks, its format stamp, and what a dead process left there.

Locks are flocks on files in locks/, so they end with their holder. Lock order: one step lock at most, then layer and
blob locks, then the lock of the image list; a holder of a later one takes no earlier one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tiffin.cache.errors import StoreError
from tiffin.cache.foundation.files import disk_error, disk_errors, flocked, remove_tree, write_atomically
from tiffin.cache.foundation.sha256 import short_sha256

FORMAT = "tiffin 1\n"
FOLDERS = ("images/blobs/sha256", "layers", "cache", "mounts", "containers", "networks", "filters", "tmp", "locks")
FAILURES = "failures"  # where builds keep what failed steps left, once there is one
_KIND_LENGTH = 100  # of a lock
_scratches: set[Path] = set()  # those of this process that are not removed yet
_unswept: list[StateDir] = []  # those this process uses
MANY_SCRATCHES = 4  # directories to remove, for which several processes are worth their while
LOCK_BUCKETS = 4096  # bounds the number of lock files; two names in one bucket only wait for each other


class StateDir:
    """An opened state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images"
        self.image_list = self.images / "index.json"  # image-layout.md, "index.json"
        self.layers = root / "layers"
        self.cache = root / "cache"
        self.mounts = root / "mounts"
        self.containers = root / "containers"
        self.filters = root / "filters"  # seccomp filters that were made once
        self.tmp = root / "tmp"
        self.locks = root / "locks"

    @staticmethod
    def default_root(environ: Mapping[str, str]) -> Path:
        """Return $TIFFIN_ROOT, else $XDG_DATA_HOME/tiffin, else ~/.local/share/tiffin, else a directory for temporary
        files.

        Without a home, as an arbitrary uid in a container has none, it is tiffin-UID in $TMPDIR, /var/tmp or /tmp,
        which must be ours alone. Raises StoreError.
        """
        if environ.get("TIFFIN_ROOT"):
            return Path(environ["TIFFIN_ROOT"])
        if environ.get("XDG_DATA_HOME"):
            return Path(environ["XDG_DATA_HOME"]) / "tiffin"
        home = environ.get("HOME", "")
        if not home:
            try:
                home = pwd.getpwuid(os.getuid()).pw_dir
            except KeyError:
                home = ""
        if not home or home == "/":
            return _homeless_root(environ)
        return Path(home) / ".local/share/tiffin"

    @classmethod
    def open(cls, root: Path) -> StateDir:
        """Open or make the state directory at `root`; raises StoreError."""
        root = root.absolute()
        stamp = root / "format"
        try:
            if stamp.read_text() == FORMAT:
                for folder in FOLDERS:
                    if not os.path.isdir(root / folder):
                        cls._restore(root / folder)
                return cls(root)
            raise StoreError(f"{root} has another format", remedy="use another --root, or the tiffin that made it")
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "its stamp is not text"
            raise StoreError(
                f"cannot use the state directory {root}: {reason}",
                remedy="set --root or TIFFIN_ROOT to a writable path",
            ) from exc
        return cls._create(root, stamp)

    @staticmethod
    def _restore(folder: Path) -> None:
        """Make a directory that somebody removed; raises StoreError."""
        try:
            _make_private(folder)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except OSError as exc:
            raise StoreError(f"cannot use {folder}: {exc.strerror}", remedy="remove or repair it") from exc

    @classmethod
    def _create(cls, root: Path, stamp: Path) -> StateDir:
        try:
            _make_private(root)
            known = {folder.split("/")[0] for folder in FOLDERS}
            strangers = {item.name for item in root.iterdir() if not item.name.startswith(".")} - known - {"format"}
            if strangers:
                raise StoreError(
                    f"{root} holds other files ({min(strangers)})", remedy="use an empty directory as --root"
                )
            for folder in FOLDERS:
                _make_private(root / folder)
        except OSError as exc:
            raise StoreError(
                f"cannot make the state directory {root}: {exc.strerror}",
                remedy="set --root or TIFFIN_ROOT to a writable path",
            ) from exc
        write_atomically(root / "images" / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        write_atomically(stamp, FORMAT.encode())
        return cls(root)

    def lock(self, name: str, *, shared: bool = False, blocking: bool = True) -> AbstractContextManager[bool]:
        """Hold the lock called `name`; gives False if it is busy and `blocking` is off."""
        return flocked(self.locks / _lock_file(name), shared=shared, blocking=blocking)

    @contextlib.contextmanager
    def scratch(self, prefix: str) -> Iterator[Path]:
        """Yield a new directory below tmp/, removed at the end.

        A lock file beside it tells sweep() that it is in use.
        """
        path, lock_path, fd = self._scratch_lock(prefix)
        try:
            try:
                from tiffin.cache.foundation.spreading import spread_below

                spread_below(self.tmp)
                path.mkdir(mode=0o700)
            except OSError as exc:
                raise disk_error(path, exc) from exc
            yield path
        finally:
            with contextlib.suppress(OSError):
                remove_tree(path)
            if not path.exists():
                lock_path.unlink(missing_ok=True)
                _scratches.discard(path)
            os.close(fd)

    def discard(self, tree: Path) -> None:
        """Put a tree aside, to be removed when the command ends; raises OSError.

        Deleting takes as long as making, and slows down what is made after it (`tiffin.cache.foundation.spreading`).
        """
        path, _, _ = self._scratch_lock("discarded")
        os.rename(tree, path)

    def _scratch_lock(self, prefix: str) -> tuple[Path, Path, int]:
        """Return a new name below tmp/, its lock file, and the descriptor that holds the lock."""
        while True:
            path = self.tmp / f"{prefix}-{os.urandom(8).hex()}"
            lock_path = path.with_name(f"{path.name}.lock")
            _scratches.add(path)
            try:
                fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                raise disk_error(lock_path, exc) from exc
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return path, lock_path, fd
            _scratches.discard(path)
            os.close(fd)  # another process swept it away before it was locked

    def sweep(self) -> int:
        """Remove what dead processes left in tmp/; returns how many entries went. What resists is left for later."""
        removed = 0
        for item in os.scandir(self.tmp):
            if item.name.endswith(".lock"):
                removed += self._sweep_one(item.name)
        return removed

    def _sweep_one(self, lock_name: str) -> int:
        lock_path = self.tmp / lock_name
        try:
            fd = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(self.tmp / lock_name.removesuffix(".lock"))
            lock_path.unlink(missing_ok=True)
            return 1
        except OSError:  # in use, or files of other owners: not now
            return 0
        finally:
            os.close(fd)


def sweep_at_end(state: StateDir) -> None:
    """Let finish() remove what dead processes left: that may be whole trees, and nobody is to wait for it."""
    _unswept.append(state)


def forget_scratches() -> None:
    """Leave what was put aside, and the sweeping, to another process: this one was forked from it."""
    _scratches.clear()
    _unswept.clear()


def finish() -> None:
    """Remove what this process put aside, and what dead ones left; the last thing a command does."""
    remove_scratches()
    while _unswept:
        with contextlib.suppress(OSError):
            _unswept.pop().sweep()


def remove_scratches() -> None:
    """Remove what was discarded, and what scratch() could not remove, because a signal came while it did or was to."""
    if len(_scratches) >= MANY_SCRATCHES:
        from tiffin.cache.foundation.forked import side_by_side

        side_by_side(_remove_scratch, list(_scratches))
    while _scratches:  # once more, as signals may come at any time
        _remove_scratch(_scratches.pop())


def _remove_scratch(path: Path) -> None:
    with contextlib.suppress(OSError):
        remove_tree(path)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # it is held until the process ends


def _homeless_root(environ: Mapping[str, str]) -> Path:
    """Return a directory of this user alone among others' temporary ones; what somebody else put there is refused."""
    for parent in (environ.get("TMPDIR", ""), "/var/tmp", "/tmp"):
        if not os.path.isabs(parent) or not os.access(parent, os.W_OK | os.X_OK):
            continue
        path = Path(parent) / f"tiffin-{os.getuid()}"
        with disk_errors(path):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            st = path.lstat()
        if not stat.S_ISDIR(st.st_mode) or st.st_uid != os.getuid() or st.st_mode & 0o077:
            raise StoreError(f"{path} is not this user's alone", remedy="set TIFFIN_ROOT to a writable path")
        return path
    raise StoreError("no home directory for the state directory", remedy="set TIFFIN_ROOT to a writable path")


def _make_private(path: Path) -> None:
    """Make a directory and those above it that are missing, all of them the owner's alone whatever the umask allows."""
    missing = list(itertools.takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def _lock_file(name: str) -> str:
    """Return a bounded set of file names; the words before the first dash keep kinds of locks apart."""
    kind = name.split("-", 1)[0]
    bucket = int(short_sha256(name.encode())[:8], 16) % LOCK_BUCKETS
    is_safe = len(kind) <= _KIND_LENGTH and kind.isascii() and kind.replace("_", "a").isalnum()
    return f"{kind if is_safe else 'other'}-{bucket:03x}"

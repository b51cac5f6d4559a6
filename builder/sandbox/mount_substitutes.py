"""What a run needs in a root directory on disk: put there before it, taken out after it, without a trace.

Where nothing can be mounted, files and directories stand in for /proc, /dev, /etc/resolv.conf and the mounts of a step;
what the image has there is kept aside meanwhile. Where mounts work, only mount points that are missing are made. Which
of it a root needs its tier knows (Tier.prepare_root).

Nothing of a run is alive before and after it, so no path changes between look and use; links of its making lead
nowhere, as every parent is opened inside the root (openat2).
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child import root_path
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SandboxSpec, SecretFile, Terminals, Tmpfs
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Something put into the root at `path`, which leads through no link. `source`: moved in, and goes back there."""

    path: str
    aside: Path | None  # where what was there before is
    source: Path | None = None


class MountSubstitutes:
    """The stand-ins of one run in `root`.

    A context manager: leaving it takes them out. `aside` is an empty directory.
    """

    def __init__(self, root: Path, aside: Path) -> None:
        self.root = root
        self._aside = aside
        self._places: list[_Place] = []
        self.made: list[str] = []  # directories on the way to a place
        self._root_fd = os.open(root, _DIRECTORY)

    def __enter__(self) -> MountSubstitutes:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with disk_errors(self.root):
                for place in reversed(self._places):
                    self._take_out(place)
                for path in reversed(self.made):
                    self._remove_made(path)
        finally:
            os.close(self._root_fd)

    @property
    def places(self) -> frozenset[str]:
        """The paths that are not the image's for now."""
        return frozenset(place.path for place in self._places)

    # -- putting in ------------------------------------------------------------------------------------------------

    def directory(self, path: str, mode: int = 0o755) -> str:
        """Make an empty directory; return its true path in the root."""
        with self._cleared(path) as (parent, name, place):
            os.mkdir(name, mode, dir_fd=parent)
            os.chmod(name, mode, dir_fd=parent)
        return place

    def file(self, path: str, data: bytes, mode: int = 0o644, *, uid: int = 0, gid: int = 0) -> None:
        """Make a file with `data`."""
        with self._cleared(path) as (parent, name, _):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
            with open(fd, "wb") as stream:
                stream.write(data)
                if os.geteuid() == 0:  # PRoot shows everything as root's
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)

    def move_in(self, path: str, source: Path) -> None:
        """Move something of the state directory in; it goes back in the end, as the run left it."""
        with self._cleared(path, source) as (parent, name, _):
            os.rename(source, name, dst_dir_fd=parent)

    def mount_point(self, path: str, *, is_directory: bool) -> None:
        """Make something to mount on, unless there is something already."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.close(root_path.open_in_root(self._root_fd, path, os.O_PATH))
            return
        if is_directory:
            self.directory(path)
        else:
            self.file(path, b"")

    def mount_points(self, spec: SandboxSpec) -> None:
        """Make all that is mounted on in `spec`, unless the root has it."""
        for name in ("dev", "proc", "sys"):
            self.mount_point(name, is_directory=True)
        for name in ("etc/hosts", "etc/resolv.conf"):
            self.mount_point(name, is_directory=False)
        for stub in spec.stubs:
            self.mount_point(stub.path, is_directory=stub.is_directory)

    def put_files(self, spec: SandboxSpec) -> None:
        """Put the generated files of `spec`, and what stands in for its mounts where there are none."""
        self.file("etc/hosts", spec.hosts.encode("utf-8", "surrogateescape"))
        self.file("etc/resolv.conf", spec.resolv_conf.encode("utf-8", "surrogateescape"))
        for mount in spec.mounts:
            self._put_mount(mount)

    def _put_mount(self, mount: Mount) -> None:
        path = mount.path.strip("/")
        match mount:
            case Tmpfs():
                self.directory(path, mount.mode)
            case SecretFile():
                self.file(path, binascii.a2b_base64(mount.data), mount.mode, uid=mount.uid, gid=mount.gid)
            case Bind():
                source = Path(mount.host_path, mount.source) if mount.source else Path(mount.host_path)
                self.move_in(path, source)
            case Layers() | Terminals():
                raise AssertionError("layers are copied where there are no mounts")

    @contextlib.contextmanager
    def _cleared(self, path: str, source: Path | None = None) -> Iterator[tuple[int, str, str]]:
        """Yield the parent of `path`, made if need be, in which the name is free; its times stay what they were."""
        with disk_errors(f"{self.root}/{path}"):
            parent_path, _, name = path.strip("/").rpartition("/")
            parent = self._open_parent(parent_path)
            try:
                with _times_kept(parent):
                    true_parent = os.path.relpath(os.readlink(f"/proc/self/fd/{parent}"), os.path.realpath(self.root))
                    place = name if true_parent == "." else f"{true_parent}/{name}"
                    aside = self._put_aside(parent, name)
                    self._places.append(_Place(path=place, aside=aside, source=source))
                    yield parent, name, place
            finally:
                os.close(parent)

    def _put_aside(self, parent: int, name: str) -> Path | None:
        aside = self._aside / f"{len(self._places)}"
        try:
            os.rename(name, aside, src_dir_fd=parent)
        except FileNotFoundError:
            return None
        return aside

    def _open_parent(self, path: str) -> int:
        """Open a directory inside the root, links followed there; make what is missing."""
        fd = os.dup(self._root_fd)
        done = ""
        for part in filter(None, path.split("/")):
            done = f"{done}/{part}" if done else part
            try:
                below = root_path.open_in_root(self._root_fd, done, _DIRECTORY)
            except FileNotFoundError:
                try:
                    with _times_kept(fd):
                        os.mkdir(part, 0o755, dir_fd=fd)
                except FileExistsError as exc:
                    raise SandboxError(
                        f'"{done}" in the image is a link to nothing, and the step needs a directory there',
                        remedy="make the directory in an earlier step",
                    ) from exc
                below = root_path.open_in_root(self._root_fd, done, _DIRECTORY)
                self.made.append(os.path.relpath(os.readlink(f"/proc/self/fd/{below}"), os.path.realpath(self.root)))
            os.close(fd)
            fd = below
        return fd

    # -- taking out ------------------------------------------------------------------------------------------------

    def _take_out(self, place: _Place) -> None:
        parent_path, _, name = place.path.rpartition("/")
        try:
            parent = root_path.open_in_root(self._root_fd, parent_path or ".", _DIRECTORY, follow=False)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return  # the run removed the directory: with it went what was there before
        try:
            with _times_kept(parent):
                if place.source is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(name, place.source, src_dir_fd=parent)
                remove_tree(Path(f"/proc/self/fd/{parent}/{name}"))
                if place.aside is not None:
                    os.rename(place.aside, name, dst_dir_fd=parent)
        finally:
            os.close(parent)

    def _remove_made(self, path: str) -> None:
        parent_path, _, name = path.rpartition("/")
        with contextlib.suppress(OSError):  # the run put something there, or removed it
            parent = root_path.open_in_root(self._root_fd, parent_path or ".", _DIRECTORY, follow=False)
            try:
                with _times_kept(parent):
                    os.rmdir(name, dir_fd=parent)
            finally:
                os.close(parent)


@contextlib.contextmanager
def _times_kept(directory: int) -> Iterator[None]:
    st = os.fstat(directory)
    yield
    os.utime(directory, ns=(st.st_atime_ns, st.st_mtime_ns))


def stream_pipe(spec: SandboxSpec, name: str) -> tuple[int, int]:
    """Return a pipe for a stream of a command that is about to begin, which it can open as /dev/NAME: both ends, the
    caller's to close.

    That is a link into /proc/self; in a chroot, which has none, the pipe itself stands there. Not for stdin: who opened
    it late would wait for somebody to write.
    """
    if not spec.named_streams:
        return os.pipe2(os.O_CLOEXEC)
    path = f"{spec.root_dir}/dev/{name}"
    os.unlink(path)
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    writer = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    os.set_blocking(reader, True)
    return reader, writer


def join_streams(spec: SandboxSpec) -> None:
    """Make /dev/stderr of such a command what its /dev/stdout is."""
    if spec.named_streams:
        os.unlink(f"{spec.root_dir}/dev/stderr")
        os.symlink("stdout", f"{spec.root_dir}/dev/stderr")

"""Mount the root of a container that does not run as its command would have it, for this process alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiffin.builder.containers.confinement.spec import PreparedVolumes
from tiffin.builder.containers.container import Container
from tiffin.builder.containers.folder import ROOT_MODE
from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child import idmaps, kernel
from tiffin.builder.sandbox.child.root import SetupError, make_scaffold, mount_item, mount_overlay, step
from tiffin.builder.sandbox.child.spec import SandboxSpec, Stub, Tmpfs
from tiffin.builder.sandbox.userns import root_of_files
from tiffin.cache.foundation.files import disk_errors, remove_tree

PLACE = "files"  # in the container's folder, for the time of it


@contextlib.contextmanager
def mounted_root(
    container: Container, trees: Sequence[Path], mounted: PreparedVolumes, *, emulated: bool
) -> Iterator[int]:
    """Yield the open root: layers, what was changed, volumes and bind mounts. Its files lock is held.

    Needs the namespace of its files. Raises SandboxError.
    """
    place = container.folder / PLACE
    with disk_errors(place), root_of_files():
        _clear(place)  # of one that was killed
        for path in (place, place / "work", place / "root"):
            path.mkdir()
            path.chmod(ROOT_MODE)
    view = RootView(trees)
    own = [Stub(path=view.resolve(f"etc/{name}"), is_directory=False) for name in ("hosts", "resolv.conf")]
    spec = SandboxSpec(
        scratch_dir=os.fspath(place),
        lower_dirs=tuple(os.fspath(tree) for tree in trees),
        upper_dir=os.fspath(container.upper),
        work_dir=os.fspath(place / "work"),
        argv=(),
        env=(),
        mounts=tuple(item for item in mounted.mounts if not isinstance(item, Tmpfs)),  # nothing in them stays
        stubs=(*own, *mounted.stubs),
        volatile=True,
    )
    try:
        with root_of_files():
            root = _mount(spec, emulated=emulated)
        try:
            yield root
        finally:
            os.close(root)
    except SetupError as exc:
        raise SandboxError(
            f"cannot {exc.step}: {exc.error.strerror}", remedy="tiffin info shows what this machine allows"
        ) from exc
    finally:
        with contextlib.suppress(OSError):  # it was not mounted
            kernel.umount_detached(os.fsencode(place / "root"))
        with disk_errors(place), root_of_files():
            _clear(place)


def _clear(place: Path) -> None:
    """Remove what was made for the mount, unless something is mounted there, whose files would go."""
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(place / "root")
    remove_tree(place)


def _mount(spec: SandboxSpec, *, emulated: bool) -> int:
    if emulated:
        with step("make a user namespace of one id"):
            idmaps.become_root_of_sandbox()
            idmaps.keep_one_id()
    with step("make a mount namespace"):
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount(None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    with step("prepare mount points"):
        make_scaffold(f"{spec.scratch_dir}/scaffold", spec.stubs)
    mount_overlay(spec, f"{spec.scratch_dir}/root")
    root = os.open(f"{spec.scratch_dir}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for item in spec.mounts:
        with step(f"mount {item.path}"):
            mount_item(root, item, spec.scratch_dir, None)
    return root

"""--volumes-from: the mounts of another container in a new one."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.mounts import Mount, VolumeMount, ordered
from tiffin.builder.containers.run import ContainerOptions
from tiffin.builder.containers.volumes.mounting import with_image_volumes
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child.spec import Terminals, Tmpfs
from tiffin.cache.foundation.frozen import replace

MODES = ("", "rw", "ro", "z", "Z")


def with_volumes_of(options: ContainerOptions, texts: Sequence[str], session: Session) -> ContainerOptions:
    """Return what is asked of a container with the mounts of others; its own come first, then the last of theirs.

    Raises ImageNotFoundError, UsageError.
    """
    found: dict[str, Mount] = {}
    for text in texts:
        name, _, mode = text.partition(":")
        if mode not in MODES:
            raise UsageError(f'--volumes-from "{text}": "{mode}" is not a mode', remedy="use ro or rw")
        for mount in _mounts_of(name, session):
            found[mount.path] = replace(mount, read_only=True) if mode == "ro" else mount
    own = {mount.path for mount in options.mounts}
    return replace(
        options, mounts=ordered([*options.mounts, *(mount for path, mount in found.items() if path not in own)])
    )


def _mounts_of(name: str, session: Session) -> list[Mount]:
    """Return what a container shows of this machine and of volumes."""
    containers = Containers(session.state)
    state = containers.find(name)
    record = ContainerRecord.read(containers.folder(state.id))
    mounts: list[Mount] = []
    for mount in with_image_volumes(record.options.mounts, record.config.volumes):
        match mount:
            case Tmpfs() | Terminals():
                continue
            case VolumeMount() if not state.volumes.get(mount.path, mount.name):
                raise UsageError(
                    f"--volumes-from {name}: its volume {mount.path} has no name", remedy="make that container again"
                )
            case VolumeMount():
                known = state.volumes.get(mount.path, mount.name)
                mounts.append(replace(mount, name=known, is_lent=mount.is_lent or not mount.name))
            case _:
                mounts.append(mount)
    return mounts

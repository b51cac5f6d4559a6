"""What takes room in the state directory, as docker system df tells it."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import reach_trees, size_on_disk
from tiffin.builder.api.volumes import list_volumes
from tiffin.builder.containers.container import Containers
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.local import LocalCache
from tiffin.cache.store.mounts import CacheMounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSize:
    """An image: how large its layers are, packed, and how many containers it has."""

    name: str
    id: str
    created: str
    size: int
    containers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSize:
    """A container: what it changed, with its log."""

    id: str
    name: str
    image: str
    is_alive: bool
    volumes: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSize:
    """A volume, and how many containers have it."""

    name: str
    links: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """All of it. `images_size` has unpacked layers, too; steps and mounts are the build cache."""

    images: tuple[ImageSize, ...]
    images_size: int
    containers: tuple[ContainerSize, ...]
    volumes: tuple[VolumeSize, ...]
    cache_entries: int
    cache_size: int


def disk_usage(session: Session) -> DiskUsage:
    """Return what takes room. Raises StoreError, SandboxError."""
    reach_trees(session)
    state = session.state
    containers = Containers(state)
    states = containers.states()
    images = tuple(
        ImageSize(
            name=image.names[0].familiar if image.names else "<none>:<none>",
            id=str(image.id),
            created=image.config.created,
            size=image.size_bytes,
            containers=sum(item.image_id == str(image.id) for item in states),
        )
        for image in session.store.images()
    )
    volumes = tuple(
        VolumeSize(
            name=found.volume.name,
            links=len(found.users),
            size=size_on_disk(Path(found.place)),
        )
        for found in list_volumes(session)
    )
    mounts = CacheMounts(state, "").list()
    return DiskUsage(
        images=images,
        images_size=size_on_disk(state.images) + size_on_disk(state.layers),
        containers=tuple(
            ContainerSize(
                id=item.id,
                name=item.name,
                image=item.image,
                is_alive=containers.is_alive(item.id),
                volumes=len(item.volumes),
                size=size_on_disk(containers.folder(item.id)),
            )
            for item in states
        ),
        volumes=volumes,
        cache_entries=len(mounts) + len(list(LocalCache(session.table).records())),
        cache_size=size_on_disk(state.cache) + size_on_disk(state.mounts) - sum(volume.size for volume in volumes),
    )

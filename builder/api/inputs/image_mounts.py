"""Images that are mounted in a container: they have to be here, and are kept as they were when it was made."""

from __future__ import annotations

from tiffin.builder.api.session import Session
from tiffin.builder.containers.mounts import ImageMount, Mount
from tiffin.builder.containers.run import ContainerOptions
from tiffin.builder.errors import ImageNotFoundError
from tiffin.cache.foundation.frozen import replace


def with_images(options: ContainerOptions, session: Session) -> ContainerOptions:
    """Return what is asked of a container with the id and the layers of each image that it mounts.

    Raises ImageNotFoundError for one that is not here.
    """
    return replace(options, mounts=tuple(_found(mount, session) for mount in options.mounts))


def _found(mount: Mount, session: Session) -> Mount:
    if not isinstance(mount, ImageMount) or mount.image_id:
        return mount
    try:
        image = session.store.find(mount.image)
    except ImageNotFoundError as exc:
        raise ImageNotFoundError(
            f"image {mount.image}, which is to be mounted at {mount.path}, is not here",
            remedy=f"run tiffin pull {mount.image}",
        ) from exc
    layers = tuple(str(diff_id) for diff_id in image.config.diff_ids)
    return replace(mount, image_id=str(image.id), layers=layers)

"""What the root of a container and the images mounted in it are made of: unpacked layers, who runs its command, and
whether owners are emulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.lifecycle.record import ContainerRecord
    from tiffin.builder.containers.mounts import ImageMount
    from tiffin.builder.containers.reach import Reach
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.image.users import ProcessUser
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.settings.access import RegistryAccess
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.store.snapshots import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The trees of a root, bottom first, those of the images mounted in it by path, and the user and the reach of what
    runs in it.
    """

    trees: Sequence[Path]
    images: Mapping[str, Sequence[Path]]
    user: ProcessUser
    reach: Reach


def find_trees(
    session: Session,
    isolation: Isolation,
    container: Container,
    record: ContainerRecord,
    layers: Sequence[tuple[Digest, BlobRef]] = (),
    registry: RegistryAccess | None = None,
) -> Found:
    """Find the layers and the user of a container, with "prune" locked. `layers` say where missing ones come from."""
    from tiffin.builder.containers.reach import reach_of
    from tiffin.builder.containers.rootfs import RootView
    from tiffin.builder.image.users import resolve_user
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.store.snapshots import Snapshots

    roots = Roots(session, isolation, container, layers, registry)
    trees = roots.trees()
    user = resolve_user(record.user, RootView(trees).read_file, further=record.groups)
    diff_ids = [Digest.parse(text) for text in (*container.state.layers, *container.state.mounted_layers)]
    images = _images(session, isolation, container, record)
    reach = reach_of(isolation, Snapshots(session.state), diff_ids, user)
    if reach.emulated:
        trees = roots.trees(emulated=True)
        images = _images(session, isolation, container, record, emulated=True)
    return Found(trees=trees, images=images, user=user, reach=reach)


class Roots:
    """The unpacked layers of a container."""

    def __init__(
        self,
        session: Session,
        isolation: Isolation,
        container: Container,
        layers: Sequence[tuple[Digest, BlobRef]],
        registry: RegistryAccess | None,
    ) -> None:
        self._session = session
        self._isolation = isolation
        self._container = container
        self._layers = layers
        self._registry = registry

    def trees(self, *, emulated: bool = False) -> Sequence[Path]:
        """Return the unpacked layers; what tiffin knows of layers beyond that is only loaded if one is missing.

        Where layers cannot be mounted over each other: the container's own directory with a copy of them all.
        `emulated`: those for a sandbox of one id, in the place of others. Raises ImageError.
        """
        isolation, container = self._isolation, self._container
        trees = _at_hand(self._session, isolation, container.state.layers, emulated)
        if trees is not None:
            return trees
        if not self._layers and container.state.layers:
            if not isolation.overlay and (container.state.started or container.is_whole):
                return [container.upper]  # which has them since it was begun first, or looked into
            self._layers = self._of_image()
        return self._unpacked(emulated)

    def _unpacked(self, emulated: bool) -> Sequence[Path]:
        isolation, container = self._isolation, self._container
        layers = _layer_store(self._session, isolation, emulated, self._registry)
        if isolation.overlay:
            return layers.ensure_snapshots(self._layers)
        if emulated:
            container.empty()
        for layer in self._layers:
            layers.add_to_root(layer, container.upper)
        return [container.upper]

    def _of_image(self) -> Sequence[tuple[Digest, BlobRef]]:
        try:
            return layers_of(self._session.store.find(self._container.state.image_id))
        except ImageError as exc:
            raise ImageError(
                f"the layers of container {self._container.state.name} are not unpacked here, and its image is gone",
                remedy="pull or build its image again",
            ) from exc


def _images(
    session: Session, isolation: Isolation, container: Container, record: ContainerRecord, *, emulated: bool = False
) -> Mapping[str, Sequence[Path]]:
    """Return the trees of the images that are mounted in a container, by path."""
    if not container.state.mounted_layers:
        return {}
    from tiffin.builder.containers.mounts import ImageMount

    mounts = [mount for mount in record.options.mounts if isinstance(mount, ImageMount)]
    return {mount.path: _image_trees(session, isolation, container, mount, emulated) for mount in mounts}


def _image_trees(
    session: Session, isolation: Isolation, container: Container, mount: ImageMount, emulated: bool
) -> Sequence[Path]:
    """Return the unpacked layers of an image that is mounted, bottom first, or a copy of them all; as `Roots.trees`."""
    trees = _at_hand(session, isolation, mount.layers, emulated)
    if trees is not None:
        return trees
    place = container.folder / "images" / mount.path.strip("/").replace("/", "_")
    if not isolation.overlay and mount.read_only and place.is_dir() and not emulated:
        return [place]
    try:
        image_layers = layers_of(session.store.find(mount.image_id))
    except ImageError as exc:
        raise ImageError(
            f"the layers of image {mount.image}, which is mounted at {mount.path}, are not unpacked here, and it went",
            remedy="pull or build the image again",
        ) from exc
    layers = _layer_store(session, isolation, emulated)
    if isolation.overlay:
        return layers.ensure_snapshots(image_layers)
    remove_tree(place)
    place.mkdir(parents=True)
    for layer in image_layers:
        layers.add_to_root(layer, place)
    return [place]


def _at_hand(session: Session, isolation: Isolation, diff_ids: Sequence[str], emulated: bool) -> Sequence[Path] | None:
    """Return the unpacked trees of layers that can be mounted; None where they cannot, or one is missing."""
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.store.snapshots import Snapshots

    if not isolation.overlay:
        return None
    snapshots = Snapshots(session.state, isolation.emulated_idmap_tag if emulated else isolation.idmap_tag)
    return snapshots.stack([Digest.parse(text) for text in diff_ids])


def _layer_store(
    session: Session, isolation: Isolation, emulated: bool, registry: RegistryAccess | None = None
) -> LayerStore:
    """Return the layers of this machine, for the sandboxes of an isolation."""
    from tiffin.builder.events import NullSink
    from tiffin.builder.settings.access import RegistryAccess

    layers = session.layers(lambda: session.remote(NullSink(), registry or RegistryAccess()))
    layers.use_trees(isolation.idmap_tag)
    return layers.emulated(isolation.emulated_idmap_tag) if emulated else layers


def layers_of(image: StoredImage) -> Sequence[tuple[Digest, BlobRef]]:
    """Return the DiffID of each layer of an image with its packed form, bottom first."""
    from tiffin.cache.store.snapshots import BlobRef

    return [
        (diff_id, BlobRef.of(layer))
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    ]

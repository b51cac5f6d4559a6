"""The mounts of one container; a volume is filled from the image while it is empty."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.containers.confinement.spec import PreparedVolumes
from tiffin.builder.containers.container import Container
from tiffin.builder.containers.mounts import ImageMount, Mount, VolumeMount, ordered
from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.containers.volumes.store import VOLUME_MODE, Volumes, new_name
from tiffin.builder.errors import UsageError
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.owner_xattrs import OWNER, owner_text
from tiffin.builder.sandbox.child.mounts import is_directory
from tiffin.builder.sandbox.child.spec import Bind, Layers, Stub, Terminals, Tmpfs
from tiffin.builder.sandbox.userns import root_of_files
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.containers.run import ContainerOptions
    from tiffin.builder.image.users import ProcessUser
    from tiffin.builder.sandbox.isolation import Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a new volume is where the image has nothing: root's, as with docker; with ids that are kept the user's of
    the container, as with podman. `is_recorded`: as an attribute, where the kernel would not hold it.
    """

    uid: int = 0
    gid: int = 0
    is_recorded: bool = False

    def is_missing(self, path: Path) -> bool:
        """Tell whether it is to be recorded, and was never."""
        return self.is_recorded and bool(self.uid or self.gid) and OWNER not in os.listxattr(path)

    def give(self, path: Path) -> None:
        """Make a directory theirs."""
        if not self.is_recorded:
            os.chown(path, self.uid, self.gid)
        elif self.uid or self.gid:
            os.setxattr(path, OWNER, owner_text(self.uid, self.gid))


def owner_of_new(isolation: Isolation, options: ContainerOptions, user: ProcessUser, *, emulated: bool) -> Owner:
    """Return whose new volumes of a container are; `emulated`: its owners are."""
    if options.keep is None:
        return Owner()
    return Owner(uid=user.uid, gid=user.gid, is_recorded=emulated or isolation.tier.emulates_always)


def prepare_mounts(
    mounts: Sequence[Mount],
    image_volumes: Sequence[str],
    *,
    state: StateDir,
    container: Container,
    root: RootView,
    read_only_root: bool,
    ids: str,
    owner: Owner,
    images: Mapping[str, Sequence[Path]],
    overlays: bool,
    warn: Callable[[str], None] = lambda message: None,
) -> PreparedVolumes:
    """Make what the mounts of a container need on this machine. Raises UsageError, StoreError.

    `ids`: as in `Volume`, `owner`: of new ones; `warn` is told of a volume whose files have owners by other ids.
    `images` are the trees of those that are mounted, by path, bottom first; one each where there are no `overlays`. A
    volume that has no name in the container's state is a part of its own root; only where that is read-only it is a
    directory.
    """
    result: list[Bind | Tmpfs | Terminals | Layers] = []
    stubs: list[Stub] = []
    for number, mount in enumerate(_with_names(with_image_volumes(mounts, image_volumes), container.state.volumes)):
        place = root.resolve(mount.path)
        host: Bind | Tmpfs | Terminals | Layers | None
        match mount:
            case VolumeMount(name=""):
                host = _own_volume(container, number, place, mount, root, owner) if read_only_root else None
            case VolumeMount():
                source = named_volume(state, mount, place, root, ids, owner, warn)
                host = _part_of(source, mount, has_owners=source.is_relative_to(state.mounts))
            case ImageMount():
                host = _image(mount, images[mount.path], overlays=overlays)
            case Bind():
                host = _bind(mount)
            case Tmpfs() | Terminals():
                host = mount
        stubs.append(Stub(path=place, is_directory=host is None or is_directory(host)))
        if host is not None:
            result.append(host)
    return PreparedVolumes(mounts=tuple(result), stubs=tuple(stubs))


def _with_names(mounts: Sequence[Mount], names: Mapping[str, str]) -> list[Mount]:
    """Return mounts with the names of volumes by path."""
    return [
        replace(mount, name=names.get(mount.path, mount.name)) if isinstance(mount, VolumeMount) else mount
        for mount in mounts
    ]


def _part_of(source: Path, mount: VolumeMount, *, has_owners: bool) -> Bind:
    """Show a volume, or what lies at a path in it, which has to be there."""
    if mount.subpath and not (source / mount.subpath).exists():
        raise UsageError(
            f"volume {mount.name} has no {mount.subpath}",
            remedy="make it first, by a container that has the whole volume",
        )
    return Bind(
        host_path=os.fspath(source),
        path=mount.path,
        read_only=mount.read_only,
        source=mount.subpath,
        has_owners=has_owners,
    )


def _image(mount: ImageMount, trees: Sequence[Path], *, overlays: bool) -> Layers | Bind:
    """Show what an image has at a path."""
    view = RootView(trees)
    source = view.resolve(mount.subpath or ROOT)
    if view.host_path(source) is None:
        raise UsageError(f"image {mount.image} has no {mount.subpath}", remedy="name a path that it has")
    if not overlays:
        return Bind(host_path=os.fspath(trees[0]), path=mount.path, read_only=mount.read_only, source=source)
    return Layers(
        path=mount.path,
        lower_dirs=tuple(map(os.fspath, trees)),
        source=source,
        is_directory=view.is_directory(source),
        writable=not mount.read_only,
    )


def with_image_volumes(mounts: Sequence[Mount], image_volumes: Sequence[str]) -> tuple[Mount, ...]:
    """Return all mounts in order: those that were asked for, and volumes where the image wants some."""
    places = {"/" + os.path.normpath(path).lstrip("/") for path in image_volumes if path.startswith("/")}
    places -= {"/", *(mount.path for mount in mounts)}
    return ordered([*mounts, *(VolumeMount(name="", path=path) for path in sorted(places))])


def volume_names(mounts: Sequence[Mount], image_volumes: Sequence[str], *, makes_up: bool) -> dict[str, str]:
    """Return the name of each volume of a new container by its path; `makes_up` one for those that have none."""
    wanted = {
        mount.path: mount.name or (new_name() if makes_up else "")
        for mount in with_image_volumes(mounts, image_volumes)
        if isinstance(mount, VolumeMount)
    }
    return {path: name for path, name in wanted.items() if name}


def names_given(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Return the names of volumes that were asked for by name: others' data, also where the name was made up once."""
    volumes = [mount for mount in mounts if isinstance(mount, VolumeMount)]
    return tuple(sorted({mount.name for mount in volumes if mount.name and not mount.is_lent}))


def mounted_layers_of(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Return the DiffIDs of the images among the mounts of a new container."""
    images = [mount for mount in mounts if isinstance(mount, ImageMount)]
    return tuple(dict.fromkeys(layer for mount in images for layer in mount.layers))


def named_volume(
    state: StateDir,
    volume: VolumeMount,
    place: str,
    root: RootView,
    ids: str,
    owner: Owner,
    warn: Callable[[str], None],
) -> Path:
    """Return the directory of a volume; made from what the image has at `place` while there is nothing in it."""
    volumes = Volumes(state)
    noted = volumes.note(volume.name)
    path = volumes.place(noted)
    if noted.options:
        if not path.is_dir():
            raise UsageError(f"volume {volume.name}: {path} is not a directory", remedy="make it, or another volume")
        return path
    if path.is_dir() and not _is_empty(path):
        if noted.ids != ids:
            warn(
                f"volume {volume.name} was filled by containers {_users(noted.ids)}, and this one is {_users(ids)}:"
                " its files have other owners here"
            )
        return path
    copies = volume.copies and root.is_directory(place)
    if path.is_dir() and not copies and noted.ids == ids and not owner.is_missing(path):
        return path
    with state.lock(f"volume-{volume.name}"), disk_errors(path), root_of_files():
        fresh = path.parent / f".new-{volume.name}"  # nobody else's: we hold the lock
        remove_tree(fresh)
        _fill(fresh, place, root, owner, copies=copies)
        if not path.is_dir():
            fresh.rename(path)
        elif _is_empty(path):  # it may be mounted, so that another directory in its place would not be seen
            for item in os.listdir(fresh):
                os.rename(fresh / item, path / item)
            _give_metadata(path, place, root, owner, copies=copies)
        remove_tree(fresh)
    volumes.give(noted, ids)
    return path


def _users(ids: str) -> str:
    """Say which ids a container's user keeps."""
    uid, _, gid = ids.partition("-")
    return f"with --userns keep-id:uid={uid},gid={gid}" if ids else "without --userns keep-id"


def _is_empty(path: Path) -> bool:
    with os.scandir(path) as items:
        return next(items, None) is None


def _own_volume(
    container: Container, number: int, place: str, mount: VolumeMount, root: RootView, owner: Owner
) -> Bind:
    path = container.volumes / str(number)
    with disk_errors(path):
        container.volumes.mkdir(mode=0o700, exist_ok=True)
        with root_of_files():
            _fill(path, place, root, owner, copies=mount.copies)
    return Bind(host_path=os.fspath(path), path=mount.path, read_only=mount.read_only, has_owners=True)


def _fill(path: Path, place: str, root: RootView, owner: Owner, *, copies: bool) -> None:
    if copies and root.is_directory(place):
        root.copy_out(place, path)
    else:
        path.mkdir()
        path.chmod(VOLUME_MODE)
        owner.give(path)


def _give_metadata(path: Path, place: str, root: RootView, owner: Owner, *, copies: bool) -> None:
    """Give an empty volume the owner and mode that a new one has."""
    if copies:
        root.copy_metadata(place, path)
    else:
        owner.give(path)


def _bind(mount: Bind) -> Bind:
    """Bind a directory for -v, which makes a missing one as in Docker; a link is followed now, not in the sandbox."""
    path = Path(mount.host_path)
    if not path.exists():
        with disk_errors(path):
            path.mkdir(parents=True)
    return replace(mount, host_path=os.path.realpath(path))

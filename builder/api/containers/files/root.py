"""The root of a container as a copy sees it: of one that runs as its command does, of another as it would be begun."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tiffin.builder.api.containers.files.changes import entered
from tiffin.builder.api.containers.trees import find_trees
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Container, Containers
from tiffin.builder.containers.files.contents import Items, read_tree
from tiffin.builder.containers.files.mounting import mounted_root
from tiffin.builder.containers.files.names import Place, clean, followed, inside, is_certainly_directory, split_entry
from tiffin.builder.containers.files.running import open_running, rights_here
from tiffin.builder.containers.files.writer import CopyWriter, DirectoriesInRoot, Rights, remove_entry
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.rootfs import RootView, read_in_root
from tiffin.builder.containers.volumes.mounting import owner_of_new, prepare_mounts, with_image_volumes
from tiffin.builder.errors import ContainerError, ImageError
from tiffin.builder.image.users import ProcessUser, resolve_user
from tiffin.builder.layer.disk.directories import host_name
from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.builder.sandbox.child import root_path
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.keepid import kept_ids
from tiffin.builder.sandbox.userns import root_of_files
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass

SYSTEM = ("proc", "sys", "dev")  # what the kernel shows there is no content of a container
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be copied: its `place`, and the items it is made of."""

    place: Place
    items: Items


class ContainerRoot:
    """The open root of the container that `name` stands for; links in it are followed inside."""

    def __init__(self, root: int, name: str, record: ContainerRecord, rights: Rights) -> None:
        self._root = root
        self._name = name
        self._record = record
        self._rights = rights

    def source(self, path: str, *, follows: bool = False) -> Source:
        """Return what lies at a path; `follows`: a link there stands for what it leads to. Raises ContainerError."""
        place = Place(path=inside(_given(path)))
        if is_certainly_directory(place.path):
            directory = self._open(place.path)
            skipped = SYSTEM if self._resolved(place.path) == ROOT else ()
            return Source(place=Place(path=place.path, is_directory=True), items=self._items(directory, ROOT, skipped))
        if follows and self._link_text(place.path.strip("/")) is not None:
            place = followed(place.path, f"/{self._resolved(place.path)}")
        parent, name = split_entry(f"/{self._resolved(place.path, follow_last=False)}")
        directory = self._open(parent, missing=place.path)
        try:
            st = os.lstat(os.fsencode(name), dir_fd=directory)
        except OSError as exc:
            os.close(directory)
            raise self._missing(place.path) from exc
        is_directory = stat.S_ISDIR(st.st_mode)
        return Source(
            place=Place(path=place.path, name=place.name, is_directory=is_directory),
            items=self._items(directory, name, ()),
        )

    def destination(self, path: str) -> Place:
        """Return what a copy to a path finds there. Raises ContainerError for what nothing can be copied to."""
        asked = inside(_given(path))
        inner = self._resolved(asked)
        resolved = "/" if inner == ROOT else f"/{inner}"
        end = "/" if is_certainly_directory(asked) and resolved != "/" else ""
        try:
            fd = root_path.open_in_root(self._root, f"{resolved}{end}".strip("/") or ROOT, os.O_PATH)
        except OSError:
            return Place(path=asked if end else resolved, exists=False)
        mode = os.fstat(fd).st_mode
        os.close(fd)
        is_directory = stat.S_ISDIR(mode)
        if not (is_directory or stat.S_ISREG(mode)):
            raise ContainerError(
                f'destination "{self._name}:{path}" must be a directory or a regular file', remedy="name another"
            )
        if end and not is_directory:
            return Place(path=asked, exists=False)
        return Place(path=resolved, is_directory=is_directory)

    def write(self, items: Items, directory: str, *, as_user: bool = False) -> None:
        """Put items into a directory; `as_user`: they belong to the container's user. Raises ContainerError."""
        os.close(self._open(directory))
        self._check_writable(f"/{self._resolved(directory)}")
        rights = self._rights
        if as_user and self._record.user:
            user = self._user()
            rights = Rights(
                gives=rights.gives,
                owner=(user.uid, user.gid),
                limits=rights.limits,
                devices=rights.devices,
                capabilities=rights.capabilities,
            )
        directories = DirectoriesInRoot(self._root, directory)
        try:
            with root_of_files():
                CopyWriter(directories, rights, f"{self._name}:{clean(directory)}").write(items)
        finally:
            directories.close()

    def remove(self, paths: Sequence[str]) -> None:
        """Remove what is at these paths, directories with all they hold; what is not there is fine.

        Raises ContainerError, StoreError; what was removed is gone.
        """
        for path in paths:
            self._check_writable(f"/{self._resolved(path, follow_last=False)}")
            parent, name = split_entry(path)
            try:
                directory = root_path.open_in_root(self._root, parent.strip("/") or ROOT, _DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                with root_of_files(), disk_errors(f"{self._name}:{path}"):
                    remove_entry(host_name(name), directory)
            finally:
                os.close(directory)

    def _items(self, directory: int, name: str, skipped: tuple[str, ...]) -> Items:
        try:
            yield from read_tree(directory, name, skipped=skipped)
        finally:
            os.close(directory)

    def _open(self, path: str, *, missing: str = "") -> int:
        try:
            return root_path.open_in_root(self._root, path.strip("/") or ROOT, _DIRECTORY)
        except NotADirectoryError as exc:
            raise ContainerError(
                f"{missing or path} in container {self._name}: not a directory", remedy='leave out the "/" at the end'
            ) from exc
        except OSError as exc:
            raise self._missing(missing or path) from exc

    def _missing(self, path: str) -> ContainerError:
        return ContainerError(
            f"Could not find the file {path} in container {self._name}", remedy="list its directory with tiffin exec"
        )

    def _resolved(self, path: str, *, follow_last: bool = True) -> str:
        try:
            return resolve_links(path, self._link_text, follow_last=follow_last)
        except ImageError as exc:
            raise ContainerError(f"container {self._name}: {exc.message}", remedy=exc.remedy) from exc

    def _link_text(self, path: str) -> str | None:
        parent, _, name = path.rpartition("/")
        try:
            directory = root_path.open_in_root(self._root, parent or ROOT, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            return os.readlink(name, dir_fd=directory)
        except OSError:  # EINVAL: no symlink
            return None
        finally:
            os.close(directory)

    def _check_writable(self, path: str) -> None:
        """Raise ContainerError for a place that the container itself may not write."""
        mounts = with_image_volumes(self._record.options.mounts, self._record.config.volumes)
        around = [mount for mount in mounts if f"{path}/".startswith(f"{mount.path.rstrip('/')}/")]
        if around:
            mount = max(around, key=lambda mount: len(mount.path))
            if mount.read_only:
                raise ContainerError(
                    f"mounted volume is marked read-only: {mount.path} of container {self._name}",
                    remedy="copy to where it comes from",
                )
        elif self._record.options.read_only:
            raise ContainerError(
                f"container rootfs is marked read-only: {self._name}", remedy="copy into a volume, or into its image"
            )

    def _user(self) -> ProcessUser:
        return resolve_user(self._record.user, partial(read_in_root, self._root), further=self._record.groups)


def _given(path: str) -> str:
    if not path:
        raise ContainerError("the path in the container must not be empty", remedy="write CONTAINER:/path")
    return path


@contextlib.contextmanager
def opened_root(name: str, session: Session) -> Iterator[ContainerRoot]:
    """Yield the root of a container in this process, which enters the namespace of its files for good.

    Raises ImageNotFoundError, ContainerError, SandboxError.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    record = ContainerRecord.read(containers.folder(state.id))
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(containers.at_rest(state))
        if container is not None:
            root, rights = _of_stopped(session, container, record, stack)
        else:
            root, rights = open_running(state, containers.folder(state.id))
            stack.callback(os.close, root)
        yield ContainerRoot(root, name, record, rights)


def _of_stopped(
    session: Session, container: Container, record: ContainerRecord, stack: contextlib.ExitStack
) -> tuple[int, Rights]:
    """Mount the root of a container that does not run. Raises SandboxError, ImageError."""
    state = container.state
    isolation = entered(session, state, record)
    stack.enter_context(session.state.lock("prune", shared=True))
    found = find_trees(session, isolation, container, record)
    if not isolation.overlay:
        container.note_whole()
        return _of_directory(container.upper, isolation, stack)
    options = record.options
    mounted = prepare_mounts(
        options.mounts,
        record.config.volumes,
        state=session.state,
        container=container,
        root=RootView(found.trees),
        read_only_root=options.read_only,
        ids=kept_ids(isolation.idmap_tag),
        owner=owner_of_new(isolation, options, found.user, emulated=found.reach.emulated),
        images=found.images,
        overlays=True,
    )
    root = stack.enter_context(mounted_root(container, found.trees, mounted, emulated=found.reach.emulated))
    return root, rights_here()


def _of_directory(path: Path, isolation: Isolation, stack: contextlib.ExitStack) -> tuple[int, Rights]:
    """Open a root that is on disk as a whole."""
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    stack.callback(os.close, root)
    if not (isolation.tier.keeps_owners or isolation.tier.emulates_owners):  # all files are of one owner there
        return root, Rights()
    return root, rights_here()

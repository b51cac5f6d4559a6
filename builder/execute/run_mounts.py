"""The mounts of a RUN step: from what the Dockerfile says to what the sandbox is given, for the time of the step."""

from __future__ import annotations

import base64
import contextlib
import os
import posixpath
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.errors import BuildError, ContextError, Span
from tiffin.builder.execute.ssh_agents import Agents
from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import (
    BindMount,
    CacheMount,
    ImageOrigin,
    Origin,
    RunOp,
    SecretMount,
    SshMount,
    StageOrigin,
    TmpfsMount,
    outside_name,
)
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, new_entry
from tiffin.builder.layer.unpack import materialize
from tiffin.builder.oci.spec import chain_id
from tiffin.builder.owner_xattrs import give, noted_owner
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SecretFile, Stub, Terminals, Tmpfs
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.selection import Selected, content_digest, walk
from tiffin.builder.sources.trees import NEW_DIRECTORY_MODE, ROOT, LayerTree, SourceTree
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.store.mounts import CacheMounts
from tiffin.cache.store.statedir import StateDir


@dataclass(slots=True)
class PreparedMounts:
    """What the sandbox is given: mounts (those below others after them), mount points, variables of secrets."""

    mounts: list[Mount] = field(default_factory=list)
    stubs: list[Stub] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)  # that the command is in as well
    watched: list[tuple[BindMount, str]] = field(default_factory=list)  # shown in place: the digest they had


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPreparer:
    """Makes mounts. `secrets` by id; `agents` serves ssh keys.

    What `isolation` cannot mount is copied: layers where overlays are refused, everything where all mounts are.
    """

    state: StateDir
    layers: LayerStore
    contexts: Contexts
    secrets: Mapping[str, bytes]
    agents: Agents
    isolation: Isolation
    fill_cache: Callable[[str, Path], bool]  # make the directory of a cache mount's id of what is known of it elsewhere

    def prepare(
        self,
        op: RunOp,
        root: RootView,
        trees: Mapping[Origin, tuple[LayerTree, Chain]],
        scratch: Path,
        stack: ExitStack,
        span: Span,
    ) -> PreparedMounts:
        """Make what `op` mounts; `stack` holds it until the step is over. Raises BuildError, StoreError."""
        result = PreparedMounts()
        caches = self._open_caches(op, trees, stack, span)
        for number, mount in enumerate(op.mounts_by_target()):
            made: Mount | None
            place = scratch / f"input-{number}"
            match mount:
                case BindMount():
                    made = self._bind(mount, trees, place, result, span)
                case CacheMount():
                    source = mount.source.strip("/") if mount.origin is None else ""
                    made = Bind(
                        host_path=os.fspath(caches[_identity(mount, trees)]),
                        path=mount.target,
                        read_only=mount.read_only,
                        source=source,
                    )
                case TmpfsMount():
                    made = Tmpfs(path=mount.target, size_bytes=mount.size_bytes, read_only=mount.read_only)
                case SecretMount():
                    made = self._secret(mount, result, span)
                case SshMount():
                    made = self._ssh(mount, place, result, stack, span)
            if made is not None:
                result.mounts.append(made)
                # the directories on the way exist as well; what is mounted below another mount is made there
                result.stubs.append(Stub(path=root.resolve(made.path.strip("/")), is_directory=_is_directory(made)))
        if op.devices:
            self._add_devices(op, root, result, span)
        return result

    def _add_devices(self, op: RunOp, root: RootView, result: PreparedMounts, span: Span) -> None:
        """Add what devices bring, as this machine describes them now. Raises BuildError for one that is not granted,
        and for a required one that is not there.
        """
        from tiffin.builder.execute.devices import edits_of_step

        edits = edits_of_step(op, self.isolation, os.environ, span)
        result.env += [f"{name}={value}" for name, value in edits.variables]
        result.groups += edits.groups
        result.mounts += [Bind(host_path=device.host_path, path=device.path) for device in edits.devices]
        result.mounts += edits.mounts
        result.stubs += [
            Stub(path=root.resolve(mount.path.strip("/")), is_directory=_is_directory(mount)) for mount in edits.mounts
        ]

    def check(self, mounted: PreparedMounts, span: Span) -> None:
        """Fail if a directory that was shown in place is not what it was when the key was made."""
        for mount, digest in mounted.watched:
            tree = self.contexts.fresh(mount.origin)
            try:
                now = content_digest(tree, [_chosen(tree, mount.source, span)], with_owners=False)
            except (BuildError, ContextError):
                now = ""
            if now != digest:
                raise BuildError(
                    f'what is mounted at "{mount.target}" changed while the step was running',
                    span=span,
                    remedy="build again when it is at rest",
                )

    # -- kinds -----------------------------------------------------------------------------------------------------

    def _bind(
        self,
        mount: BindMount,
        trees: Mapping[Origin, tuple[LayerTree, Chain]],
        place: Path,
        result: PreparedMounts,
        span: Span,
    ) -> Mount:
        if isinstance(mount.origin, (StageOrigin, ImageOrigin)):
            tree, chain = trees[mount.origin]
            chosen = _chosen(tree, mount.source, span)
            if not self.isolation.overlay:
                return self._copy(tree, chosen, mount, place)
            lower_dirs = self.layers.ensure_snapshots([(layer.diff_id, layer.blob) for layer in chain])
            return Layers(
                path=mount.target,
                lower_dirs=tuple(os.fspath(path) for path in lower_dirs),
                source=chosen.entry.path,
                is_directory=chosen.entry.kind == "dir",
                writable=mount.writable,
            )
        source = self.contexts.tree(mount.origin)
        chosen = _chosen(source, mount.source, span)
        is_directory = chosen.entry.kind == "dir"
        if not self.isolation.has_mounts or (mount.writable and not self.isolation.overlay):
            return self._copy(source, chosen, mount, place)
        can_be_shown = is_directory or not mount.writable
        if can_be_shown and isinstance(source, DirectoryTree) and source.is_plain(chosen.entry.path):
            result.watched.append((mount, content_digest(source, [chosen], with_owners=False)))
            if chosen.entry.path != ROOT or source.has_plain_root():
                return _in_place(mount, source, chosen.entry)
            if self.isolation.overlay:
                return _with_another_root(mount, source, place)
        _materialize(source, chosen, place, records=self.layers.records)
        host_path = os.fspath(place if is_directory else place / "file")
        if mount.writable and is_directory:
            return Layers(path=mount.target, lower_dirs=(host_path,), source="", is_directory=True, writable=True)
        return Bind(host_path=host_path, path=mount.target, read_only=not mount.writable)

    def _open_caches(
        self, op: RunOp, trees: Mapping[Origin, tuple[LayerTree, Chain]], stack: ExitStack, span: Span
    ) -> dict[tuple[str, str], Path]:
        """Return the directory of each id and beginning, taken once and in one order, so that no two steps wait for
        each other.
        """
        result: dict[tuple[str, str], Path] = {}
        store = CacheMounts(self.state, self.layers.snapshots.idmap_tag)
        mounts: dict[tuple[str, str], list[CacheMount]] = {}
        for mount in op.mounts:
            if isinstance(mount, CacheMount):
                mounts.setdefault(_identity(mount, trees), []).append(mount)
        for identity in sorted(mounts):
            first = mounts[identity][0]
            modes = {mount.sharing for mount in mounts[identity]}
            sharing = next(mode for mode in ("locked", "private", "shared") if mode in modes)

            def fill(path: Path, mount: CacheMount = first) -> None:
                if mount.origin is not None or not self.fill_cache(mount.id, path):
                    self._fill_cache(mount, trees, path, span)

            if not self.isolation.has_mounts and sharing == "shared":
                sharing = "locked"  # it is moved into the step's root, and can only be in one
            mount_id, beginning = identity
            path = stack.enter_context(store.open(mount_id, sharing, fill, beginning=beginning))
            self._own(path, first, span)
            result[identity] = path
        return result

    def _fill_cache(
        self, mount: CacheMount, trees: Mapping[Origin, tuple[LayerTree, Chain]], path: Path, span: Span
    ) -> None:
        if mount.origin is None:
            path.mkdir()
            path.chmod(NEW_DIRECTORY_MODE)
            return
        source: SourceTree
        if isinstance(mount.origin, (StageOrigin, ImageOrigin)):
            source = trees[mount.origin][0]
        else:
            source = self.contexts.tree(mount.origin)
        chosen = _chosen(source, mount.source, span)
        if chosen.entry.kind != "dir":
            raise BuildError(f'cache source "{mount.source}" is not a directory', span=span, remedy="name a directory")
        _materialize(source, chosen, path, records=self.layers.records)
        if chosen.entry.path != ROOT:
            self._look_like(path, chosen.entry, span)

    def _secret(self, mount: SecretMount, result: PreparedMounts, span: Span) -> Mount | None:
        value = self.secrets.get(mount.id)
        if value is None:
            if mount.required:
                raise BuildError(
                    f"secret {mount.id}: not found",
                    span=span,
                    remedy=f"give it with --secret id={mount.id},src=FILE or env=NAME",
                )
            if mount.env:
                result.env.append(f"{mount.env}=")  # as BuildKit: set, so that `set -u` passes
            return None
        if mount.env:
            result.env.append(f"{mount.env}={value.decode('utf-8', 'surrogateescape')}")
        if not mount.target:
            return None
        data = base64.b64encode(value).decode()
        return SecretFile(path=mount.target, data=data, mode=mount.mode, uid=mount.uid, gid=mount.gid)

    def _ssh(self, mount: SshMount, place: Path, result: PreparedMounts, stack: ExitStack, span: Span) -> Mount | None:
        socket = self.agents.listen(mount.id, place, stack)
        if socket is None:
            if mount.required:
                raise BuildError(
                    f'no ssh agent is called "{mount.id}"',
                    span=span,
                    remedy=f"give it with --ssh {mount.id} (and SSH_AUTH_SOCK), or --ssh {mount.id}=KEYFILE",
                )
            return None
        self._give(socket, mount.uid, mount.gid, span)
        socket.chmod(mount.mode)
        if not any(item.startswith("SSH_AUTH_SOCK=") for item in result.env):
            result.env.append(f"SSH_AUTH_SOCK={mount.target}")
        return Bind(host_path=os.fspath(socket), path=mount.target)

    def _copy(self, tree: SourceTree, chosen: Selected, mount: BindMount, place: Path) -> Bind:
        """Return a copy that is thrown away with the step."""
        _materialize(tree, chosen, place, records=self.layers.records)
        host_path = place if chosen.entry.kind == "dir" else place / "file"
        return Bind(host_path=os.fspath(host_path), path=mount.target, read_only=not mount.writable)

    def _give(self, path: Path, uid: int, gid: int, span: Span) -> None:
        try:
            give(path, uid, gid, records=self.layers.records)
        except OSError as exc:
            raise BuildError(
                f"cannot give a mount to {uid}:{gid}: {exc.strerror}",
                span=span,
                remedy="the isolation tier has no such id (see tiffin info); leave uid and gid out",
            ) from exc

    def _look_like(self, path: Path, entry: Entry, span: Span) -> None:
        """Give a directory the owner, mode, attributes and time of `entry`."""
        self._give(path, entry.uid, entry.gid, span)
        path.chmod(entry.mode)
        for name, value in entry.xattrs:
            with contextlib.suppress(OSError):  # what this file system or namespace does not take
                os.setxattr(path, name, value)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))

    def _own(self, path: Path, mount: CacheMount, span: Span) -> None:
        """Give the directory the owner and mode asked for, also one that another step made otherwise."""
        st = path.stat()
        old_uid, old_gid = noted_owner(path) or (st.st_uid, st.st_gid)
        uid = old_uid if mount.uid is None else mount.uid
        gid = old_gid if mount.gid is None else mount.gid
        if (mount.uid, mount.gid) != (None, None):
            self._give(path, uid, gid, span)
        if mount.mode is not None and st.st_mode & 0o7777 != mount.mode:
            path.chmod(mount.mode)


def _in_place(mount: BindMount, source: DirectoryTree, entry: Entry) -> Mount:
    """Show a part of a context where it lies; the way to it is walked when it is mounted, and no link on it
    followed.
    """
    root, path = os.fspath(source.root), "" if entry.path == ROOT else entry.path
    if mount.writable:
        return Layers(path=mount.target, lower_dirs=(root,), source=path, is_directory=True, writable=True)
    return Bind(host_path=root, path=mount.target, read_only=True, source=path)


def _with_another_root(mount: BindMount, source: DirectoryTree, place: Path) -> Mount:
    """Show a context whose own directory is closed or somebody else's: an empty one lies over it."""
    place.mkdir()
    place.chmod(NEW_DIRECTORY_MODE)
    lower_dirs = (os.fspath(source.root), os.fspath(place))
    return Layers(path=mount.target, lower_dirs=lower_dirs, source="", is_directory=True, writable=mount.writable)


def _is_directory(mount: Mount) -> bool:
    match mount:
        case Bind():
            return Path(mount.host_path, mount.source).is_dir()
        case Layers():
            return mount.is_directory
        case Tmpfs() | Terminals():
            return True
        case SecretFile():
            return False


def _chosen(tree: SourceTree, source: str, span: Span) -> Selected:
    """Return what `source` (absolute in its tree) is, links followed."""
    path = tree.resolve(source.strip("/") or ROOT)
    if path == ROOT:
        return Selected(name="", entry=new_entry(ROOT, "dir", NEW_DIRECTORY_MODE))
    entry = tree.lookup(path)
    if entry is None:
        raise BuildError(f'mount source "{source}" not found', span=span, remedy="check source= and .dockerignore")
    return Selected(name=posixpath.basename(path), entry=entry)


def _materialize(tree: SourceTree, chosen: Selected, place: Path, *, records: bool) -> None:
    """Write a copy of `chosen` to `place`: a directory like it, or one that holds it as `file`."""
    place.mkdir()
    place.chmod(NEW_DIRECTORY_MODE)
    changes: list[Change] = []
    first: dict[object, str] = {}
    for relative, entry in walk(tree, chosen):
        if not relative and entry.kind == "dir":
            continue
        path = relative or "file"
        group = tree.link_group(entry) if entry.kind == "file" else None
        if group is not None and group in first:
            changes.append(Change(entry._replace(path=path, kind="hardlink", link=first[group], size=0)))
            continue
        if group is not None:
            first[group] = path
        placed: Entry = entry._replace(path=path, offset=-1, opaque=False)
        changes.append(Change(placed, tree.opener(entry) if entry.kind == "file" else None))
    materialize(changes, place, records=records)


def _identity(mount: CacheMount, trees: Mapping[Origin, tuple[LayerTree, Chain]]) -> tuple[str, str]:
    """Return what tells one cache from others: its id, and what it begins with."""
    if mount.origin is None:
        return mount.id, ""
    chain = trees[mount.origin][1] if mount.origin in trees else ()
    name = outside_name(mount.origin) or str(chain_id([layer.diff_id for layer in chain]))
    return mount.id, f"{name} {mount.source}"

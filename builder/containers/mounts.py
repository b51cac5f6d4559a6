"""The mounts of `tiffin run` as values: -v, --mount, --tmpfs in Docker's notation.

What Docker knows and tiffin does not do is refused by name, never ignored. A name instead of a path is a named volume.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, size_bytes, switch
from tiffin.builder.sandbox.child.spec import DEFAULT_TMPFS_MODE, Bind, Terminals, Tmpfs
from tiffin.cache.foundation.frozen import dataclass, replace

VOLUME_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"  # Docker's
# Hints for other machines (caches, SELinux labels) and what is the case anyway
HARMLESS_OPTIONS = frozenset(("z", "Z", "cached", "delegated", "consistent", "rbind"))
PRIVATE = frozenset(("private", "rprivate"))  # as mounts are anyhow
FOLLOWING = frozenset(("slave", "rslave"))  # one sort: a bind mount always comes with what is below it
SHARED = frozenset(("shared", "rshared"))
NOCOPY = "nocopy"  # of a volume: it begins empty
HARMLESS_TMPFS = frozenset(("rw", "nosuid", "nodev", "relatime", "async", "tmpcopyup", "notmpcopyup"))
IDS_OF_TMPFS = ("uid", "gid")
HARMLESS_KEYS = (  # of --mount
    "readonly", "ro", "source", "src", "target", "dst", "destination", "consistency", "volume-label",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A directory of tiffin's own at `path`; `name` "" makes it the container's, and it goes with it.

    `copies`: a new one is filled with what the image has there.
    """

    name: str
    path: str
    read_only: bool = False
    copies: bool = True
    subpath: str = ""  # what of it is shown
    is_lent: bool = False  # it has no name but that which was made up for another container, as --volumes-from has it


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMount:
    """What an image has at `subpath`, shown at `path`; what is written to it, if it may be, is thrown away.

    `image_id` and `layers` (DiffIDs) are those of the image when the container was made; "" before.
    """

    image: str
    path: str
    subpath: str = ""
    read_only: bool = True
    image_id: str = ""
    layers: tuple[str, ...] = ()


Mount = Bind | Tmpfs | Terminals | VolumeMount | ImageMount


def is_writable_bind(mount: Mount) -> bool:
    """Whether a mount shows a directory of this machine that the command may write."""
    return isinstance(mount, Bind) and not mount.read_only


def parse_volume(text: str, *, directory: str) -> Mount:
    """Parse -v HOST:PATH[:ro], -v NAME:PATH[:ro], -v PATH; HOST relative to `directory`. Raises UsageError."""
    what = f'-v "{text}"'
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"{what} is not HOST:PATH[:ro]", remedy="write -v /on/host:/in/container")
    if len(parts) == 1:
        return VolumeMount(name="", path=_target(parts[0], what))
    options = [option for option in (parts[2] if len(parts) == 3 else "").split(",") if option]
    source, path = parts[0], _target(parts[1], what)
    is_bind = source.startswith(("/", "./", "../")) or source in (".", "..")
    copies = is_bind or NOCOPY not in options
    propagation = [option for option in options if option in PRIVATE | FOLLOWING | SHARED]
    propagates = _is_propagated(propagation, what)
    known = [*propagation, *(() if is_bind else (NOCOPY,))]
    read_only = _is_read_only([option for option in options if option not in known], what)
    if is_bind:
        host_path = os.path.normpath(os.path.join(directory, source))
        return Bind(host_path=host_path, path=path, read_only=read_only, propagates=propagates)
    if propagates:
        raise UsageError(f"{what}: a named volume has no mounts below it to follow", remedy="leave the option out")
    return VolumeMount(name=_volume_name(source, what), path=path, read_only=read_only, copies=copies)


def parse_mount(text: str, *, directory: str) -> Mount:
    """Parse --mount type=bind|volume|tmpfs|image,…; without a type it is a volume, as in Docker. Raises UsageError."""
    what = f'--mount "{text}"'
    fields = _fields(text, what)
    kind = fields.pop("type", "volume")
    if kind == "devpts":  # podman's
        return Terminals(path=_target(_either(fields, what, "target", "dst", "destination"), what))
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise UsageError(f'{what}: type "{kind}" is not supported', remedy="use bind, volume, tmpfs or image")
    path = _target(_either(fields, what, "target", "dst", "destination"), what)
    source = _either(fields, what, "source", "src")
    read_only = _flag(_either(fields, what, "readonly", "ro"), what) if {"readonly", "ro"} & fields.keys() else False
    for name in HARMLESS_KEYS:
        fields.pop(name, None)
    result: Mount
    if kind == "tmpfs":
        if source:
            raise UsageError(f"{what}: a tmpfs has no source", remedy="leave it out")
        size, mode = parse_size(fields.pop("tmpfs-size", "0")), _mode(fields.pop("tmpfs-mode", ""))
        result = Tmpfs(path=path, size_bytes=size, mode=mode, read_only=read_only, executes=False)
    elif kind == "volume":
        result = _volume(source, path, read_only, what, fields)
    elif kind == "image":
        result = _image(source, path, read_only, what, fields)
    else:
        result = _bind(source, path, read_only, what, fields, directory)
    if fields:
        raise UsageError(f'{what}: "{min(fields)}" is not supported', remedy="leave it out")
    return result


def parse_tmpfs(text: str) -> Tmpfs:
    """Parse --tmpfs PATH[:size=…,mode=…]; raises UsageError."""
    what = f'--tmpfs "{text}"'
    path, _, rest = text.partition(":")
    result = Tmpfs(path=_target(path, what), executes=False)  # as docker has it
    for item in filter(None, rest.split(",")):
        name, _, value = item.partition("=")
        if name == "size":
            result = replace(result, size_bytes=parse_size(value))
        elif name == "mode":
            result = replace(result, mode=_mode(value))
        elif item in ("ro", "exec", "noexec"):
            result = replace(result, **{"read_only": True} if item == "ro" else {"executes": item == "exec"})
        elif name in IDS_OF_TMPFS and value.isdecimal():
            result = replace(result, **{name: int(value)})
        elif item not in HARMLESS_TMPFS:
            raise UsageError(f'{what}: option "{item}" is not supported', remedy="use size= and mode=")
    return result


def parse_size(text: str) -> int:
    """Return bytes, with a suffix k, m or g of powers of 1024; raises UsageError."""
    try:
        return size_bytes(text)
    except ValueError as exc:
        raise UsageError(f'"{text}" is not a valid size', remedy="write a number with k, m or g, such as 64m") from exc


def ordered(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Sort parents before what is mounted below them; raises UsageError for two mounts on one path."""
    seen: set[str] = set()
    for mount in mounts:
        if mount.path in seen:
            raise UsageError(f"two mounts want {mount.path}", remedy="keep one of them")
        seen.add(mount.path)
    return tuple(sorted(mounts, key=lambda mount: mount.path.count("/")))


def parent_of(mount: Mount, others: Iterable[Mount]) -> Mount | None:
    """Return the innermost of `others` that `mount` lies below, or None."""
    above = [other for other in others if mount.path.startswith(other.path.rstrip("/") + "/")]
    return max(above, key=lambda other: len(other.path), default=None)


def _is_read_only(options: Sequence[str], what: str) -> bool:
    """Whether the options of -v make it read-only."""
    read_only = False
    for option in options:
        if option == "ro":
            read_only = True
        elif option != "rw" and option not in HARMLESS_OPTIONS:
            raise UsageError(f'{what}: option "{option}" is not supported', remedy="use ro or rw")
    return read_only


def _is_propagated(propagation: Sequence[str], what: str) -> bool:
    """Whether mounts of the machine are to be seen; raises UsageError for what a namespace without root cannot do."""
    if len(propagation) > 1:
        raise UsageError(f"{what}: {propagation[0]} and {propagation[1]} exclude each other", remedy="keep one of them")
    if SHARED.intersection(propagation):
        raise UsageError(
            f"{what}: {propagation[0]} is not supported: mounts of a container never reach the machine",
            remedy="use rslave, for mounts of the machine to reach the container",
        )
    return bool(FOLLOWING.intersection(propagation))


def _volume(source: str, path: str, read_only: bool, what: str, fields: dict[str, str]) -> VolumeMount:
    """Make a volume of --mount; takes its keys out of `fields`."""
    name = _volume_name(source, what) if source else ""
    copies = not _flag(fields.pop("volume-nocopy", "false"), what)
    if fields.pop("volume-driver", "local") != "local":
        raise UsageError(f"{what}: there is no driver of volumes but local", remedy="leave volume-driver out")
    subpath = _subpath(fields, what, "volume-subpath")
    return VolumeMount(name=name, path=path, read_only=read_only, copies=copies, subpath=subpath)


def _image(source: str, path: str, read_only: bool, what: str, fields: dict[str, str]) -> ImageMount:
    """Make an image mount of --mount; takes its keys out of `fields`: docker's, and podman's subpath and readwrite."""
    if not source:
        raise UsageError(f"{what} names no image", remedy="add source=IMAGE")
    given = _either(fields, what, "readwrite", "rw")
    is_written = bool({"readwrite", "rw"} & fields.keys()) and _flag(given, what)
    if is_written and read_only:
        raise UsageError(f"{what}: readonly and readwrite exclude each other", remedy="keep one of them")
    fields["image-subpath"] = _either(fields, what, "image-subpath", "subpath").lstrip("/")  # podman begins it with /
    fields.pop("subpath", None)
    subpath = _subpath(fields, what, "image-subpath")
    for name in ("readwrite", "rw"):
        fields.pop(name, None)
    return ImageMount(image=source, path=path, subpath=subpath, read_only=not is_written)


def _subpath(fields: dict[str, str], what: str, name: str) -> str:
    """Take a path below the source out of `fields`."""
    subpath = fields.pop(name, "")
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise UsageError(f"{what}: {name} leads out of the {name.partition('-')[0]}", remedy="write a path below it")
    return subpath


def _bind(source: str, path: str, read_only: bool, what: str, fields: dict[str, str], directory: str) -> Bind:
    """Make a bind mount of --mount; takes its keys out of `fields`."""
    propagation = fields.pop("bind-propagation", "rprivate")
    if propagation not in PRIVATE | FOLLOWING | SHARED:
        raise UsageError(f'{what}: unknown bind-propagation "{propagation}"', remedy="use rprivate or rslave")
    propagates = _is_propagated([propagation], what)
    alone = _flag(fields.pop("bind-nonrecursive", "false"), what)
    recursive = fields.pop("bind-recursive", "enabled")
    if alone or recursive not in ("enabled", "writable", "readonly"):
        raise UsageError(
            f"{what}: what is mounted below the source comes with it: the kernel lets no user part them",
            remedy="leave bind-recursive out",
        )
    return replace(_existing_bind(source, path, read_only, what, directory), propagates=propagates)


def _existing_bind(source: str, path: str, read_only: bool, what: str, directory: str) -> Bind:
    """Make a bind mount whose source must exist: unlike -v, --mount makes no missing directory."""
    if not source:
        raise UsageError(f"{what} names no source", remedy="add source=PATH")
    host_path = os.path.normpath(os.path.join(directory, source))
    if not os.path.exists(host_path):
        raise UsageError(f"{what}: {source} does not exist", remedy="create it first")
    return Bind(host_path=host_path, path=path, read_only=read_only)


def _fields(text: str, what: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f"{what} has an empty item", remedy="write type=bind,source=…,target=…") from exc
    for name, value in pairs:
        if name in fields:
            raise UsageError(f'{what}: "{name}" is given twice', remedy="keep one of them")
        fields[name] = value or ""
    return fields


def _either(fields: dict[str, str], what: str, *names: str) -> str:
    given = [name for name in names if name in fields]
    if len(given) > 1:
        raise UsageError(f"{what}: {given[0]} and {given[1]} are the same", remedy="keep one of them")
    return fields[given[0]] if given else ""


def _flag(value: str, what: str) -> bool:
    try:
        return switch(value)
    except ValueError as exc:
        raise UsageError(f'{what}: "{value}" is neither true nor false', remedy="write readonly=true") from exc


def _volume_name(name: str, what: str) -> str:
    if not re.fullmatch(VOLUME_NAME, name):
        raise UsageError(f'{what}: "{name}" is neither a path nor a volume name', remedy="begin a path with / or ./")
    return name


def _target(path: str, what: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f'{what}: "{path}" is not an absolute path', remedy="give the place in the container from /")
    path = "/" + os.path.normpath(path).lstrip("/")
    if path == "/" or path == "/proc" or path.startswith("/proc/"):
        raise UsageError(f"{what}: nothing can be mounted on {path}", remedy="choose another place")
    return path


def _mode(text: str) -> int:
    if not text:
        return DEFAULT_TMPFS_MODE
    try:
        return int(text, 8) & 0o7777
    except ValueError as exc:
        raise UsageError(f'"{text}" is not an octal mode', remedy="write it like 1777") from exc

"""The words of `tiffin run` as values: mounts, environment, hosts. Pure but for files named on purpose."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.errors import UsageError
from builder.sandbox.spec import DEFAULT_TMPFS_MODE, Bind, Tmpfs

_SIZE = re.compile(r"(\d+)([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_volume(text: str) -> Bind:
    """-v HOST:CONTAINER[:ro|rw]; raises UsageError."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f'-v "{text}" is no HOST:CONTAINER[:ro]', remedy="write -v /on/host:/in/container")
    host, target, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else "rw"
    if mode not in ("ro", "rw"):
        raise UsageError(f'-v "{text}": unknown option "{mode}"', remedy="use ro or rw")
    if "/" not in host and host not in (".", ".."):
        raise UsageError(f'-v "{text}": named volumes are not supported yet', remedy="give a path, such as ./name")
    return _bind(host, target, mode == "ro", f'-v "{text}"')


def parse_mount(text: str) -> Bind | Tmpfs:
    """--mount type=bind|tmpfs,…; raises UsageError."""
    fields: dict[str, str] = {}
    for item in next(csv.reader([text])):
        name, _, value = item.partition("=")
        fields[name.lower()] = value
    kind = fields.pop("type", "")
    target = fields.pop("target", fields.pop("dst", fields.pop("destination", "")))
    if kind not in ("bind", "tmpfs"):
        raise UsageError(f'--mount type "{kind}" is not supported', remedy="use type=bind or type=tmpfs")
    if kind == "tmpfs":
        size = parse_size(fields.pop("tmpfs-size", "0"))
        mode = _mode(fields.pop("tmpfs-mode", f"{DEFAULT_TMPFS_MODE:o}"))
        _nothing_left(fields, text)
        return Tmpfs(path=_absolute(target, f'--mount "{text}"'), size_bytes=size, mode=mode)
    source = fields.pop("source", fields.pop("src", ""))
    read_only = fields.pop("readonly", fields.pop("ro", "false")) in ("", "true", "1")
    _nothing_left(fields, text)
    return _bind(source, target, read_only, f'--mount "{text}"')


def parse_tmpfs(text: str) -> Tmpfs:
    """--tmpfs PATH[:size=…,mode=…]; raises UsageError."""
    path, _, rest = text.partition(":")
    size, mode = 0, DEFAULT_TMPFS_MODE
    for item in filter(None, rest.split(",")):
        name, _, value = item.partition("=")
        if name == "size":
            size = parse_size(value)
        elif name == "mode":
            mode = _mode(value)
        elif name not in ("rw", "nosuid", "nodev", "exec", "noexec"):
            raise UsageError(f'--tmpfs "{text}": unknown option "{name}"', remedy="use size= and mode=")
    return Tmpfs(path=_absolute(path, f'--tmpfs "{text}"'), size_bytes=size, mode=mode)


def parse_size(text: str) -> int:
    """Bytes, with a suffix k, m or g of powers of 1024; raises UsageError."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise UsageError(f'"{text}" is no size', remedy="write a number with k, m or g, such as 64m")
    return int(match[1]) * _UNITS[match[2].lower()]


def parse_env(texts: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """--env-file lines, then -e; a name alone takes the value from `environ` if it is there. Raises UsageError."""
    items: list[str] = []
    for name in files:
        try:
            lines = Path(name).read_text(errors="surrogateescape").splitlines()
        except OSError as exc:
            raise UsageError(f"cannot read --env-file {name}: {exc.strerror}", remedy="name a readable file") from exc
        items += [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    result = []
    for item in (*items, *texts):
        name, equals, value = item.partition("=")
        if not name or " " in name:
            raise UsageError(f'-e "{item}" has no proper name', remedy="write -e NAME=VALUE")
        if equals:
            result.append((name, value))
        elif name in environ:
            result.append((name, environ[name]))
    return result


def parse_host(text: str) -> tuple[str, str]:
    """--add-host NAME:ADDRESS (or NAME=ADDRESS); raises UsageError."""
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not separator or not name or not address:
        raise UsageError(f'--add-host "{text}" is no NAME:ADDRESS', remedy="write --add-host db:127.0.0.1")
    return name, address.strip("[]")


def _bind(source: str, target: str, read_only: bool, what: str) -> Bind:
    if not source:
        raise UsageError(f"{what} names no source", remedy="add source=PATH")
    path = os.path.realpath(source)
    if not Path(path).exists():
        raise UsageError(f"{what}: {source} does not exist", remedy="create it first")
    return Bind(host_path=path, path=_absolute(target, what), read_only=read_only)


def _absolute(path: str, what: str) -> str:
    if not path.startswith("/") or path.strip("/") in ("", "."):
        raise UsageError(f'{what}: "{path}" is no place to mount', remedy="give an absolute path below /")
    return os.path.normpath(path)


def _mode(text: str) -> int:
    try:
        return int(text, 8) & 0o7777
    except ValueError as exc:
        raise UsageError(f'"{text}" is no octal mode', remedy="write it like 1777") from exc


def _nothing_left(fields: Mapping[str, str], text: str) -> None:
    if fields:
        raise UsageError(f'--mount "{text}": unknown option "{min(fields)}"', remedy="see tiffin run --help")

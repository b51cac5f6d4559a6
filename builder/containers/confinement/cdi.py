"""The Container Device Interface: what files in /etc/cdi and /var/run/cdi say of devices becomes variables, nodes and
mounts of a container (cncf-tags/container-device-interface, SPEC.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.containers.confinement.asked import ALL_ACCESS, Device
from tiffin.builder.containers.confinement.devices import check_node
from tiffin.builder.errors import UsageError
from tiffin.builder.options import truth
from tiffin.builder.sandbox.child.spec import Bind, Tmpfs
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")  # the later ones go before
DIRECTORIES_VARIABLE = "TIFFIN_CDI_SPEC_DIRS"  # others, as in PATH
CLASS, AUTO_ALLOW = "org.mobyproject.buildkit.device.class", "org.mobyproject.buildkit.device.autoallow"
VERSIONS = frozenset(("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0"))
MAX_FILE_BYTES = 16 << 20
_READ_ONLY = "ro"
_TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What devices add to a container."""

    variables: tuple[tuple[str, str], ...] = ()
    devices: tuple[Device, ...] = ()
    mounts: tuple[Bind | Tmpfs, ...] = ()
    groups: tuple[int, ...] = ()

    def __add__(self, other: Edits) -> Edits:
        """Return both, in order."""
        return Edits(
            variables=self.variables + other.variables,
            devices=self.devices + other.devices,
            mounts=self.mounts + other.mounts,
            groups=self.groups + other.groups,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Specification:
    path: Path
    rank: int  # of its directory
    kind: str
    common: Mapping[str, Any]
    devices: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[str, Mapping[str, str]]  # of each device, with those of the file


def directories_of(environ: Mapping[str, str]) -> Sequence[str]:
    """Return where specifications are."""
    text = environ.get(DIRECTORIES_VARIABLE, "")
    return text.split(":") if text else DIRECTORIES


def edits_of(names: Sequence[str], directories: Sequence[str]) -> Edits:
    """Return what the devices of these names add. Raises UsageError, also for hooks, which would run outside."""
    found, broken = _specifications(directories)
    result = Edits()
    begun: set[Path] = set()
    for name in dict.fromkeys(names):
        specification = _holder(name, found, broken, directories)
        if specification.path not in begun:
            begun.add(specification.path)
            result += _edits(specification.common, name)
        result += _edits(specification.devices[name.partition("=")[2]], name)
    return result


def matching(name: str, directories: Sequence[str]) -> dict[str, bool]:
    """Return the full names of the devices that RUN --device means, and whether their files allow them to every build:
    one of a name, the first of a kind, all of a kind (`*`), or those whose annotation has the name as their class.
    """
    kind, _, wanted = name.partition("=")
    found: dict[str, Mapping[str, str]] = {}
    for item in _specifications(directories)[0]:
        if item.kind == kind:
            found |= {device: item.annotations[device] for device in item.devices}
    if not wanted:
        chosen = sorted(found)[:1]
    elif wanted == "*" or wanted in found:
        chosen = sorted(found) if wanted == "*" else [wanted]
    else:
        chosen = sorted(device for device, notes in found.items() if notes.get(CLASS) == wanted)
    return {f"{kind}={device}": truth(found[device].get(AUTO_ALLOW, "")) is True for device in chosen}


def device_names(directories: Sequence[str]) -> list[str]:
    """Return the full name of every device that is known here."""
    found, _ = _specifications(directories)
    return sorted({f"{item.kind}={name}" for item in found for name in item.devices})


def _holder(
    name: str, found: Sequence[_Specification], broken: Sequence[str], directories: Sequence[str]
) -> _Specification:
    """Return the specification with a device: of several that of the last directory, where it must be alone."""
    kind, _, device = name.partition("=")
    holders = [item for item in found if item.kind == kind and device in item.devices]
    if not holders:
        known = sorted({f"{item.kind}={key}" for item in found for key in item.devices})
        reasons = f" ({'; '.join(broken)})" if broken else ""
        raise UsageError(
            f"--device {name}: no file in {' or '.join(directories)} describes it{reasons}",
            remedy=f"choose among {', '.join(known)}" if known else "have the vendor's tool write one",
        )
    rank = max(item.rank for item in holders)
    best = [item for item in holders if item.rank == rank]
    if len(best) > 1:
        raise UsageError(
            f"--device {name}: {best[0].path} and {best[1].path} both describe it", remedy="remove one of the files"
        )
    return best[0]


def _specifications(directories: Sequence[str]) -> tuple[list[_Specification], list[str]]:
    """Return all that can be read, and what is wrong with the others."""
    found, broken = [], []
    for rank, directory in enumerate(directories):
        try:
            paths = sorted(Path(directory).iterdir())
        except OSError:
            continue
        for path in paths:
            if path.suffix not in (".json", ".yaml"):
                continue
            try:
                found.append(_read(path, rank))
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
                broken.append(f"{path}: {exc}")
    return found, broken


def _read(path: Path, rank: int) -> _Specification:
    """Read one file. Raises ValueError and others for what is none."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError("it is too long")
    document = _decode(path)
    version = document["cdiVersion"]
    if version not in VERSIONS:
        raise ValueError(f"version {version} is not known")
    vendor, slash, kind = document["kind"].partition("/")
    if not (vendor and slash and kind):
        raise ValueError(f'"{document["kind"]}" is not vendor.com/class')
    devices: dict[str, Mapping[str, Any]] = {}
    annotations: dict[str, Mapping[str, str]] = {}
    for device in document["devices"]:
        if device["name"] in devices:
            raise ValueError(f"device {device['name']} is there twice")
        devices[device["name"]] = device.get("containerEdits") or {}
        annotations[device["name"]] = {**(document.get("annotations") or {}), **(device.get("annotations") or {})}
    return _Specification(
        path=path,
        rank=rank,
        kind=document["kind"],
        common=document.get("containerEdits") or {},
        devices=devices,
        annotations=annotations,
    )


def _decode(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ValueError(f"it is no YAML: {exc}") from exc


def _edits(document: Mapping[str, Any], name: str) -> Edits:
    """Read containerEdits. Raises UsageError for what cannot be done here."""
    for key, what in (("hooks", "hooks"), ("intelRdt", "Intel RDT"), ("netDevices", "network devices")):
        if document.get(key):
            detail = ", ".join(str(hook.get("path")) for hook in document[key]) if key == "hooks" else ""
            raise UsageError(
                f"--device {name}: its specification wants {what}{f' ({detail})' if detail else ''}, which are not run",
                remedy="have the vendor's tool write a specification without them",
            )
    return Edits(
        variables=tuple(_pair(text, name) for text in document.get("env") or ()),
        devices=tuple(_node(item, name) for item in document.get("deviceNodes") or ()),
        mounts=tuple(_mounts(document.get("mounts") or ())),
        groups=tuple(int(number) for number in document.get("additionalGids") or () if int(number)),
    )


def _pair(text: str, name: str) -> tuple[str, str]:
    variable, equals, value = text.partition("=")
    if not variable or not equals:
        raise UsageError(f'--device {name}: "{text}" is not NAME=VALUE', remedy="have the vendor's tool write it anew")
    return variable, value


def _node(item: Mapping[str, Any], name: str) -> Device:
    access = item.get("permissions") or ALL_ACCESS
    host_path = item.get("hostPath") or item["path"]
    check_node(host_path, access, f"--device {name}")
    return Device(host_path=host_path, path=item["path"], access=access)


def _mounts(items: Sequence[Mapping[str, Any]]) -> Iterator[Bind | Tmpfs]:
    for item in items:
        path, options = item["containerPath"], item.get("options") or ()
        if item.get("type") == _TMPFS:
            yield Tmpfs(path=path, read_only=_READ_ONLY in options)
        else:
            yield Bind(
                host_path=item["hostPath"],
                path=path,
                read_only=_READ_ONLY in options,
                propagates=bool({"slave", "rslave"} & set(options)),
            )

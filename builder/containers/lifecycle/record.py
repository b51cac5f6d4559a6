"""What a container was made with, kept beside it in config.json: enough to start it again without its image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tiffin.builder.errors import CorruptError
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.json_fields import Fields
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass, fields, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.containers.run import ContainerOptions

FILE = "config.json"
SANDBOX_FILE = "sandbox.json"  # of the command that runs, for others that enter its sandbox
_CLASS, _MAP = "class", "map"  # how values and maps are told apart in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """What it was made with. `isolation` is the tier that was forced, `id_map` the map that its files have."""

    options: ContainerOptions
    config: RunConfig  # of its image
    isolation: str
    id_map: str
    groups: tuple[str, ...] = ()  # further ones of the user, by name or number
    interactive: bool = False
    closes_stdin: bool = False  # with the end of the first attached client's

    @property
    def user(self) -> str:
        """The user of its commands, by name or number; "" is root."""
        kept = self.options.keep
        return self.options.user or (f"{kept[0]}:{kept[1]}" if kept else "") or self.config.user

    @property
    def stop_signal(self) -> str:
        """What it is asked with to end, by name or number."""
        return self.options.stop_signal or self.config.stop_signal or "TERM"

    def write(self, folder: Path) -> None:
        """Write it into a container's folder. Raises StoreError."""
        document = {name: encode_value(getattr(self, name)) for name in fields(self) if name != "config"}
        document["config"] = self.config.to_json()
        temporary = folder / f".{FILE}"
        with disk_errors(folder):
            temporary.write_text(json_text.dumps(document), encoding="utf-8", errors="surrogateescape")
            os.replace(temporary, folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> ContainerRecord:
        """Read that of a container's folder. Raises CorruptError."""
        try:
            document = json_text.loads((folder / FILE).read_text(encoding="utf-8", errors="surrogateescape"))
            config = RunConfig.from_fields(
                Fields.decode(json_text.dumps(document.pop("config")).encode(), "container's configuration")
            )
            return cls(
                config=config, **{name: decode_value(value) for name, value in document.items() if name in fields(cls)}
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
            raise CorruptError(
                f"the configuration of container {folder.name[:12]} is missing or damaged",
                remedy="remove the container and make it again",
            ) from exc


def encode_value(value: object) -> Any:
    """Return a value of these classes, or one made of them, as JSON has it."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [encode_value(item) for item in value]
    if isinstance(value, Mapping):
        return {_MAP: {key: encode_value(item) for key, item in value.items()}}
    return {_CLASS: type(value).__name__, **{name: encode_value(getattr(value, name)) for name in fields(value)}}


def decode_value(value: Any) -> Any:
    """Undo `encode_value`; members that this version does not know are left out."""
    if isinstance(value, list):
        return tuple(decode_value(item) for item in value)
    if not isinstance(value, dict):
        return value
    if _MAP in value:
        return {key: decode_value(item) for key, item in value[_MAP].items()}
    kind = _kinds()[value[_CLASS]]
    return kind(**{name: decode_value(value[name]) for name in fields(kind) if name in value})


@cache
def _kinds() -> Mapping[str, type]:
    """Return the classes of values by name: who writes a record has those that it holds, and need not load them all."""
    from tiffin.builder.containers.confinement.asked import Device, Namespaces
    from tiffin.builder.containers.health import HealthCheck
    from tiffin.builder.containers.mounts import ImageMount, VolumeMount
    from tiffin.builder.containers.network.resolver import Resolver
    from tiffin.builder.containers.run import ContainerOptions, RestartPolicy
    from tiffin.builder.sandbox.cgroup_limits import Limits
    from tiffin.builder.sandbox.child.spec import Bind, Port, Terminals, Tmpfs

    kinds: tuple[type, ...] = (
        Bind, ContainerOptions, Device, HealthCheck, ImageMount, Limits, Namespaces, Port, Resolver, RestartPolicy,
        Tmpfs, Terminals, VolumeMount,
    )  # fmt: skip
    return {kind.__name__: kind for kind in kinds}


def write_sandbox(folder: Path, spec: SandboxSpec) -> None:
    """Keep what another command needs to know of the sandbox that is about to be made. Raises StoreError."""
    kept = replace(spec, lower_dirs=(), stubs=(), hosts="", resolv_conf="", connector=None, announces=False)
    with disk_errors(folder):
        (folder / SANDBOX_FILE).write_bytes(kept.encode())


def read_sandbox(folder: Path) -> SandboxSpec:
    """Read what was kept of a container's sandbox. Raises CorruptError."""
    try:
        spec = SandboxSpec.decode((folder / SANDBOX_FILE).read_bytes())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CorruptError(
            f"what is known of the sandbox of container {folder.name[:12]} is missing or damaged",
            remedy="start it again",
        ) from exc
    return spec

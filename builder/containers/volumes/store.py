"""The volumes of a state directory: mounts/volumes/NAME, and what is written of each in mounts/volumes/.NAME.json.

A name may be taken before there is a directory: that is made, and filled from an image, when a container first needs
it. One of a version that wrote nothing of volumes has the time of its directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tiffin.builder.containers.lifecycle.events import VOLUME, record_event
from tiffin.builder.containers.mounts import VOLUME_NAME
from tiffin.builder.errors import NotFoundError, UsageError
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import asdict, dataclass, field, replace
from tiffin.cache.store.statedir import StateDir

VOLUME_MODE = 0o755
ANONYMOUS_LABEL = "com.docker.volume.anonymous"
DEVICE, KIND, MOUNT_OPTIONS = "device", "type", "o"  # options of docker's driver "local"
MADE_UP = r"[0-9a-f]{64}"
_GOING = ".going-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A directory of containers; with the option `device` it is one of this machine.

    `ids`: the owners of its files are by the map of containers whose users keep these ids (`keepid.kept_ids`), "" for
    the usual map.
    """

    name: str
    created: float  # Unix seconds
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    ids: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether its name was made up for one container."""
        return ANONYMOUS_LABEL in self.labels


class Volumes:
    """The volumes of one state directory. Who changes them holds the lock of the containers' folders."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._folder = state.mounts / "volumes"

    def place(self, volume: Volume) -> Path:
        """Return where its files are."""
        return Path(volume.options.get(DEVICE) or self._folder / volume.name)

    def place_of(self, name: str) -> Path:
        """Return where the files of a volume are, or would be."""
        volume = self._read(name)
        return self.place(volume) if volume is not None else self._folder / name

    def list(self) -> list[Volume]:
        """Return all, by name."""
        try:
            found = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        names = {name[1:].removesuffix(".json") for name in found if name.startswith(".") and name.endswith(".json")}
        names |= {name for name in found if not name.startswith(".")}
        return [volume for name in sorted(names) if (volume := self._read(name)) is not None]

    def find(self, name: str) -> Volume:
        """Raise NotFoundError for one that is not there."""
        volume = self._read(name) if re.fullmatch(VOLUME_NAME, name) else None
        if volume is None:
            raise NotFoundError(f"get {name}: no such volume", remedy="see tiffin volume ls")
        return volume

    def note(self, name: str, labels: Mapping[str, str] = {}, options: Mapping[str, str] = {}) -> Volume:
        """Write down that there is a volume of that name; one that is there stays as it is. Raises StoreError."""
        found = self._read(name)
        if found is not None:
            return found
        volume = Volume(name=name, created=time.time(), labels=labels, options=options)
        self._write(volume)
        record_event(self._state, VOLUME, "create", name, {"driver": "local"})
        return volume

    def note_all(self, names: Iterable[str]) -> None:
        """Write down the volumes of a new container; names that were made up make them anonymous. Raises StoreError."""
        for name in names:
            self.note(name, {ANONYMOUS_LABEL: ""} if is_made_up(name) else {})

    def give(self, volume: Volume, ids: str) -> None:
        """Write down whose ids the owners of an empty volume's files will be. Raises StoreError."""
        if volume.ids != ids:
            self._write(replace(volume, ids=ids))

    def make(self, volume: Volume) -> None:
        """Make its directory, empty. Raises StoreError."""
        path = self.place(volume)
        with disk_errors(path):
            path.mkdir(exist_ok=True)
            path.chmod(VOLUME_MODE)

    def remove(self, name: str) -> None:
        """Remove one, in the namespace of its files; missing is fine. Raises StoreError."""
        with disk_errors(self._folder):
            self._record(name).unlink(missing_ok=True)
            path, going = self._folder / name, self._folder / f"{_GOING}{name}-{os.urandom(4).hex()}"
            with contextlib.suppress(FileNotFoundError):
                path.rename(going)  # at once: its name is free for another
            for leftover in self._folder.glob(f"{_GOING}*"):
                remove_tree(leftover)
        record_event(self._state, VOLUME, "destroy", name, {"driver": "local"})

    def remove_anonymous(self, names: Iterable[str]) -> None:
        """Remove those of `names` that were made up for one container. Raises StoreError."""
        for name in names:
            volume = self._read(name)
            if volume is not None and volume.is_anonymous:
                self.remove(name)

    def _write(self, volume: Volume) -> None:
        with disk_errors(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            fresh = self._folder / f".new-{os.urandom(8).hex()}"
            fresh.write_text(json.dumps(asdict(volume), sort_keys=True))
            fresh.replace(self._record(volume.name))

    def _record(self, name: str) -> Path:
        return self._folder / f".{name}.json"

    def _read(self, name: str) -> Volume | None:
        try:
            return Volume(**json.loads(self._record(name).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            pass
        try:
            return Volume(name=name, created=(self._folder / name).stat().st_mtime)
        except FileNotFoundError:
            return None


def check_options(name: str, options: Mapping[str, str]) -> Mapping[str, str]:
    """Return the options of docker's driver that are done here: a directory of this machine. Raises UsageError."""
    if not options:
        return options
    words = options.get(MOUNT_OPTIONS, "").split(",")
    unknown = sorted(set(options) - {DEVICE, KIND, MOUNT_OPTIONS})
    if unknown:
        raise UsageError(
            f'create {name}: invalid option: "{unknown[0]}"', remedy="use type=none, o=bind and device=PATH"
        )
    if options.get(KIND, "none") not in ("none", "bind") or not {"bind", "rbind"} & {*words, options.get(KIND, "")}:
        kind = options.get(KIND, "") or "none"
        raise UsageError(
            f"create {name}: a volume of type {kind} with o={options.get(MOUNT_OPTIONS, '')} needs a mount of root's",
            remedy="use type=none, o=bind and device=PATH for a directory of this machine, or --tmpfs with run",
        )
    device = options.get(DEVICE, "")
    if not os.path.isabs(device):
        raise UsageError(f'create {name}: device "{device}" is not an absolute path', remedy="write device=/PATH")
    return options


def is_made_up(name: str) -> bool:
    """Tell whether a name is one of `new_name`."""
    return re.fullmatch(MADE_UP, name) is not None


def new_name() -> str:
    """Return a name for a volume of one container."""
    return os.urandom(32).hex()

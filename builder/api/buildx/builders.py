"""Builders by name, as buildx has them: names and options that are kept and shown. What builds is tiffin itself."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping

from tiffin.builder.api.session import Session
from tiffin.builder.errors import CorruptError, NotFoundError, UsageError
from tiffin.cache.foundation.files import write_atomically
from tiffin.cache.foundation.frozen import asdict, dataclass, field, replace

FILE = "builders.json"
DEFAULT = "default"
DEFAULT_DRIVER, CREATED_DRIVER = "docker", "docker-container"
LOCAL_DRIVERS = (CREATED_DRIVER, DEFAULT_DRIVER)  # what they build they build on this machine
_ADJECTIVES = ("brisk", "clever", "eager", "fond", "keen", "quick", "steady", "tidy", "vivid", "warm")
_NOUNS = ("baker", "carter", "cook", "cooper", "grocer", "mason", "miller", "packer", "porter", "smith")


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A name for builds; `last_used` in Unix seconds. Options are kept, and change nothing."""

    name: str
    node: str
    driver_options: tuple[str, ...] = ()
    flags: str = ""
    platforms: tuple[str, ...] = ()
    last_used: float = 0.0

    @property
    def driver(self) -> str:
        """Return the driver of buildx that programs expect: the default one's images are in the local store."""
        return DEFAULT_DRIVER if self.name == DEFAULT else CREATED_DRIVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Builders:
    """All that there are, and the one that is used where none is named."""

    current: str = DEFAULT
    by_name: Mapping[str, Builder] = field(default_factory=dict)

    def find(self, name: str) -> Builder:
        """Return a builder, the current one for "". Raises NotFoundError."""
        name = name or self.current
        if name in self.by_name:
            return self.by_name[name]
        if name == DEFAULT:
            return Builder(name=DEFAULT, node=DEFAULT)
        raise NotFoundError(f'no builder "{name}" found', remedy=f"make it with tiffin buildx create --name {name}")


def read_builders(session: Session) -> Builders:
    """Return the builders of a state directory. Raises CorruptError."""
    path = session.state.root / FILE
    try:
        document = json.loads(path.read_bytes())
        found = [Builder(**{**row, **tuples_of(row)}) for row in document["builders"]]
        return Builders(current=str(document["current"]), by_name={builder.name: builder for builder in found})
    except FileNotFoundError:
        return Builders()
    except (ValueError, KeyError, TypeError) as exc:
        raise CorruptError(f"{path} is damaged", remedy="remove it: only names are lost") from exc


def create_builder(session: Session, asked: Builder, *, driver: str, use: bool, append: bool) -> Builder:
    """Keep a builder's name and options; with `append` another node of one that is there adds nothing.

    Raises UsageError, NotFoundError.
    """
    if driver not in LOCAL_DRIVERS:
        raise UsageError(
            f"--driver {driver} builds elsewhere, and tiffin builds here",
            remedy="leave it out, or use docker-container",
        )
    with session.state.lock(FILE):
        builders = read_builders(session)
        name = asked.name or f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}"
        if append:
            made = builders.find(name)
        elif name in builders.by_name or name == DEFAULT:
            raise UsageError(
                f'existing instance for "{name}" but no append mode, specify the node name to change it',
                remedy="choose another name, or add --append",
            )
        else:
            made = replace(asked, name=name, node=asked.node or f"{name}0", last_used=time.time())
        _write(session, builders, {**builders.by_name, name: made}, name if use else builders.current)
        return made


def use_builder(session: Session, name: str) -> None:
    """Choose the builder that is used where none is named. Raises NotFoundError."""
    with session.state.lock(FILE):
        builders = read_builders(session)
        _write(session, builders, builders.by_name, builders.find(name).name)


def remove_builder(session: Session, name: str) -> Builder:
    """Forget a builder's name, that of the current one for "". Raises NotFoundError, UsageError for the default."""
    with session.state.lock(FILE):
        builders = read_builders(session)
        gone = builders.find(name)
        if gone.name not in builders.by_name:
            raise UsageError("the builder default is always there", remedy="name one that was created")
        left = {name: builder for name, builder in builders.by_name.items() if name != gone.name}
        _write(session, builders, left, DEFAULT if builders.current == gone.name else builders.current)
        return gone


def _write(session: Session, before: Builders, by_name: Mapping[str, Builder], current: str) -> None:
    if (dict(by_name), current) == (dict(before.by_name), before.current):
        return
    rows = [asdict(builder) for builder in by_name.values()]
    write_atomically(session.state.root / FILE, json.dumps({"current": current, "builders": rows}).encode())


def tuples_of(row: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Return the lists of a row as tuples of texts."""
    lists = {name: value for name, value in row.items() if isinstance(value, list)}
    return {name: tuple(map(str, value)) for name, value in lists.items()}

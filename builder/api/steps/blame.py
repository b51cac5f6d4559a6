"""Which lines of a Dockerfile made a file of an image, by the tables of contents of its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tiffin.builder.api.sbom.subjects import open_subject
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError
from tiffin.builder.events import Sink
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.parts.tables import joined
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.sbom.origins import Origin, origins_of
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass

ADDED, CHANGED, REPLACED, REMOVED = "added", "changed", "replaced", "removed"
ROOT = "."
_SPLIT = re.compile(r", split (\d+) of (\d+)$")  # the end of a comment in the history of split layers
MEMBERS = {  # what may differ, by the members that say so
    "kind": ("kind",),
    "content": ("digest", "size"),
    "target": ("link",),
    "mode": ("mode",),
    "owner": ("uid", "gid"),
    "attributes": ("xattrs",),
    "device": ("major", "minor"),
    "time": ("mtime_ns",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What one layer did to a path: `number` counts layers from 1, the lowest. `entry` is None where it was removed;
    `differs` says what of it changed, or with which directory it was removed. One that is replaced was removed with its
    directory, and made anew.
    """

    number: int
    change: str
    origin: Origin
    entry: Entry | None = None
    differs: tuple[str, ...] = ()


def blame(
    name: str,
    path: str,
    session: Session,
    sink: Sink,
    registry: RegistryAccess,
    platform: Platform | None = None,
) -> Sequence[Touch]:
    """Return what layers did to `path` of an image, the last first. Raises ImageError for a path that none had."""
    with open_subject(name, session, sink, registry, platform) as found:
        subject = found.subject
        tables = [found.layers.ensure_index(layer.diff_id, layer.blob) for layer in subject.chain]
        origins = origins_of(subject.config, subject.image_id, found.lines)
    ends = ends_of_steps(subject.config)
    steps = [joined(tables[start:end]) if end - start > 1 else tables[start] for start, end in pairwise((0, *ends))]
    touched = [
        Touch(number=ends[step], change=change, origin=origins[ends[step] - 1], entry=entry, differs=differs)
        for step, change, entry, differs in touches(steps, _inside(path))
    ]
    if not touched:
        raise ImageError(
            f"no layer of {name} has {path}", remedy="give it as it is in the image; links are not followed"
        )
    return touched[::-1]


def ends_of_steps(config: ImageConfig) -> tuple[int, ...]:
    """Return after how many layers each step of an image ends: after one, or after all parts of a layer that was
    split.
    """
    found = [_SPLIT.search(entry.comment) for entry in config.history if not entry.empty_layer]
    count = len(config.diff_ids)
    ends = tuple(number for number, part in enumerate(found, 1) if part is None or part[1] == part[2])
    return ends if len(found) == count and ends[-1:] == (count,) else tuple(range(1, count + 1))


def touches(tables: Sequence[LayerIndex], path: str) -> Iterator[tuple[int, str, Entry | None, tuple[str, ...]]]:
    """Yield for each layer, the lowest first, that did something to a path: its index, what, and with which result."""
    above = _directories(path)
    before: Entry | None = None
    for number, table in enumerate(tables):
        entry = table.by_path.get(path)
        hiding = next((place for place in above if _hides(table, place)), "")
        if entry is not None and path in table.implied:
            entry = before if before is not None and not hiding else entry
        if entry is not None and entry.kind != "whiteout":
            differs = differences(before, entry) if before is not None else ()
            if before is None or hiding or differs:
                yield number, ADDED if before is None else REPLACED if hiding else CHANGED, entry, differs
            before = entry
        elif before is not None and (entry is not None or hiding):
            yield number, REMOVED, None, (f"with /{hiding}",) if entry is None else ()
            before = None


def _directories(path: str) -> list[str]:
    """Return the directories that a path is in, the highest first."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _hides(table: LayerIndex, place: str) -> bool:
    """Whether what is below a layer does not show in a directory of it."""
    entry = table.by_path.get(place)
    return entry is not None and (entry.kind != "dir" or entry.opaque)


def differences(before: Entry, after: Entry) -> tuple[str, ...]:
    """Return what of a path differs, in words; nothing but the kind where that does."""
    if before.kind != after.kind:
        return ("kind",)
    return tuple(
        what
        for what, members in MEMBERS.items()
        if any(getattr(before, member) != getattr(after, member) for member in members)
    )


def _inside(path: str) -> str:
    """Return a path as tables have it. Raises ImageError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageError(f'"{path}" leads upwards', remedy="give the path from the root of the image")
    return "/".join(parts) or ROOT

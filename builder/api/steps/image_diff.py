"""What differs between two images: files by the tables of contents of their layers, and the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.api.sbom.subjects import open_subject
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.blame import differences
from tiffin.builder.events import Sink
from tiffin.builder.layer.index import Entry, MergedTree, sort_key
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass

ADDED, CHANGED, DELETED = "A", "C", "D"  # docker's
TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """One path: `letter` as `diff` has it; `differs` says what of it, where both have it."""

    letter: str
    path: str
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDifference:
    """All that differs: files sorted by path, members of the configuration with both values, None where it is not
    set.
    """

    files: tuple[FileDifference, ...]
    config: Mapping[str, tuple[object, object]]


def compare_images(
    before: str,
    after: str,
    session: Session,
    sink: Sink,
    registry: RegistryAccess,
    *,
    platform: Platform | None = None,
    times: bool = False,
) -> ImageDifference:
    """Return what `after` has otherwise than `before`; where only times differ that counts if `times` do.

    Raises ImageError, RegistryError, StoreError.
    """
    (old, old_config), (new, new_config) = (
        _opened(name, session, sink, registry, platform) for name in (before, after)
    )
    return ImageDifference(
        files=tuple(file_differences(old, new, times=times)),
        config=_config_differences(old_config, new_config),
    )


def file_differences(
    before: Mapping[str, Entry], after: Mapping[str, Entry], *, times: bool
) -> Iterator[FileDifference]:
    """Yield what differs between two trees, by path; hard links are compared by what they lead to."""
    for path in sorted({*before, *after}, key=sort_key):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            yield FileDifference(letter=ADDED if old is None else DELETED, path=f"/{path}")
            continue
        found = differences(old, new)
        if any(what != TIME for what in found) or (times and found):
            yield FileDifference(letter=CHANGED, path=f"/{path}", differs=found)


def _opened(
    name: str, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None
) -> tuple[Mapping[str, Entry], ImageConfig]:
    """Return the merged entries of an image by path, and its configuration."""
    with open_subject(name, session, sink, registry, platform) as found:
        chain = found.subject.chain
        tree = MergedTree([found.layers.ensure_index(layer.diff_id, layer.blob) for layer in chain])
    entries = {item.entry.path: tree.target(item).entry for item in tree.walk()}
    return entries, found.subject.config


def _config_differences(before: ImageConfig, after: ImageConfig) -> Mapping[str, tuple[object, object]]:
    old, new = ({"Platform": str(config.platform), **config.config.to_json()} for config in (before, after))
    names: Sequence[str] = sorted({*old, *new})
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}

"""Make Dockerfile.lock, and check it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.build import PreparedBuild, prepared
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.rules.gathering import gather
from tiffin.builder.api.rules.lock import lock_path
from tiffin.builder.api.rules.sources import GatedRules
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, RegistryError, UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.lock.lockfile import Lock, LockedImage, read_lock, write_lock
from tiffin.builder.lock.pins import Gatherer, Missing, no_pins
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.pull_policy import ASK_SECONDS
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Locking:
    """What making or checking a lock found. `missing`: sources that the file did not have; `unused`: what it has for
    nothing; `moved`: what leads elsewhere than it says.
    """

    path: Path
    lock: Lock
    missing: tuple[Missing, ...]
    unused: tuple[str, ...]
    moved: tuple[str, ...]


def lock(
    options: BuildOptions, session: Session, sink: Sink, *, renewed: Collection[str] = (), every: bool = False
) -> Locking:
    """Write the lock of a Dockerfile: what its lock has stays, but for the names `renewed`, or `every` one.

    Raises TiffinError.
    """
    found = _look(options, session, sink, renewed, every=every)
    write_lock(found.path, found.lock)
    return found


def check(options: BuildOptions, session: Session, sink: Sink, *, every: bool = False) -> Locking:
    """Compare a lock with its Dockerfile, and with `every` with what registries and servers have now; write nothing.

    Raises TiffinError.
    """
    return _look(options, session, sink, (), every=every)


def _look(options: BuildOptions, session: Session, sink: Sink, renewed: Collection[str], *, every: bool) -> Locking:
    with prepared(replace(options, pull=options.pull or "newer", locked=False), session, sink) as prepared_build:
        spans = [node.span for node in prepared_build.request.dockerfile.instructions[:1]]
        path = lock_path(options, next((Path(span.path) for span in spans if span.path), None))
        old = read_lock(path) or Lock()
        unknown = sorted(set(renewed) - old.names())
        if unknown:
            raise UsageError(
                f"--update={unknown[0]}: {path} has nothing of that name",
                remedy=f"it has {', '.join(sorted(old.names())) or 'nothing'}",
            )
        rules = prepared_build.request.plan_options.source_rules
        pins = rules.pinned if isinstance(rules, GatedRules) else no_pins
        gatherer = Gatherer(old, renewed, every=every, pins=pins)
        platforms = tuple(dict.fromkeys((*old.platforms, *options.platforms))) or (Platform.local(),)
        request, services = prepared_build.request, prepared_build.services
        notes = session.store.notes
        found = gather(request, services, options.contexts, notes, gatherer, old, platforms)
        made = replace(found.lock, syntaxes=_syntaxes(prepared_build, gatherer, old))
    moved = [name for name, image in made.images.items() if name in old.images and _differs(old.images[name], image)]
    moved += [url for (url, ref), commit in made.commits.items() if old.commits.get((url, ref), commit) != commit]
    moved += [url for (url, query), digest in made.files.items() if old.files.get((url, query), digest) != digest]
    return Locking(
        path=path,
        lock=made,
        missing=tuple(gatherer.missing),
        unused=tuple(sorted(old.names() - made.names())),
        moved=tuple(moved),
    )


def _differs(old: LockedImage, new: LockedImage) -> bool:
    return any(old.manifests.get(platform, digest) != digest for platform, digest in new.manifests.items())


def _syntaxes(prepared_build: PreparedBuild, gatherer: Gatherer, old: Lock) -> dict[str, str]:
    """Return the frontend that the Dockerfile names. tiffin runs none: one that cannot be looked up stops nothing."""
    name = prepared_build.request.dockerfile.directives.get("syntax")
    if not name:
        return {}
    if old.syntaxes.get(name) and not gatherer.renews(name):
        return {name: old.syntaxes[name]}
    digest = None
    with contextlib.suppress(RegistryError, ImageError):
        reference = Reference.parse(name)
        digest = reference.digest or prepared_build.remote().current_digest(reference, ASK_SECONDS)
    if digest is None:
        message = f"syntax={name} was not looked up; the lock has its name only, and tiffin does not run it"
        prepared_build.services.sink.emit(WarningMessage(message=message))
    return {name: str(digest or "")}

"""A page about a build and its image, as one HTML file: times of steps, layers, packages, builds before."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.buildx.history import History
from tiffin.builder.api.buildx.history_steps import ADDED, REMOVED, compare
from tiffin.builder.api.buildx.recorder import FOLDER, BuildRecord, Recorder, new_record
from tiffin.builder.api.sbom.subjects import Found, open_subject
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.platforms import named_for
from tiffin.builder.delivery.outputs import BuildResult
from tiffin.builder.errors import CorruptError, ImageNotFoundError, NotFoundError, RegistryError, TiffinError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.image.archive_write import output_file
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plain_text import size_text
from tiffin.builder.report.layers import size_trees
from tiffin.builder.report.page import Page, ShownBuild, ShownLayer, ShownPackage, facts_of
from tiffin.builder.report.steps import StepRun, steps_of
from tiffin.builder.sbom.bill import Bill
from tiffin.builder.sbom.making import make_bill
from tiffin.builder.sbom.origins import Origin
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

MAX_BUILDS = 30  # of the history of a name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """What is told of an image."""

    name: str
    digest: str
    layers: tuple[ShownLayer, ...]
    packages: tuple[ShownPackage, ...]


def make_report(
    text: str, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None = None
) -> bytes:
    """Return the page of a build (a reference, an id or its beginning, ^N, or "" for the last one), or of an image.

    Raises TiffinError where there is neither.
    """
    history = History(session)
    try:
        record = history.find(text)
    except NotFoundError:
        if not text or text.startswith("^"):
            raise
        try:
            image = _image_of(text, session, sink, registry, platform)
        except RegistryError as exc:
            raise NotFoundError(
                f"no build and no image here is called {text}: {exc.message}", remedy=exc.remedy
            ) from exc
        made = next((record for record in history.records() if record.digest and record.digest == image.digest), None)
        return _page_of_image(image) if made is None else _page_again(made, history, image)
    return _page_again(record, history, _result(record, session, sink, registry, platform))


def _page_again(record: BuildRecord, history: History, image: _Image | None) -> bytes:
    """Return the page of a build that is in the history."""
    others = [other for other in history.records() if other.name == record.name and other.id != record.id]
    return _page(record, list(history.events(record.id)), history, others, image, {})


def _page_of_image(image: _Image) -> bytes:
    """Return the page of an image that no build in the history made."""
    return Page(
        title=image.name,
        subtitle=f"image {image.digest}",
        facts=facts_of((), image.layers),
        layers=image.layers,
        packages=image.packages,
    ).encode()


def build_with_report(options: BuildOptions, session: Session, sink: Sink, dest: str) -> BuildResult:
    """Build as `api.build.build` does, and write the page about it to `dest`, also where the build fails.

    Raises what the build raises, and StoreError for a file that cannot be written.
    """
    from tiffin.builder.api.build import build

    history, record = History(session), new_record(options)
    others = [other for other in history.records() if other.name == record.name]
    log = Recorder(sink, session.state.root / FOLDER, 1, record)
    try:
        result = build(replace(options, reports=True), session, log)
    except TiffinError as exc:
        with suppress(TiffinError):  # the build's own error is to be told
            write_report(_page(log.ended(exc), log.lines, history, others, None, {}), dest, sys.stdout.buffer)
        raise
    record, lines = log.ended(None), log.lines
    reference = str(result.metadata.get("buildx.build.ref", record.ref))
    record = replace(record, id=reference.rpartition("/")[2])
    with suppress(NotFoundError, CorruptError):  # what the history has of it, so that its page is the same later
        record, lines = history.find(reference), list(history.events(reference))
    reasons = {
        named_for(name, platform, result.builds): text
        for platform, built in result.builds
        if built.report is not None
        for name, text in built.report.told(size_text)
    }
    image = _result(record, session, sink, options.registry, None)
    write_report(_page(record, lines, history, others, image, reasons), dest, sys.stdout.buffer)
    return result


def write_report(page: bytes, dest: str, stdout: BinaryIO) -> None:
    """Write a page to a file, or to `stdout` for "-". Raises StoreError."""
    with output_file(dest, stdout) as sink:
        sink.write(page)


def _page(
    record: BuildRecord,
    lines: Sequence[str],
    history: History,
    others: Sequence[BuildRecord],
    image: _Image | None,
    reasons: Mapping[str, str],
) -> bytes:
    """Put a page together; `others`: builds of the same name, the newest first."""
    steps = steps_of(lines, record.started, record.finished or time.time())
    layers = image.layers if image is not None else ()
    earlier = next((other for other in others if other.started < record.started), None)
    before = _before(steps, steps_of(history.events(earlier.id))) if earlier is not None else {}
    took = f"{record.seconds:.1f} s" + (f", {earlier.seconds:.1f} s last time" if earlier is not None else "")
    size = f"{size_text(record.size_bytes)}"
    if earlier is not None and earlier.size_bytes:
        size += f", {size_text(earlier.size_bytes)} last time"
    facts = [
        ("Result", record.status + (f": {record.error}" if record.error else "")),
        ("Took", took),
        *([("Size", size)] if record.size_bytes else []),
        *facts_of(steps, layers),
        *([("Digest", record.digest)] if record.digest else []),
    ]
    rows = sorted([record, *others], key=lambda item: item.started, reverse=True)[:MAX_BUILDS]
    return Page(
        title=", ".join(record.names) or record.name,
        subtitle=f"build {record.id} of {record.dockerfile}, {time.strftime('%F %T', time.localtime(record.started))}",
        facts=facts,
        steps=steps,
        before=before,
        why=reasons,
        layers=layers,
        packages=image.packages if image is not None else (),
        builds=[_shown(item) for item in rows],
    ).encode()


def _shown(record: BuildRecord) -> ShownBuild:
    return ShownBuild(
        id=record.id,
        started=record.started,
        seconds=record.seconds,
        status=record.status,
        steps=record.steps,
        cached=record.cached_steps,
        size=record.size_bytes,
    )


def _before(steps: Sequence[StepRun], earlier: Sequence[StepRun]) -> dict[int, StepRun]:
    """Return how each step went in an earlier build that did the same in the same stage, by its id now."""
    return {
        change.after.id: change.before
        for change in compare(earlier, steps)
        if change.mark not in (ADDED, REMOVED) and change.before is not None and change.after is not None
    }


def _result(
    record: BuildRecord, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None
) -> _Image | None:
    """Return the image of a build; None where it made none, or where that is not here any more."""
    if not record.digest:
        return None
    names = [record.digest]
    for name in record.names:
        several = session.store.index_of(name)
        if several is not None and str(Digest.of(several[0].encode())) == record.digest:
            names.append(name)
    for name in names:
        try:
            session.store.find(name)
            return _image_of(name, session, sink, registry, platform)
        except ImageNotFoundError:
            continue
        except TiffinError as exc:
            sink.emit(WarningMessage(message=f"the report has no layers: {exc}"))
            return None
    return None


def _image_of(name: str, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None) -> _Image:
    """Look at an image. Raises TiffinError."""
    with open_subject(name, session, sink, registry, platform) as found:
        bill = make_bill(found.subject, found.layers, found.lines, found.scratch)
        for path, reason in bill.inventory.unread:
            sink.emit(WarningMessage(message=f"/{path} was not read: {reason}"))
        return _Image(
            name=bill.name,
            digest=str(bill.digest or found.subject.image_id),
            layers=tuple(_layers(found, bill.origins)),
            packages=_packages(bill),
        )


def _layers(found: Found, origins: Sequence[Origin]) -> list[ShownLayer]:
    chain = found.subject.chain
    trees = size_trees([found.layers.ensure_index(layer.diff_id, layer.blob) for layer in chain])
    return [
        ShownLayer(
            by=origin.shown,
            line=_line(origin),
            packed_bytes=layer.blob.size_bytes if layer.blob is not None else 0,
            tree=tree,
        )
        for layer, origin, tree in zip(chain, origins, trees, strict=True)
    ]


def _packages(bill: Bill) -> tuple[ShownPackage, ...]:
    return tuple(
        ShownPackage(
            name=item.package.name,
            version=item.package.version,
            type=item.package.type,
            line=_line(bill.origin(item)),
        )
        for item in bill.inventory.components
    )


def _line(origin: Origin) -> str:
    """Return the line of a Dockerfile that a layer comes from, or its base, or what the history says."""
    if origin.lines:
        return f"{origin.lines[0]} {origin.lines[0].step}" + (f" of {origin.base}" if origin.base else "")
    return origin.base or origin.shown

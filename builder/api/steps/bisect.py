"""The first step of an image after which a command fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from tiffin.builder.api.compose.jobs import run_apart
from tiffin.builder.api.images import pull
from tiffin.builder.api.run import EXIT_OWN_FAILURE, run
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.containers.run import ContainerOptions
from tiffin.builder.errors import ImageNotFoundError, TiffinError, UsageError
from tiffin.builder.events import InfoMessage, NullSink, Sink
from tiffin.builder.image.store import StoredImage
from tiffin.builder.sbom.origins import Origin, origins_of
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisected:
    """What was found: the layer (counted from 1, the lowest) with which the command fails first, and its exit code
    there; `has_worked`: with the layers below it the command succeeds.
    """

    layer: int
    layers: int
    exit_code: int
    origin: Origin
    has_worked: bool


def bisect(name: str, command: tuple[str, ...], session: Session, sink: Sink, registry: RegistryAccess) -> Bisected:
    """Run `command` with the lowest layers of an image, few times, until it is known with which it fails first.

    Each run is in a container of its own, which is removed. Raises UsageError where the command succeeds in the image.
    """
    try:
        image = session.store.find(name)
    except ImageNotFoundError:
        pull(name, session, sink, registry)
        image = session.store.find(name)
    origins = origins_of(image.config, image.id, session.store.notes.lines)
    options = ContainerOptions(entrypoint="", command=command)
    tries = _Tries(lambda count: _exit_code(name, _lowest(image, count), options, session, registry), sink, origins)
    bad = len(origins)
    if tries.succeeds(bad):
        raise UsageError(f"the command succeeds in {name}", remedy="give one that fails there")
    good = next((count for count in _candidates(bad) if tries.succeeds(count)), 0)
    bad = min(count for count in tries.codes if count > good)
    while good and bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if tries.succeeds(middle) else (good, middle)
    return Bisected(
        layer=bad, layers=len(origins), exit_code=tries.codes[bad], origin=origins[bad - 1], has_worked=bool(good)
    )


def _candidates(count: int) -> Iterator[int]:
    """Yield where the command may still have succeeded: near the top first, in steps that double, then the others.

    Below, it may fail because a step that it needs is missing.
    """
    near = []
    distance = 1
    while count - distance > 0:
        near.append(count - distance)
        distance *= 2
    yield from near
    yield from (other for other in range(count - 1, 0, -1) if other not in near)


@dataclass(frozen=True, slots=True)
class _Tries:
    """Runs the command with some layers, once each. `codes`: how it ended, by the number of layers."""

    run: Callable[[int], int]
    sink: Sink
    origins: tuple[Origin, ...]
    codes: dict[int, int] = field(default_factory=dict)

    def succeeds(self, count: int) -> bool:
        """Tell whether it does with the lowest `count` layers. Where not even the container can be made, as its user
        comes later, it does not; with all layers that is an error.
        """
        if count not in self.codes:
            try:
                code = self.run(count)
                told = "succeeds" if code == 0 else f"exit code {code}"
            except TiffinError as exc:
                if count == len(self.origins):
                    raise
                code, told = EXIT_OWN_FAILURE, exc.message
            self.codes[count] = code
            where = f"layer {count} of {len(self.origins)}"
            self.sink.emit(InfoMessage(message=f"{where}: {told} after {self.origins[count - 1].shown}"))
        return self.codes[count] == 0


def _lowest(image: StoredImage, count: int) -> StoredImage:
    """Return the image of the lowest layers, with the configuration of the whole."""
    return replace(
        image,
        manifest=replace(image.manifest, layers=image.manifest.layers[:count]),
        config=replace(image.config, diff_ids=image.config.diff_ids[:count]),
    )


def _exit_code(
    name: str, image: StoredImage, container: ContainerOptions, session: Session, registry: RegistryAccess
) -> int:
    """Run the command in a child; its output goes nowhere."""

    def do(own: Session, _: Sink) -> int:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        options = RunOptions(image=name, stored=image, container=container, remove=True, registry=registry)
        return run(options, own, NullSink()).exit_code

    code: int = run_apart(do, session, NullSink())
    return code

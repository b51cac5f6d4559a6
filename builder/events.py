"""What happens during a command, as data: event values and the sink they go to.

A sink is handed down to whoever works; only cli/output turns events into text. Sinks are thread-safe.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step began to work. `step_id` is unique in the command and rises in order of first appearance; `needs`: the ids
    of the steps whose results it uses.
    """

    step_id: int
    name: str  # "[stage 2/5] RUN make"
    worker: str = ""  # of a farm
    needs: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """What it is called on a terminal."""
        return f"{self.name} on {self.worker}" if self.worker else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCached:
    """A step's result came from a cache; `source` names the tier ("local", …)."""

    step_id: int
    name: str
    source: str = "local"
    worker: str = ""  # of a farm
    needs: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """What it is called on a terminal."""
        return f"{self.name} on {self.worker}" if self.worker else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """Raw bytes a step's command wrote to `stream` (1 or 2); lines may be cut anywhere."""

    step_id: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ended well."""

    step_id: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A step ended badly; the error itself is raised, and printed by whoever catches it."""

    step_id: int
    seconds: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes on the move; `key` identifies the transfer, `done_bytes` is a running total, sent a few times a second."""

    key: str
    label: str  # "pull sha256:0123456789ab", "push …", "export …"
    done_bytes: int
    total_bytes: int | None
    finished: bool = False
    note: str = ""  # "mounted from other/repo", "already there"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningMessage:
    """Something the user should know that stops nothing."""

    message: str
    where: str = ""  # "Dockerfile:12"
    rule: str = ""  # of a build check
    path: str = ""  # where the file is, if it is on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoMessage:
    """A line of information ("exporting to oci archive out.tar")."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChanged:
    """Something of a project came, went, or is in another state: Container demo-web-1 Started."""

    kind: str
    name: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFinished:
    """A build ended well, its outputs written. `digest`: of the manifest or index, "" where files were all that was
    wanted; `size_bytes`: what an empty machine pulls.
    """

    names: tuple[str, ...]
    digest: str
    image_id: str
    size_bytes: int
    seconds: float
    steps: int
    cached_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsPlanned:
    """The steps of a build that are not known to be in a cache, before the first begins, by the names that they will
    have; `needs` has for each the places in `names` of those that it waits for.
    """

    names: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished:
    """A part of the work is over, in the thread that sends this; for profiles."""

    name: str  # "plan", "diff and pack"
    seconds: float


Event = (
    PhaseFinished
    | StepsPlanned
    | StepStarted
    | StepCached
    | StepOutput
    | StepFinished
    | StepFailed
    | Transfer
    | WarningMessage
    | InfoMessage
    | ResourceChanged
    | BuildFinished
)


# names of types in JSON; programs read the last two since before the classes had their names
TYPE_NAMES: Mapping[type[Event], str] = {
    StepStarted: "step_started",
    StepCached: "step_cached",
    StepOutput: "step_output",
    StepFinished: "step_finished",
    StepFailed: "step_failed",
    Transfer: "transfer",
    ResourceChanged: "resource_changed",
    BuildFinished: "build_finished",
    PhaseFinished: "phase_finished",
    StepsPlanned: "steps_planned",
    WarningMessage: "warned",
    InfoMessage: "noted",
}


def members_of(event: Event) -> dict[str, object]:
    """Return the members of an event by name; a worker, and steps that it needs, only where there are some."""
    return {
        name: value
        for name in event.__slots__
        if (value := getattr(event, name)) or (name != "worker" and name != "needs")
    }


class Sink(Protocol):
    """Receives events, from any thread, in the order they are sent by each; never raises."""

    def emit(self, event: Event) -> None: ...


class NullSink:
    """Forgets every event."""

    def emit(self, event: Event) -> None:
        return None


@contextlib.contextmanager
def phase(sink: Sink, name: str) -> Iterator[None]:
    """Tell `sink` how long the block took."""
    began = time.monotonic()
    try:
        yield
    finally:
        sink.emit(PhaseFinished(name=name, seconds=time.monotonic() - began))

"""What drivers and workers of a farm tell each other, as values; builder.value_bytes makes bytes of them."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.errors import (
    BuildError,
    LocatedError,
    MissingBlobError,
    RegistryError,
    RunError,
    SandboxError,
    Span,
    StoreError,
    TiffinError,
)
from tiffin.builder.events import Event
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.instructions.ops import OutsideOrigin
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.sharing.options import CacheSpec
from tiffin.builder.solver.results import StepMade
from tiffin.builder.solver.step_keys import StepLook
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.store.snapshots import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTree:
    """What some steps read of a source outside the build, as answers to what they ask; see sent_trees.

    `entries`: by path, None where nothing is; `children`: the paths in a directory; `resolved`: by path and whether a
    link at its end is followed; `groups`: a number for each file that has several names, by path.
    """

    entries: Mapping[str, tuple[object, ...] | None]
    children: Mapping[str, tuple[str, ...]]
    resolved: Mapping[tuple[str, bool], str]
    groups: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """An unbroken run of steps of one stage, to be made by one worker.

    `tasks` have the chain of the first; `origins`: repositories (registry, repository) of packed layers by digest;
    `holders`: addresses of workers that have one; `caches`: shared caches to ask and to fill; `agents`: ids of --ssh
    that the driver answers for; `profiles`: content of the files of seccomp, by the paths that the steps name.
    """

    name: str
    tasks: tuple[StepTask, ...]
    looks: tuple[StepLook, ...]
    trees: Mapping[OutsideOrigin, SentTree]
    compression: Compression | None  # of layers for the target
    others: Compression  # of all others
    epoch: int | None
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    origins: Mapping[Digest, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    holders: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)
    caches: tuple[CacheSpec, ...] = field(default=(), repr=False)
    insecure: tuple[str, ...] = ()
    isolation: str = ""
    agents: frozenset[str] = frozenset()
    profiles: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it travels. `kind` is one of OWN, MACHINE, LOST."""

    kind: str
    message: str
    remedy: str = ""
    span: Span | None = None
    status: int | None = None  # of a command
    tail: str = ""
    digest: str = ""  # of what is lost


OWN, MACHINE, LOST = "own", "machine", "lost"  # the step's own reason, the worker's, a layer that nobody has


def failure_of(error: BaseException) -> Failure:
    """Return an error as it travels, judged by whose fault it is."""
    if not isinstance(error, TiffinError):
        return Failure(kind=MACHINE, message=f"{type(error).__name__}: {error}")
    kind = OWN
    if isinstance(error, MissingBlobError):
        kind = LOST
    elif isinstance(error, (StoreError, SandboxError, RegistryError)):
        kind = MACHINE
    return Failure(
        kind=kind,
        message=error.message,
        remedy=error.remedy,
        span=error.span if isinstance(error, LocatedError) else None,
        status=error.status if isinstance(error, RunError) else None,
        tail=error.tail if isinstance(error, RunError) else "",
        digest=error.digest if isinstance(error, MissingBlobError) else "",
    )


def error_of(failure: Failure) -> TiffinError:
    """Return the error to raise at the driver."""
    if failure.status is not None:
        return RunError(failure.message, status=failure.status, tail=failure.tail, span=failure.span)
    if failure.kind == LOST:
        return MissingBlobError(failure.message, digest=failure.digest, remedy=failure.remedy)
    return BuildError(failure.message, span=failure.span, remedy=failure.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is said of a unit."""

    unit: str


# -- from the process that makes steps, through its worker, to the driver ----------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened(Message):
    """An event of a step."""

    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Made(Message):
    """The next step of a unit is made, or was found."""

    made: StepMade


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling(Message):
    """All steps of a unit are made, and its process brings their layers into the shared caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Message):
    """Nothing more comes of a unit; `failure` None: all is made. `shared`: layers that were brought into all of the
    shared caches that are to have them.
    """

    failure: Failure | None = None
    shared: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRecord(Message):
    """Which of these keys the driver's caches have is wanted."""

    keys: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskBlob(Message):
    """A blob is wanted here. `last`: from the driver, where nobody else has it."""

    ref: BlobRef
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAgent(Message):
    """An ssh agent of the driver is asked; `number` is that of the question."""

    number: int
    agent: str
    request: bytes = field(repr=False)


# -- to that process ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Records(Message):
    """The answer to AskRecord. `holders`: addresses of workers that have a layer of these."""

    records: Mapping[Digest, StepRecord]
    holders: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought(Message):
    """The answer to AskBlob: whether it is in the worker's store now."""

    digest: Digest
    is_here: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSaid(Message):
    """The answer to AskAgent."""

    number: int
    answer: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Message):
    """A unit is no longer wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Message):
    """A unit to make, sealed for the worker."""

    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A sign of life. `busy`: the slots that other drivers use, where a worker tells it."""

    busy: int = 0

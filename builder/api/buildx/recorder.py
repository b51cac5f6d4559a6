"""What a build ran is kept for `buildx history`: a file for each of the last ones, with what it was and its log.

The first line of a file is the record; the others are the events, as --progress json tells them. Which layers its steps
made is in the record, and their plan in a file that builds of the same share: `tiffin debug` opens steps by them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from tiffin.builder.api.build_options import KEPT_OPTIONS
from tiffin.builder.errors import RunError, TiffinError, UsageError
from tiffin.builder.events import (
    TYPE_NAMES,
    BuildFinished,
    Event,
    PhaseFinished,
    Sink,
    StepCached,
    StepFinished,
    StepOutput,
    StepsPlanned,
    Transfer,
    members_of,
)
from tiffin.builder.solver.results import StepObserver
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import asdict, dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.api.session import Session
    from tiffin.builder.oci.spec import Platform
    from tiffin.builder.plan.plan import Plan
    from tiffin.builder.solver.build import Keeper, Request
    from tiffin.cache.backend import StepRecord

FOLDER = "history"  # below the state directory
VARIABLE = "TIFFIN_BUILD_HISTORY"  # how many builds are kept; 0 for none
KEPT = 50  # BuildKit's
MAX_LOG_BYTES = 2 << 20  # BuildKit's, of what commands write
CLIPPED = b"[output clipped, log limit 2MiB reached]\n"
LEFT_SECONDS = 60  # after which nobody writes a file any more that is not named yet
PLANS = "plans"  # the same, of what they were planned as
PLANS_SCHEMA = 1  # rises when plans have another form
PLAN_NAME_LENGTH = 32
LOCAL = "local"  # the cache of the state directory
BUILDER = "default/default"  # builder and node in a reference
COMPLETED, ERROR, CANCELED = "Completed", "Error", "Canceled"
_PASSING = (PhaseFinished, StepsPlanned)  # events that are in no log
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build. Times are seconds since 1970; names of build arguments are kept, not their values."""

    id: str
    name: str
    context: str
    dockerfile: str
    target: str
    platforms: tuple[str, ...]
    build_args: tuple[str, ...]
    started: float
    finished: float = 0.0
    status: str = COMPLETED
    error: str = ""
    names: tuple[str, ...] = ()
    digest: str = ""
    size_bytes: int = 0
    steps: int = 0
    cached_steps: int = 0
    plans: tuple[Mapping[str, Any], ...] = ()  # see tiffin.builder.api.steps.plans; for each platform
    failure: str = ""  # the folder of what a failed RUN left

    @property
    def ref(self) -> str:
        """Return the reference that buildx gives it."""
        return f"{BUILDER}/{self.id}"

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return self.finished - self.started


class Recorder(Sink, AbstractContextManager["Recorder"]):
    """Passes events on, counts steps, and keeps what it passes where builds are kept; the file is written at the end,
    however that is.
    """

    def __init__(self, sink: Sink, folder: Path, kept: int, record: BuildRecord) -> None:
        self._sink = sink
        self._folder = folder
        self._kept = kept
        self._record = record
        self._keeping = threading.Lock()  # one thread writes plans
        self._lock = threading.Lock()  # guards what follows
        self.steps = 0  # that ended well
        self.cached_steps = 0  # of these, those that a cache had
        self._told: list[tuple[float, Event]] = []  # and when; the log has them
        self._room = MAX_LOG_BYTES
        self._planned: dict[str, StepLayers] = {}  # by platform

    @classmethod
    def of(cls, options: BuildOptions, session: Session, sink: Sink) -> Recorder:
        """Return the recorder of a build that begins now. Raises UsageError."""
        text = os.environ.get(VARIABLE, "")
        if text and not text.isdecimal():
            raise UsageError(f"{VARIABLE}={text} is not a number", remedy="say how many builds to keep")
        return cls(sink, session.state.root / FOLDER, int(text) if text else KEPT, new_record(options))

    @property
    def ref(self) -> str:
        """Return the build's reference, nothing where no history is kept."""
        return self._record.ref if self._kept else ""

    def keeper(self, options: BuildOptions, source: bytes) -> Keeper | None:
        """Return what is told of each plan and gives what its steps are told to, None where no history is kept."""

        def keep(request: Request, plan: Plan) -> StepObserver:
            platform = request.plan_options.platform
            found = StepLayers(plan_name(source, options, platform, plan), plan, options)
            self._planned[str(platform)] = found
            return found

        return keep if self._kept else None

    def emit(self, event: Event) -> None:
        self._sink.emit(event)
        kind = type(event)
        with self._lock:
            self.steps += kind is StepCached or kind is StepFinished
            self.cached_steps += kind is StepCached
            passes_by = kind in _PASSING or (isinstance(event, Transfer) and not event.finished)
            if self._kept and not passes_by:
                self._keep(event)

    def _keep(self, event: Event) -> None:
        if isinstance(event, StepOutput):
            if self._room <= 0:
                return
            self._room -= len(event.data)
            if self._room <= 0:
                event = replace(event, data=event.data + CLIPPED)
        elif isinstance(event, BuildFinished):
            self._record = replace(self._record, names=event.names, digest=event.digest, size_bytes=event.size_bytes)
        self._told.append((time.time(), event))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._kept:
            return
        with suppress(OSError):  # what is only looked at later ends no build
            self._write(self.ended(error))

    def ended(self, error: BaseException | None) -> BuildRecord:
        """Return the record of the build, which ends now."""
        status = COMPLETED if error is None else ERROR if isinstance(error, Exception) else CANCELED
        text = error.message if isinstance(error, TiffinError) else "" if error is None else type(error).__name__
        return replace(
            self._record,
            finished=time.time(),
            status=status,
            error=text,
            steps=self.steps,
            cached_steps=self.cached_steps,
            plans=tuple(planned.document() for planned in self._planned.values()),
            failure=error.kept if isinstance(error, RunError) else "",
        )

    @property
    def lines(self) -> Sequence[str]:
        """Return the log so far."""
        return _json_lines([_told_members(when, event) for when, event in self._told])

    def _write(self, record: BuildRecord) -> None:
        write(self._folder, record, self.lines, self._kept)
        self.keep_plans()

    def keep_plans(self) -> None:
        """Write the plans that are known, unless they are kept or another thread does. What goes wrong there ends no
        build.
        """
        if not self._keeping.acquire(blocking=False):
            return
        try:
            for planned in tuple(self._planned.values()):
                planned.write(self._folder.with_name(PLANS), 2 * self._kept)
        except OSError:
            pass
        finally:
            self._keeping.release()


class StepLayers(StepObserver):
    """Notes which layers the steps of a plan made, for `tiffin debug`."""

    def __init__(self, name: str, plan: Plan, options: BuildOptions) -> None:
        self.name = name
        self.plan = plan
        self.options = options
        self._records: dict[tuple[int, int], tuple[StepRecord, str]] = {}  # with the cache that had it

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        self._records[index, number] = (record, source)

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        self._records[index, number] = (record, LOCAL)

    def document(self) -> dict[str, object]:
        """Return what a record has of it: what the plan is called, and the DiffID of each step that the build needed,
        with its packed form where that is elsewhere.
        """
        stages: dict[str, dict[str, object]] = {}
        for (index, number), (record, source) in self._records.items():
            layer = str(record.diff_id)
            packed = record.layer if source != LOCAL else None
            stages.setdefault(str(index), {})[str(number)] = [layer, packed.to_json()] if packed is not None else layer
        return {"plan": self.name, "stages": stages}

    def write(self, folder: Path, most: int) -> None:
        """Keep the plan, unless it is there; no more than `most` stay. Raises OSError."""
        try:
            os.utime(folder / self.name)
        except FileNotFoundError:
            from tiffin.builder.api.steps.plans import keep

            keep(folder, self.name, self.plan, self.options, most)


def plan_name(source: bytes, options: BuildOptions, platform: Platform, plan: Plan) -> str:
    """Return what a plan is called by all that decides it: the Dockerfile, the options, the base images."""
    given = [getattr(options, name) for name in KEPT_OPTIONS]
    images = sorted((name, str(image.manifest_digest)) for name, image in plan.images.items())
    text = repr((PLANS_SCHEMA, os.getcwd(), str(platform), given, images))  # noqa: PTH109
    return Digest.of(text.encode() + source).hex[:PLAN_NAME_LENGTH]


def _told_members(when: float, event: Event) -> dict[str, object]:
    members = {"type": TYPE_NAMES[type(event)], "time": round(when, 3), **members_of(event)}
    return {**members, "data": event.data.decode("utf-8", "replace")} if isinstance(event, StepOutput) else members


def _json_lines(rows: Sequence[Mapping[str, object]]) -> Sequence[str]:
    """Return each of `rows` as JSON, all by one call if it can be: half the work of one for each. In what it writes a
    newline only separates, so that it says where a row ends, unless a row has lists of objects.
    """
    lines = json.dumps(rows, separators=("\n", ": "))[2:-2].split("}\n{")
    if len(lines) != len(rows):
        return [json.dumps(row) for row in rows]
    return ["{" + line.replace("\n", ", ") + "}" for line in lines]


def write(folder: Path, record: BuildRecord, lines: Sequence[str], most: int | None = None) -> None:
    """Write the file of a build; no more than `most` stay. Raises OSError.

    Where the oldest is to go, its file is written over: a disk takes several times as long to make one, and to remove
    one.
    """
    name = f"{int(record.started * 1000):014d}-{record.id}"
    part, data = folder / f".{name}", "\n".join([json.dumps(asdict(record)), *lines, ""]).encode()
    folder.mkdir(exist_ok=True)
    oldest = _trim(folder, most - 1) if most is not None else ""
    with suppress(FileNotFoundError):
        if oldest:
            (folder / oldest).rename(part)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.truncate()
    part.replace(folder / name)


def _trim(folder: Path, most: int) -> str:
    """Remove old files of a folder until the newest `most` and one more are left; return the name of that one, "" if
    there is none.
    """
    names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208
    while names and names[-1][0] == ".":  # being written, or left by a build that was killed meanwhile
        path = folder / names.pop()
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_ctime > LEFT_SECONDS:
                path.unlink()
    for old in names[most + 1 :]:
        (folder / old).unlink(missing_ok=True)
    return names[most] if len(names) > most else ""


def new_record(options: BuildOptions) -> BuildRecord:
    """Return the record of a build that begins now."""
    return BuildRecord(
        id=_new_id(),
        name=_name_of(options),
        context=options.context,
        dockerfile=options.file or "Dockerfile",
        target=options.target,
        platforms=tuple(map(str, options.platforms)),
        build_args=tuple(sorted(options.build_args)),
        started=time.time(),
    )


def _name_of(options: BuildOptions) -> str:
    """Return what buildx calls a build: its context, and its target."""
    context = options.context if "://" in options.context else Path(options.context).resolve().name
    return f"{context} ({options.target})" if options.target else context or "build"


def _new_id() -> str:
    """Return a name as BuildKit makes them: 25 digits and small letters."""
    number = int.from_bytes(os.urandom(16), "big")
    digits = ""
    for _ in range(25):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return digits
